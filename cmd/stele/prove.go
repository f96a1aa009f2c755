package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/logpipe"
)

func (a *app) proveCommand() *cobra.Command {
	var out string
	var disclose []string
	cmd := &cobra.Command{
		Use:   "prove ID… --out FILE",
		Short: "Write one file that proves records to others, offline",
		Long: `Write an evidence file of records: what their writer signed, their place in the log and that log's head
in the control log, and what the access policy says of the keys. 'stele check FILE' needs the trust
file and nothing else to check it. ID is that of the archive, 32 hex digits as 'stele search' prints it.

Without --disclose the file shows that the records exist, when and by whom they were captured, and
nothing of what is sealed; no reader identity is needed. --disclose names the fields that are shown in
clear, each against the writer's commitment to it alone:
` + "  " + strings.Join(backup.DisclosableFields(), ", ") + `
That needs a reader identity (--as), and the archive's control log says from before the first field is
opened that something left it: the reader needs the right to create objects under control/inbox/. What
is disclosed is out of reach of a later erasure.`,
		Example: `  stele prove 0b9f1c2d3e4f5a6b7c8d9e0f1a2b3c4d --out case-7.evidence
  stele prove 0b9f1c2d3e4f5a6b7c8d9e0f1a2b3c4d --out case-7.evidence --disclose body,subject --as reader`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("write: stele prove ID… --out FILE")
			}
			return nil
		},
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return done(a.prove(cmd.Context(), args, out, disclose))
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write (required)")
	cmd.Flags().StringSliceVar(&disclose, "disclose", nil, "fields to show in clear, such as body,subject")
	return cmd
}

// proveAnswer says what was written.
type proveAnswer struct {
	Path       string      `json:"path"`
	Records    int         `json:"records"`
	Bytes      int         `json:"bytes"`
	Disclosed  []string    `json:"disclosed"`
	Disclosure *disclosure `json:"disclosure,omitempty"`
}

func (p *proveAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "wrote %s: %s, %s, %s disclosed\n", p.Path, count(p.Records, "record"), size(p.Bytes), count(len(p.Disclosed), "field"))
	if d := p.Disclosure; d != nil {
		fmt.Fprintf(w, "disclosure %s…: a compactor puts it into the control log with its next heads\n", d.Salted[:16])
	}
	fmt.Fprintf(w, "'stele check %s --trust trust.stele' checks it anywhere with that file alone\n", p.Path)
}

func (a *app) prove(ctx context.Context, args []string, out string, disclose []string) (*proveAnswer, error) {
	if out == "" {
		return nil, usage("", "--out is required")
	}
	if _, err := os.Lstat(out); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil, usage("choose another name with --out", "%s exists, or cannot be written", out)
	}
	ids := make([]logpipe.ID, len(args))
	for i, arg := range args {
		b, err := hex.DecodeString(arg)
		if err != nil || len(b) != len(ids[i]) {
			return nil, usage("'stele search' and 'stele show' print the ids", "%q is no record id of the archive (32 hex digits)", arg)
		}
		copy(ids[i][:], b)
	}
	role := ""
	if len(disclose) > 0 {
		role = "reader"
	}
	s, err := a.site(role)
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	e, err := s.evidence(ctx, archive, ids, disclose)
	if err != nil {
		return nil, err
	}
	if err := replaceFile(out, e.File); err != nil {
		return nil, err
	}
	ans := &proveAnswer{Path: out, Records: e.Records, Bytes: len(e.File), Disclosed: append([]string{}, disclose...)}
	if len(disclose) > 0 {
		ans.Disclosure = &disclosure{hex.EncodeToString(e.Salted[:]), hex.EncodeToString(e.Salt[:])}
	}
	return ans, nil
}

func (s *site) evidence(ctx context.Context, archive *backup.Archive, ids []logpipe.ID, disclose []string) (*backup.Evidence, error) {
	if len(disclose) == 0 {
		return archive.Prove(ctx, ids)
	}
	r, done, err := s.unlock(ctx, archive)
	if err != nil {
		return nil, err
	}
	defer done()
	return r.Prove(ctx, ids, disclose)
}
