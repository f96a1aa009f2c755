package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/keys"
)

func (a *app) eraseRunCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Carry out what was approved, now",
		Long: `Carry out all requests that were approved, together, as a key service does by itself: urgent ones within a
minute, others within erase_every, an hour unless it is set. It needs the keys
folder and the custodians of the keys; where a key service runs, leave it to that. Compactors take what was done
into the control log, and with the admin or the compactor folder 'stele erase status' shows it then.`,
		Example: "  stele erase run",
		Args:    takes(),
		RunE:    a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.eraseRun(cmd.Context()) }),
	}
}

// runAnswer says what was erased.
type runAnswer struct {
	Erasures []erasedAnswer `json:"erasures"`
	Inbox    int            `json:"inbox"` // entries that no compactor has taken in yet, those about these erasures among them; an approval does not count before
}

type erasedAnswer struct {
	Requests   []partDone `json:"requests"`
	Scopes     uint64     `json:"scopes"`
	Held       uint64     `json:"held,omitempty"`
	Retained   uint64     `json:"retained,omitempty"`
	Until      *time.Time `json:"until,omitempty"` // of minimum retention
	Left       uint64     `json:"left,omitempty"`  // that go in the erasures that follow
	Generation uint64     `json:"generation"`      // that is alive now
	Watermark  uint64     `json:"watermark"`       // least generation that can still be opened
}

// partDone is what became of one request.
type partDone struct {
	ID       string `json:"id"`
	Scopes   uint64 `json:"scopes"`
	Held     uint64 `json:"held,omitempty"`
	Retained uint64 `json:"retained,omitempty"`
	Left     uint64 `json:"left,omitempty"`
}

func (r runAnswer) print(w io.Writer) {
	for _, e := range r.Erasures {
		for _, p := range e.Requests {
			fmt.Fprintf(w, "request %s: %s\n", p.ID[:12], count(int(p.Scopes), "scope"))
		}
		if e.Scopes == 0 {
			fmt.Fprintf(w, "nothing is erased; generation %d of the keys lives\n", e.Generation)
		} else {
			fmt.Fprintf(w, "erased %s; generation %d of the keys lives, none before %d can be opened\n", count(int(e.Scopes), "scope"), e.Generation, e.Watermark)
		}
		if e.Held > 0 {
			fmt.Fprintf(w, "  on hold: %s, and no reader gets them\n", count(int(e.Held), "scope"))
		}
		if e.Left > 0 {
			fmt.Fprintf(w, "  left: %s; there were too many for one erasure, and they follow when the control log has this one\n", count(int(e.Left), "scope"))
		}
		if e.Retained > 0 {
			fmt.Fprintf(w, "  kept: %s, for minimum retention until %s\n", count(int(e.Retained), "scope"), e.Until.Format(time.DateOnly))
		}
	}
	if len(r.Erasures) == 0 {
		fmt.Fprintln(w, "nothing that was approved is left to be done")
	}
	if len(r.Erasures) == 0 && r.Inbox > 0 { // else it is what was done just now
		fmt.Fprintf(w, "inbox     %s, and an approval there does not count yet: %s; then run this again\n", count(r.Inbox, "entry"), takenIn)
	}
}

func (a *app) eraseRun(ctx context.Context) (answer, error) {
	s, err := a.site("keys")
	if err != nil {
		return nil, err
	}
	cfg, err := s.keyService(ctx)
	if err != nil {
		return nil, err
	}
	service, err := keys.Open(ctx, cfg)
	if errors.Is(err, keys.ErrBusy) {
		return nil, hinted(err, "the key service that runs carries requests out by itself, urgent ones within a minute")
	}
	if err != nil {
		return nil, fmt.Errorf("key store: %w", err)
	}
	done, err := service.CarryOut(ctx)
	ans := runAnswer{Erasures: []erasedAnswer{}}
	for _, e := range done {
		x := erasedAnswer{Scopes: e.Scopes, Held: e.Held, Retained: e.Retained, Left: e.Left, Generation: e.After.Generation, Watermark: e.Watermark}
		if e.Retained > 0 {
			x.Until = &e.Until
		}
		x.Requests = []partDone{}
		for _, p := range e.Parts {
			x.Requests = append(x.Requests, partDone{hex.EncodeToString(p.Request[:]), p.Scopes, p.Held, p.Retained, p.Left})
		}
		ans.Erasures = append(ans.Erasures, x)
	}
	if err == nil {
		ans.Inbox, err = a.inbox(ctx)
	}
	return ans, errors.Join(err, service.Close())
}

// inbox is how many entries wait for a compactor.
func (a *app) inbox(ctx context.Context) (int, error) {
	_, desk, err := a.desk(ctx, "", "")
	if err != nil {
		return 0, err
	}
	return desk.Waiting(ctx)
}
