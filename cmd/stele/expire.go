package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/cmd/internal/advice"
)

func (a *app) expireCommand() *cobra.Command {
	var dryRun, trustClock bool
	cmd := &cobra.Command{
		Use:   "expire",
		Short: "Remove data whose time is over",
		Long: `Remove the data of classes whose locks are over, and of a closed log the rest but its commits once nothing in it
is locked any more. What goes is first said in the control log, so that verify calls it expired by policy,
not missing. While a legal hold stands, only data go of which no key is left: whom a hold is about nobody but the
key service knows.

It acts as compactor (the folder compactor beside stele.yaml, or --as), and needs credentials that may
remove versions of objects, which no other role has or should have. Interrupted, it may be repeated.

The time is that of the witnesses in the trust file, as they cosigned heads last. Where it wants none, the clock
of one machine is not believed: --trust-clock says that you vouch for it, and the control log will say so.`,
		Example: `  stele expire --dry-run
  stele expire --trust-clock`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) {
			return a.expire(cmd.Context(), dryRun, trustClock)
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would go")
	cmd.Flags().BoolVar(&trustClock, "trust-clock", false, "take the clock of this machine for the time")
	return cmd
}

// expireAnswer is what went, or would.
type expireAnswer struct {
	*backup.Expiry
	DryRun bool `json:"dry_run"`
}

func (a *app) expire(ctx context.Context, dryRun, trustClock bool) (answer, error) {
	s, err := a.site("compactor")
	if err != nil {
		return nil, err
	}
	cfg := backup.ExpireConfig{DryRun: dryRun}
	if trustClock {
		cfg.Trusted = time.Now()
	}
	if cfg.Store, cfg.Trust, err = s.open(ctx); err != nil {
		return nil, err
	}
	if !dryRun {
		if cfg.Identity, err = s.role("compactor", "compactor.stele"); err != nil {
			return nil, err
		}
		if cfg.Deleter, err = location.OpenDeleter(ctx, s.Archive, location.Options{}); err != nil {
			return nil, err
		}
	}
	expiry, err := backup.Expire(ctx, cfg)
	if err != nil && !trustClock && advice.For(err, s.Settings) == "" {
		return nil, hinted(err, "compactors have heads cosigned, with the time; where the trust file wants no witnesses, --trust-clock says that the clock of this machine is right")
	}
	if err != nil {
		return nil, s.misfit(err)
	}
	return expireAnswer{expiry, dryRun}, nil
}

func (e expireAnswer) print(w io.Writer) {
	if e.Kept > 0 {
		fmt.Fprintf(w, "%s stay: %s, and what is held only its keys tell; 'stele hold list'\n", count(e.Kept, "object"), count(e.Holds, "hold")+" in force")
	}
	rows := [][]string{{"LOG", "COMMIT", "CLASS", "SIZE", "LOCKED UNTIL", "OBJECT"}}
	for _, o := range e.Objects {
		rows = append(rows, []string{o.Log, grouped(o.Commit), o.Class, size(o.Size), when(o.Until), o.Key})
	}
	if len(rows) > 1 {
		table(w, rows)
	}
	done := "removed"
	if e.DryRun {
		done = "would go"
	}
	fmt.Fprintf(w, "%s, %s %s\n", count(len(e.Objects), "object"), size(e.Bytes), done)
}
