package backup

import (
	"context"
	"sync"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

// expiries are the objects that the control log says are gone. Safe for concurrent use.
type expiries struct {
	mu   sync.Mutex
	seen int // entries
	gone map[commit.Hex32]goneObject
}

type goneObject struct {
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
			e.gone[o.SHA256] = goneObject{x.Log, x.From, x.To, o.Until, e.seen}
		}
	}
}

// expired reports whether the control log says that an object of a commit is gone because its time was over.
func (a *Archive) expired(c *commit.Commit, o *commit.Object) bool {
	a.expiries.mu.Lock()
	defer a.expiries.mu.Unlock()
	g, ok := a.expiries.gone[o.SHA256]
	return ok && g.log == c.Log && g.from <= c.N && c.N <= g.to && o.Until != nil && o.Until.Equal(g.until)
}

// expiredMeanwhile is expired for an object that was not found: it may have expired after the archive was opened.
func (a *Archive) expiredMeanwhile(ctx context.Context, c *commit.Commit, o *commit.Object) (bool, error) {
	if a.expired(c, o) {
		return true, nil
	}
	if err := a.control.Refresh(ctx); err != nil {
		return false, err
	}
	a.control.View(a.expiries.take)
	return a.expired(c, o), nil
}
