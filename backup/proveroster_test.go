package backup_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/logpipe"
)

// id is that of the archive.
func (a *testArchive) id() [16]byte {
	var trust identity.Trust
	if err := trust.UnmarshalText(a.trust()); err != nil {
		a.t.Fatal(err)
	}
	return trust.Archive
}

// proven makes evidence of a record, which must be whole and under the first head that covers it, and says how many entries it has proofs of and what it says of
// the roster.
func (a *testArchive) proven(id logpipe.ID) (proofs int, roster string) {
	a.t.Helper()
	e, err := a.open().Prove(a.t.Context(), []logpipe.ID{id})
	if err != nil {
		a.t.Fatal(err)
	}
	report, err := evidence.Check(a.trust(), e.File)
	if err != nil || !report.Whole() {
		a.t.Fatalf("%v, %+v", err, report)
	}
	_, parts, err := evidence.Parse(e.File)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, p := range parts {
		if p.Kind == evidence.KindControl {
			proofs++
		}
	}
	for _, s := range report.Holds {
		var entry, size int
		switch s.What {
		case "roster":
			roster += s.Detail
		case "head":
			if n, err := fmt.Sscanf(s.Detail, "entry %d of %d,", &entry, &size); n != 2 || size != entry+1 {
				a.t.Errorf("%s, %v: not under the first head of the control log", s.Detail, err)
			}
		}
	}
	return proofs, roster
}

// Evidence shows the roster that the heads name without its place in the control log; where another came while they were under way, with it.
func TestProveRoster(t *testing.T) {
	a, store, keys, _ := built(t)
	ids := idsOf(t, a.reader(keys))
	first, roster := a.proven(ids[0])
	if first != 1 || !strings.HasPrefix(roster, "roster of version 1, before entry ") {
		t.Errorf("%d proofs, %q", first, roster)
	}

	root, policy := a.root()
	policy.Version++
	come := false
	s := a.stream(keyscope.Link{})
	s.send(some(1)...)
	s.close()
	racing := &storetest.Faulty{Store: store, Before: func(c storetest.Call) {
		if come || c.Op != "Create" || !strings.HasPrefix(c.Key, "control/log/") {
			return
		}
		come = true
		p, err := control.Sign(a.id(), control.TypePolicy, time.Now(), policy, root)
		if err != nil {
			t.Error(err)
		}
		r, err := control.Sign(a.id(), control.TypeRoster, time.Now(), control.NewRoster(&policy), root)
		if err == nil {
			err = a.enter(p, r)
		}
		if err != nil {
			t.Error(err)
		}
	}}
	if _, err := a.compact(t.Context(), nil, racing, nil); err != nil {
		t.Fatal(err)
	}
	late := idsOf(t, a.reader(keys))
	if second, roster := a.proven(late[len(late)-1]); !come || second != 2 || !strings.HasPrefix(roster, "roster of version 2, entry ") {
		t.Errorf("%v: %d proofs, %q", come, second, roster)
	}
	if again, same := a.proven(ids[0]); again != 1 || same != roster {
		t.Errorf("%d proofs, %q, which was %q", again, same, roster)
	}
	s = a.stream(keyscope.Link{})
	s.send(some(1)...)
	s.close()
	a.once(keys)
	late = idsOf(t, a.reader(keys))
	if third, roster := a.proven(late[len(late)-1]); third != 1 || !strings.HasPrefix(roster, "roster of version 2, before entry ") {
		t.Errorf("%d proofs, %q", third, roster)
	}
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity")
}
