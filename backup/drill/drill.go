// Package drill shows that an archive forgets what it must, and keeps what it must. A drill plants a canary through the real
// capture path, has it erased as anybody would be, restores a copy from before, and looks: docs/formats/control.md, Drills.
package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/logpipe"
)

// Config configures [Erasure]. All but Approvers, Sample and Wait is required.
type Config struct {
	Store      worm.Store
	Trust      []byte          // content of trust.stele
	Reader     []byte          // content of a reader's role file
	Approvers  [][]byte        // contents of role files of those who approve; the policy root's while there are not two
	Keys       keys.Source     // today's key service
	Custodians keys.Custodians // all that ever had a share: they are asked to open what they have destroyed

	// Plant captures records through a pipe of the archive, and returns when the transport has them.
	Plant func(ctx context.Context, records []logpipe.Record) error

	Dir    string        // of the drill: what it must remember, and the copy; made if missing
	Sample int           // how many records, the newest, are read before and after; 0: all
	Wait   time.Duration // how long to wait for compactor, approvers and key service; 0: not at all
}

// Result is what a drill found. Counts are of records.
type Result struct {
	OK      bool     `json:"ok"`
	Canary  string   `json:"canary"`  // the subject that was planted
	Request string   `json:"request"` // id of the request to erase it
	Erased  string   `json:"erased"`  // SHA-256 of the control entry of the erasure
	All     bool     `json:"all"`     // everything that opened before was read, not a sample
	Opened  int      `json:"opened"`  // that open, as they must, and are as they were
	Dead    int      `json:"dead"`    // of the canary that do not open, as they must not
	Alive   int      `json:"alive"`   // of the canary that open, or would: the drill failed
	Unseen  int      `json:"unseen"`  // of the canary that the copy does not show as erased, nor open: the drill failed
	Lost    int      `json:"lost"`    // that opened before and do not now, though nobody erased them: the drill failed
	Gone    int      `json:"gone"`    // that were erased meanwhile by other requests, or by policy
	Found   []string `json:"found"`   // what failed, in words
}

// WaitingError says what a drill waits for. Whoever does that, or lets it be done, runs the drill again with the same
// directory.
type WaitingError struct {
	Step string // "commit", "approval", "erasure"
	For  string // what has to happen, in words
}

// Error implements error.
func (e *WaitingError) Error() string { return "the drill is not finished: " + e.For }

// Erasure runs a drill as far as it goes, from where an earlier call with the same directory got. The error is a
// [*WaitingError] if somebody else has to do something first. When it returns a result, that is in the inbox of the
// control log, and the directory is empty unless the drill failed.
func Erasure(ctx context.Context, cfg Config) (*Result, error) {
	d, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{d.plant, d.copyArchive, d.request, d.await} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	r, err := d.look(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.report(ctx, r); err != nil {
		return nil, err
	}
	return r, d.end(r.OK)
}

// patiently calls f until it says nothing is waited for, the time of the drill is over, or it fails.
func (d *drill) patiently(ctx context.Context, f func() (*WaitingError, error)) error {
	until := time.Now().Add(d.cfg.Wait)
	for {
		waiting, err := f()
		if err != nil || waiting == nil {
			return err
		}
		if !time.Now().Add(pause).Before(until) {
			return waiting
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

const pause = 2 * time.Second

// plant captures the canary, once.
func (d *drill) plant(ctx context.Context) error {
	if d.state.Planted != nil {
		return nil
	}
	d.state.Subject, d.state.Session = "stele-drill-"+random(), "stele-drill-"+random()
	if err := d.save(); err != nil { // before anything is captured: a drill that was killed here plants another
		return err
	}
	now := time.Now().UTC()
	var records []logpipe.Record
	for i, kind := range []logpipe.Kind{logpipe.Input, logpipe.State, logpipe.Output} {
		records = append(records, logpipe.Record{Kind: kind, Time: now.Add(time.Duration(i) * time.Millisecond), Subject: d.state.Subject, Session: d.state.Session,
			ContentType: "text/plain", Body: fmt.Appendf(nil, "canary %d of a drill: %s", i, random())})
	}
	if err := d.cfg.Plant(ctx, records); err != nil {
		return fmt.Errorf("planting the canary: %w", err)
	}
	d.state.Planted, d.state.Canaries = &now, len(records)
	return d.save()
}

// request asks for the erasure of the canary, and approves it as far as it may.
func (d *drill) request(ctx context.Context) error {
	if d.state.Request == "" {
		if err := d.ask(ctx); err != nil {
			return err
		}
	}
	return d.patiently(ctx, func() (*WaitingError, error) {
		standing, err := d.approve(ctx)
		switch {
		case err != nil:
			return nil, err
		case standing == "approved" || standing == "done":
			return nil, nil
		case standing == "pending" || standing == "unsequenced":
			return &WaitingError{"approval", fmt.Sprintf("two approvers must approve the request: 'stele erase approve %s --file %s --as FILE', and a compactor take it in", d.state.Request, d.path(requestFile))}, nil
		}
		return nil, fmt.Errorf("the request to erase the canary is %s: remove %s and begin anew", standing, d.cfg.Dir)
	})
}

// await waits until the control log holds the erasure.
func (d *drill) await(ctx context.Context) error {
	if d.state.Erased != "" {
		return nil
	}
	return d.patiently(ctx, func() (*WaitingError, error) {
		entry, problem, err := d.erasure(ctx)
		switch {
		case err != nil:
			return nil, err
		case problem != "":
			return nil, errors.New("the canary is not erased: " + problem)
		case entry == "":
			return &WaitingError{"erasure", "the key service must carry the request out ('stele erase run' where none runs), and a compactor take that in"}, nil
		}
		d.state.Erased = entry
		return nil, d.save()
	})
}
