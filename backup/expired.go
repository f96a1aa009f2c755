package backup

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

// expiries are the objects that the control log says are gone. Safe for concurrent use.
type expiries struct {
	mu   sync.Mutex
	seen int       // entries
	sure time.Time // no clock is believed that is after it
	gone map[commit.Hex32]goneObject
}

type goneObject struct {
	clock    time.Time // that was believed
	log      string
	from, to uint64
	until    time.Time
	entry    int
}

// take takes entries in that came since.
func (e *expiries) take(s *control.State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone == nil {
		e.gone = map[commit.Hex32]goneObject{}
	}
	for ; e.seen < len(s.Expiries); e.seen++ {
		x := &s.Expiries[e.seen]
		for _, o := range x.Objects {
			e.gone[o.SHA256] = goneObject{x.Clock.Time, x.Log, x.From, x.To, o.Until, e.seen}
		}
	}
}

// expired reports whether the control log says that an object of a commit is gone because its time was over. o is nil where the commit names none.
func (a *Archive) expired(c *commit.Commit, o *commit.Object) bool {
	if o == nil {
		return false
	}
	a.expiries.mu.Lock()
	defer a.expiries.mu.Unlock()
	g, ok := a.expiries.gone[o.SHA256]
	return ok && !g.clock.After(a.expiries.sure) && g.log == c.Log && g.from <= c.N && c.N <= g.to && o.Until != nil && o.Until.Equal(g.until)
}

// expiredMeanwhile is expired for an object that was not found: it may have expired after the archive was opened.
func (a *Archive) expiredMeanwhile(ctx context.Context, c *commit.Commit, o *commit.Object) (bool, error) {
	if a.expired(c, o) {
		return true, nil
	}
	if err := a.control.Refresh(ctx); err != nil {
		return false, err
	}
	if err := a.readExpiries(ctx); err != nil {
		return false, err
	}
	return a.expired(c, o), nil
}

// readExpiries takes in what the control log says has expired. Where the trust file wants witnesses, an entry counts once
// they say that its time has come: nobody's clock alone lets anything go.
func (a *Archive) readExpiries(ctx context.Context) error {
	a.control.View(a.expiries.take)
	a.expiries.mu.Lock()
	known, latest := len(a.expiries.gone) > 0, time.Time{}
	for _, g := range a.expiries.gone {
		if g.clock.After(latest) {
			latest = g.clock
		}
	}
	a.expiries.mu.Unlock()
	policy, err := a.trust.Cosigners()
	if err != nil {
		return fmt.Errorf("trust file: %w", err)
	}
	sure := latest
	if known && policy.Wants() {
		w, err := a.control.Witnessed(ctx, policy)
		if err != nil {
			return err
		}
		sure = w.Time
	}
	a.expiries.mu.Lock()
	a.expiries.sure = sure
	a.expiries.mu.Unlock()
	return nil
}
