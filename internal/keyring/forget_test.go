package keyring

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
)

// TestForget: what was remembered beside an intake key goes after it, some at a time.
func TestForget(t *testing.T) {
	ctx := context.Background()
	w, _ := filled(t, 600)
	gone := w.erase(t, Erasure{Scopes: w.tagged(t, tag("subject", 3))})
	gone2 := w.erase(t, Erasure{Scopes: w.tagged(t, tag("subject", 4))})
	total := len(gone.Spent) + len(gone2.Spent)
	week := keyscope.Week(keyscope.DayStart(firstDay))
	if more, err := w.Forgettable(ctx, nil); more || err != nil {
		t.Fatalf("forgettable while the intake key lives: %v", err)
	}
	if more, err := w.Forgettable(ctx, []uint16{week}); !more || err != nil {
		t.Fatalf("not forgettable: %v", err)
	}
	if list := w.erase(t, Erasure{Forget: 1000}); list.Paths() != 0 {
		t.Fatalf("%d paths of a week whose intake key lives are forgotten", list.Paths())
	}
	const most = 5
	e := Erasure{Weeks: []uint16{week}, Forget: most}
	for n := 0; ; n++ {
		more, err := w.Forgettable(ctx, e.Weeks)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			if n != (total+most-1)/most {
				t.Errorf("%d spent paths went in %d steps", total, n)
			}
			break
		}
		before := w.Ring
		list := w.erase(t, e)
		if err := AuditErasure(ctx, before.bare(), w.Ring.bare(), list); err != nil {
			t.Fatal(err)
		}
		if paths := int(list.Paths()); paths > most+len(e.Weeks) || list.Scopes() != 0 {
			t.Fatalf("%d paths went at once", paths)
		}
		e.Weeks = nil
	}
	if spent, err := w.Spent(ctx); err != nil || len(spent) != 0 {
		t.Errorf("%d are still there, %v", len(spent), err)
	}
}

// TestStillNeeded: what keeps copies of erased grants from coming back, or grants from being opened, does not go because a
// list names it.
func TestStillNeeded(t *testing.T) {
	ctx := context.Background()
	w, _ := filled(t, 300)
	late := w.offer(30, 5)
	late.ID = keyscope.ScopeID(w.day, [14]byte{9})
	late.Place(at(w.day, 12*time.Hour), 5)
	w.fold(t, Batch{Scopes: []Scope{late}})
	w.erase(t, Erasure{Scopes: w.tagged(t, tag("subject", 3))})
	for _, x := range []struct {
		space  byte
		public bool // what is public shows it, too
	}{{spaceSpent, true}, {spaceIntake, false}, {spaceMoved, false}} {
		for run := range w.Runs {
			var path []byte
			after := w.rebuilt(t, w.Ring, run, false, func(in []keytrie.Entry) []keytrie.Entry {
				i := slices.IndexFunc(in, func(e keytrie.Entry) bool { return e.Path[0] == x.space })
				if i < 0 {
					return in
				}
				path = in[i].Path
				return slices.Delete(slices.Clone(in), i, i+1)
			})
			if path == nil {
				continue
			}
			list := &Erased{Removed: make([][][]byte, len(w.Runs))}
			list.Removed[run] = [][]byte{path}
			if err := Gate(ctx, w.Ring, after, &Erasure{}, list, 0, w.keys); !errors.Is(err, ErrGate) {
				t.Errorf("path %x passes the gate: %v", path, err)
			}
			if err := AuditErasure(ctx, w.Ring.bare(), after.bare(), list); errors.Is(err, ErrPublic) != x.public {
				t.Errorf("path %x, in public: %v", path, err)
			}
			x.space = 0
		}
		if x.space != 0 {
			t.Errorf("no path of space %x: not much of a test", x.space)
		}
	}
}
