package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/drill"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/logpipe"
)

func (a *app) drillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "drill",
		Short:   "Show that the archive forgets what it must, and keeps the rest",
		Long:    `Drills try what nobody wants to try for the first time when it matters.`,
		Example: "  stele drill erasure --as anna.stele --as bert.stele",
	}
	f := drillFlags{}
	erasure := &cobra.Command{
		Use:   "erasure",
		Short: "Plant a canary, erase it, restore a copy from before, and look",
		Long: `Plant records of a person who does not exist, through the writer credential; copy the key store and what the newest
records need; have the person erased as anybody would be; then let today's custodians try to open the copy of
the key store, and read the copied records with today's keys. The canary must stay dead, everything else must open
and be as it was. The report goes into the control log.

It takes two approvers: with their role files here, --as FILE twice; else the drill stops, says which request they
must approve, and goes on when it is run again with the same --dir. So it does where it waits for a compactor or
the key service. It needs a writer credential, a reader identity, and the custodians of the keys.

It ends with 0 if all is as it must be, 14 if what was erased comes back, 15 if something else does not open,
and 1 while it is not finished.`,
		Example: `  stele drill erasure --as anna.stele --as bert.stele
  stele drill erasure --sample 0 --dir /var/tmp/drill`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.drillErasure(cmd.Context(), f) }),
	}
	flags := erasure.Flags()
	flags.StringArrayVar(&f.as, "as", nil, "role file of an approver; more than once")
	flags.StringVar(&f.dir, "dir", "drill", "what the drill remembers, and its copy")
	flags.IntVar(&f.sample, "sample", 10_000, "how many records are read before and after, the newest; 0: all")
	flags.DurationVar(&f.wait, "wait", 2*time.Minute, "how long to wait for compactor, approvers and key service")
	cmd.AddCommand(erasure)
	return a.group(cmd)
}

type drillFlags struct {
	as     []string
	dir    string
	sample int
	wait   time.Duration
}

// drillAnswer is what a drill found.
type drillAnswer struct{ *drill.Result }

func (d drillAnswer) print(w io.Writer) {
	what := "of the newest records, a sample:"
	if d.All {
		what = "of all records that opened before:"
	}
	fmt.Fprintf(w, "canary    %s: %d dead, %d alive, %d not found\n", count(d.Dead+d.Alive+d.Unseen, "record"), d.Dead, d.Alive, d.Unseen)
	fmt.Fprintf(w, "others    %s %d open and are as they were, %d do not", what, d.Opened, d.Lost)
	if d.Gone > 0 {
		fmt.Fprintf(w, "; %d were erased meanwhile, by somebody else", d.Gone)
	}
	fmt.Fprintln(w)
	for _, line := range d.Found {
		fmt.Fprintf(w, "failed    %s\n", line)
	}
	if d.OK {
		fmt.Fprintln(w, "passed: what was erased stays so when a copy from before is restored, and the rest opens")
		return
	}
	fmt.Fprintln(w, "FAILED: see docs/OPERATIONS.md; the copy is kept")
}

func (a *app) drillErasure(ctx context.Context, f drillFlags) (answer, error) {
	s, err := a.site("reader")
	if err != nil {
		return nil, err
	}
	cfg := drill.Config{Dir: f.dir, Sample: f.sample, Wait: f.wait, Custodians: s.KeyCustodians(s.beside("keys", ""))}
	if cfg.Store, cfg.Trust, err = s.open(ctx); err != nil {
		return nil, err
	}
	if cfg.Approvers, err = s.drillers(ctx, f.as, &cfg); err != nil {
		return nil, err
	}
	keys, done, err := s.keySource(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	cfg.Keys = keys
	cfg.Plant = func(ctx context.Context, records []logpipe.Record) error {
		pipe, _, err := a.pipe(ctx)
		if err != nil {
			return err
		}
		for i := range records {
			err = errors.Join(err, pipe.Capture(ctx, &records[i]))
		}
		return errors.Join(err, a.handOver(ctx, pipe))
	}
	r, err := drill.Erasure(ctx, cfg)
	if waiting := new(drill.WaitingError); errors.As(err, &waiting) {
		return nil, hinted(err, fmt.Sprintf("then run 'stele drill erasure --dir %s' again: it goes on from here%s", f.dir, s.lacksApprovers(ctx, &cfg)))
	}
	if err != nil {
		return nil, err
	}
	switch {
	case r.Alive > 0:
		return drillAnswer{r}, exit(exitErasure)
	case r.Lost+r.Unseen > 0:
		return drillAnswer{r}, exit(exitUnreadable)
	}
	return drillAnswer{r}, nil
}

// lacksApprovers says how approvers come to be, where there are not two.
func (s *site) lacksApprovers(ctx context.Context, cfg *drill.Config) string {
	desk, err := erase.Open(ctx, cfg.Store, cfg.Trust, nil)
	if err != nil {
		return ""
	}
	if p, err := desk.Policy(ctx); err != nil || p.Dual {
		return ""
	}
	return ". The archive has fewer than two approvers: the admin folder approves alone, with --as admin; or make two, each with 'stele key new approver NAME --out FILE', and enter them with 'stele key add approver FILE.pub'"
}

// drillers reads who takes part: the reader, and those who approve. Without any, the policy root approves where it may.
func (s *site) drillers(ctx context.Context, as []string, cfg *drill.Config) (approvers [][]byte, err error) {
	for _, name := range as {
		who, err := s.personAt(name)
		if err == nil && who == nil {
			err = fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		if err != nil {
			return nil, err
		}
		if bytes.Contains(who, []byte(`"reader/v1"`)) {
			cfg.Reader = who
		} else {
			approvers = append(approvers, who)
		}
	}
	if cfg.Reader == nil {
		if cfg.Reader, err = s.role("reader", "reader.stele"); err != nil {
			return nil, err
		}
	}
	if root, err := os.ReadFile(s.beside("admin", "root.stele")); err == nil && len(approvers) == 0 {
		desk, err := erase.Open(ctx, cfg.Store, cfg.Trust, nil)
		if err != nil {
			return nil, s.misfit(err)
		}
		if p, err := desk.Policy(ctx); err != nil || p.Dual {
			return nil, err
		}
		approvers = append(approvers, root)
	}
	return approvers, nil
}
