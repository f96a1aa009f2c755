package backup_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
)

// TestInboxAndControlLog: entries by those who may not write them have no effect, and rubbish keeps nobody out.
func TestInboxAndControlLog(t *testing.T) {
	a, store, keys, records := built(t)
	s := a.stream(keyscope.Link{})
	s.send(some(3)...)
	a.once(keys)
	stranger := signer(t, identity.KeyName("test", "reader", "reader"), slices.Repeat([]byte{3}, 32))
	ack := control.Ack{Stream: s.id, UpTo: 100, Reason: "nothing happened"}
	a.drop(control.TypeAck, ack, stranger)
	a.drop(control.TypeAck, ack, a.commitSigner())
	var policy control.Policy
	policy.Version = 2
	a.drop(control.TypePolicy, policy, a.commitSigner())
	a.drop(control.TypePolicy, policy, signer(t, identity.RootName("test"), slices.Repeat([]byte{3}, 32)))
	store.Overwrite("control/inbox/rubbish", []byte("rubbish"))
	store.Overwrite("control/inbox/"+strings.Repeat("0", 64), []byte("rubbish\n\nrubbish\n"))
	before := len(keysOf(t, store, "control/log/"))
	a.once(keys)
	var refused []string
	for _, key := range keysOf(t, store, "control/log/")[before:] {
		for _, e := range a.entries(key) {
			var r control.Refusal
			if e.Type != control.TypeRefusal || e.Into(&r) != nil {
				t.Errorf("an entry of a stranger went into the control log: %+v", e)
			}
			refused = append(refused, r.Type+" "+r.By+" "+r.Why)
		}
	}
	slices.Sort(refused)
	if want := []string{"policy  altered", "policy test/compactor/default role"}; !slices.Equal(refused, want) {
		t.Errorf("refused: %q, want %q", refused, want)
	}
	logged := len(keysOf(t, store, "control/log/"))
	if a.once(keys); len(keysOf(t, store, "control/log/")) != logged {
		t.Error("what was refused is refused again")
	}
	report := a.verify(VerifyOptions{Now: time.Now().Add(time.Hour)})
	wantExit(t, report, 11)
	wantFault(t, report.Faults, "completeness", fmt.Sprintf("%x", s.id), "unknown after seq 3")

	// Those who hold the control key, but no role, get entries in, and nothing follows from them.
	if err := a.sequence(control.TypeAck, ack, stranger); err != nil {
		t.Fatal(err)
	}
	report = a.verify(VerifyOptions{})
	wantExit(t, report, 11)
	wantFault(t, report.Notices, "integrity", "control/log/", "no effect")

	if err := a.reader(keys).Acknowledge(t.Context(), fmt.Sprintf("%x", s.id), "looked into"); err != nil {
		t.Fatal(err)
	}
	a.once(keys)
	report = a.verify(VerifyOptions{})
	wantExit(t, report, 0, "integrity", "completeness")
	if !slices.ContainsFunc(report.Streams, func(s StreamReport) bool { return s.Acknowledged == "looked into" && s.State == "unknown" }) {
		t.Errorf("an acknowledged loss is not shown: %+v", report.Streams)
	}
	s.send(some(2)...)
	a.once(keys)
	wantExit(t, a.verify(VerifyOptions{}), 11) // what came later was not acknowledged
	_ = records
}

// sequence puts an entry into the control log, with the control key of the compactor.
func (a *testArchive) sequence(kind string, body any, by note.Signer) error {
	e, err := control.Sign(a.id(), kind, time.Now(), body, by)
	if err != nil {
		return err
	}
	return a.enter(e)
}

// enter puts entries into the control log as one object.
func (a *testArchive) enter(entries ...string) error {
	var id identity.Compactor
	var trust identity.Trust
	if err := identity.Parse(a.file("compactor", "compactor.stele"), identity.CompactorFormat, &id); err != nil {
		return err
	}
	if err := trust.UnmarshalText(a.trust()); err != nil {
		return err
	}
	state, err := control.NewState(trust)
	if err != nil {
		return err
	}
	objects := keysOf(a.t, a.store, "control/log/")
	for n, key := range objects {
		_, accept, err := state.Judge(chain.Object{N: uint64(n), Key: key, Data: read(a.t, a.store, key)})
		if err != nil {
			return err
		}
		accept()
	}
	data, err := state.Build(chain.Tail{Next: uint64(len(objects))}, entries, time.Now(), signer(a.t, trust.Origin(), id.Control))
	if err != nil {
		return err
	}
	_, err = a.store.Create(a.t.Context(), fmt.Sprintf("control/log/%020d", len(objects)), data, worm.Lock{})
	return err
}

