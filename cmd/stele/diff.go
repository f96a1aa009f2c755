package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/backup/tiles"
)

func (a *app) diffCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "diff A B | FILE",
		Short: "Compare two copies of an archive, and prove a fork",
		Long: `Compare the control logs of two copies of one archive. Either one continues the other, or somebody who
holds the key of the control log has signed two histories: a fork. The control log holds the heads of
all other logs, so nothing in an archive can differ without it.

With --out a fork is written into a file that proves it by itself: the first entry that differs and
both signed heads, with the proofs between them. 'stele diff FILE' checks such a file; it needs
trust.stele and nothing else. The exit code is 10 if there is a fork.`,
		Example: `  stele diff file:///srv/archive s3://copies/archive?endpoint=https://s3.example.org --out fork.json
  stele diff fork.json --trust trust.stele`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return takes("A", "B")(cmd, args)
		},
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			if len(args) == 1 {
				return a.checkFork(args[0])
			}
			return a.diff(cmd.Context(), args[0], args[1], out)
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "write evidence of a fork to this file")
	return cmd
}

// diffAnswer is what a comparison found, or a file says.
type diffAnswer struct {
	*tiles.Comparison
	Out  string `json:"out,omitempty"`
	file bool
}

func (a *app) diff(ctx context.Context, urlA, urlB, out string) (answer, error) {
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	trust, err := s.trustFile()
	if err != nil {
		return nil, err
	}
	var sides [2]*tiles.View
	for i, url := range []string{urlA, urlB} {
		if !strings.Contains(url, "://") {
			return nil, usage("write file:///path or s3://bucket/prefix", "%s is no URL of an archive", url)
		}
		store, err := location.Open(ctx, url, location.Options{})
		if err == nil {
			sides[i], err = tiles.Open(ctx, store, trust)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", location.Redact(url), err)
		}
	}
	c, err := tiles.Compare(ctx, sides[0], sides[1])
	if err != nil {
		return nil, err
	}
	ans := diffAnswer{Comparison: c}
	if c.Fork == nil {
		return ans, nil
	}
	if out != "" {
		file, err := json.MarshalIndent(c.Fork, "", " ")
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(out, append(file, '\n'), 0o644); err != nil {
			return nil, err
		}
		ans.Out = out
	}
	return ans, exit(exitIntegrity)
}

func (a *app) checkFork(path string) (answer, error) {
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	trust, err := s.trustFile()
	if err != nil {
		return nil, err
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := tiles.CheckFork(file, trust)
	if err != nil {
		return nil, hinted(err, "this file proves no fork; to compare two archives name both")
	}
	return diffAnswer{Comparison: &tiles.Comparison{Log: f.Log, Common: f.Index, Fork: f}, file: true}, exit(exitIntegrity)
}

func (d diffAnswer) print(w io.Writer) {
	switch {
	case d.Fork == nil && d.SizeA == d.SizeB:
		fmt.Fprintf(w, "%s: both have the same %s\n", d.Log, count(d.SizeA, "entry"))
	case d.Fork == nil:
		longer, more := "A", d.SizeA-d.Common
		if d.SizeB > d.SizeA {
			longer, more = "B", d.SizeB-d.Common
		}
		fmt.Fprintf(w, "%s: %s continues the other by %s; %s the same\n", d.Log, longer, count(more, "entry"), count(d.Common, "entry"))
	default:
		fmt.Fprintf(w, "%s was forked: whoever holds its key has signed two histories. Entry %d is the first that differs.\n", d.Log, d.Fork.Index)
		for i, side := range []tiles.ForkSide{d.Fork.A, d.Fork.B} {
			_, head, _ := strings.Cut(side.Proof, "\n\n")
			fmt.Fprintf(w, "\n%c: %s\n%s", 'A'+i, printable(strings.TrimSpace(side.Entry), 300), head)
		}
		if d.Out != "" {
			fmt.Fprintf(w, "\nevidence, with all that is needed to check it but trust.stele: %s\n", d.Out)
		}
	}
}