// TestSquattedControlLog: the control log burns numbers as logs do.
func TestSquattedControlLog(t *testing.T) {
	a, store, keys, records := built(t)
	objects := keysOf(t, store, "control/log/")
	n := len(objects)
	store.Overwrite(fmt.Sprintf("control/log/%020d", n), []byte("mine"))
	store.Overwrite(fmt.Sprintf("control/log/%020d", n+1), read(t, store, objects[1]))
	store.Overwrite(fmt.Sprintf("control/log/%020d", n+5), []byte("mine"))
	store.Mark(objects[0])
	more := some(7)
	s := a.stream(keyscope.Link{})
	s.send(more...)
	s.close()
	a.once(keys)
	report := a.intact(keys, append(records, more...))
	wantFault(t, report.Notices, "integrity", fmt.Sprintf("control/log/%020d", n), "squat")
}

// A compactor that signs a list of logs in which one is missing breaks integrity: an answer under it would look whole.
func TestFalseListOfLogs(t *testing.T) {
	a, _, keys, _ := built(t)
	a.once(keys)
	report := a.verify(VerifyOptions{})
	wantExit(t, report, 0, "integrity")
	if err := a.sequence(control.TypeLogs, control.NewLogs(report.Control, nil), a.commitSigner()); err != nil {
		t.Fatal(err)
	}
	report = a.verify(VerifyOptions{})
	wantExit(t, report, 10, "integrity")
	wantFault(t, report.Faults, "integrity", "control/log/", "test/compactor/default signed a list of logs")
}

// Where another writer is faster, a list of logs is made anew: it is always of all before its own entry.
func TestListOfLogsIsOfItsPlace(t *testing.T) {
	a, _, keys, _ := built(t)
	a.once(keys)
	var id identity.Compactor
	var trust identity.Trust
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(identity.Parse(a.file("compactor", "compactor.stele"), identity.CompactorFormat, &id))
	must(trust.UnmarshalText(a.trust()))
	log, err := ledger.Open(t.Context(), a.store, trust)
	must(err)
	tries := 0
	must(log.AppendNext(t.Context(), signer(t, trust.Origin(), id.Control), func(s *control.State) (string, error) {
		if tries++; tries < 3 {
			must(a.sequence(control.TypeDivergence, control.Divergence{Kind: control.DivergedSource, Detail: fmt.Sprint(tries)}, a.commitSigner()))
		}
		return control.Sign(trust.Archive, control.TypeLogs, time.Now(), control.NewLogs(s.Size(), s.LogLines(s.Size())), a.commitSigner())
	}))
	must(log.Refresh(t.Context()))
	log.View(func(s *control.State) {
		if last := s.Lists[len(s.Lists)-1]; tries != 3 || last.Index != s.Size()-1 || last.Control != last.Index {
			t.Errorf("%d tries, %+v in a log of %d", tries, last, s.Size())
		}
	})
}

// A compactor that names a roster that never came into the log breaks integrity, although the policy root signed it: evidence under its heads would hold.
func TestFalseRoster(t *testing.T) {
	a, _, keys, _ := built(t)
	a.once(keys)
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity")
	root, policy := a.root()
	entry, err := control.Sign(a.id(), control.TypeRoster, time.Now(), control.NewRoster(&policy), root)
	if err == nil {
		err = a.sequence(control.TypeHeads, control.Heads{Heads: []control.Head{}, Roster: commit.Hash([]byte(entry))}, a.commitSigner())
	}
	if err != nil {
		t.Fatal(err)
	}
	report := a.verify(VerifyOptions{})
	wantExit(t, report, 10, "integrity")
	wantFault(t, report.Faults, "integrity", "control/log/", "test/compactor/default signed heads under a roster that is not in the control log before them")
}
