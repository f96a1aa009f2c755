package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/spool"
)

// carriedOut has approved requests carried out, and what became of them put into the control log.
func (a *testArchive) carriedOut(svc *keys.Service) {
	a.t.Helper()
	if _, err := svc.CarryOut(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	a.once(svc)
}

// A spool that comes after an erasure: its frames are in the archive, the person's records in them open to nobody, the archive
// verifies, and the certificate says what came too late. Whoever says that more came is caught.
func TestLateSpoolInTheArchive(t *testing.T) {
	store := storetest.NewMemory()
	a := newTestArchive(t, store)
	svc := a.keys()
	s := a.stream(keyscope.Link{})
	s.send(some(6)...)
	a.once(svc)

	var held [][]byte
	late := a.stream(keyscope.Link{})
	late.grants = func(msg []byte) []byte { held = append(held, msg); return nil }
	records := []testRecord{{subject: "subject-1", session: "x", body: "held back"}, {subject: "subject-2", session: "y", body: "another person"}}
	frame := late.encode(late.draft(records...))

	filed := a.asked("subject-1")
	a.once(svc)
	a.carriedOut(svc)
	for _, msg := range held {
		late.append(spool.Grants, msg)
	}
	late.append(spool.Frames, frame)
	s.close()
	late.close()
	a.once(svc)
	a.once(nil) // takes in what the key service said of it

	reader := a.reader(svc)
	r := a.verify(VerifyOptions{Reader: reader})
	wantExit(t, r, 0, "integrity", "completeness", "erasure", "readability")
	if r.Scopes.Buried != 1 || r.Scopes.Missing != 0 {
		t.Errorf("%+v", r.Scopes)
	}
	got := strings.Join(bodies(t, reader, Query{}), "\n")
	if strings.Contains(got, "held back") || !strings.Contains(got, "another person") {
		t.Errorf("restored %q", got)
	}
	e, err := a.open().Certificate(t.Context(), filed.ID, filed.File)
	if err != nil {
		t.Fatal(err)
	}
	report, err := evidence.Check(a.trust(), e.File)
	if err != nil || !report.Whole() {
		t.Fatalf("%v %+v", err, report)
	}
	if !slices.ContainsFunc(report.Holds, func(s evidence.Statement) bool {
		return s.What == "late" && strings.HasPrefix(s.Detail, "1 scope granted")
	}) {
		t.Errorf("the certificate says nothing of what came too late: %+v", report.Holds)
	}

	// The key service says that more came too late than its own record counts.
	var who identity.KeyService
	var request commit.Hex32
	if err := errors.Join(json.Unmarshal(a.file("keys", "keyservice.stele"), &who), request.UnmarshalText([]byte(filed.ID))); err != nil {
		t.Fatal(err)
	}
	lie := control.Supplement{Request: &request, Root: control.RootRef{N: 1, Hash: commit.Hash(read(t, store, rootKey(1)))}, Buried: 9}
	a.drop(control.TypeSupplement, lie, signer(t, identity.KeyName("test", "keyservice", who.By), who.Key))
	a.once(nil)
	r = a.verify(VerifyOptions{})
	wantExit(t, r, 14, "integrity", "erasure")
	wantFault(t, r.Faults, "erasure", "keys/roots/", "9 scopes were buried")
}

// What comes too late while a hold stands is kept and denied. That is no lie of the key service's as long as the hold stands.
func TestLateUnderAHoldInTheArchive(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	svc := a.keys()
	late := a.stream(keyscope.Link{})
	var held [][]byte
	late.grants = func(msg []byte) []byte { held = append(held, msg); return nil }
	frame := late.encode(late.draft(testRecord{subject: "subject-1", session: "x", body: "held back"}))
	a.asked("subject-1")
	a.once(svc)
	a.carriedOut(svc)
	desk, err := erase.Open(t.Context(), a.store, a.trust(), a.file("admin", "root.stele"))
	if err == nil {
		_, err = desk.Hold(t.Context(), erase.Target{Subject: "subject-1"})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range held {
		late.append(spool.Grants, msg)
	}
	late.append(spool.Frames, frame)
	late.close()
	a.once(svc)
	a.once(nil)
	reader := a.reader(svc)
	if got := bodies(t, reader, Query{}); len(got) > 0 {
		t.Errorf("restored %q", got)
	}
	r := a.verify(VerifyOptions{Reader: reader})
	wantExit(t, r, 0, "integrity", "completeness", "erasure", "readability")
	if r.Scopes.Live != 1 || r.Scopes.Buried != 0 {
		t.Errorf("%+v", r.Scopes)
	}
}

// A key service that destroys on arrival what nobody asked for does not pass for one that got it too late, whoever else was erased
// before it began.
func TestBuriedWithoutARequest(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	svc := a.keys()
	early := a.stream(keyscope.Link{})
	early.send(testRecord{subject: "subject-2", session: "x", body: "asked for"})
	early.close()
	a.once(svc)
	a.asked("subject-2")
	a.once(svc)
	a.carriedOut(svc)
	late := a.stream(keyscope.Link{})
	var held [][]byte
	late.grants = func(msg []byte) []byte { held = append(held, msg); return nil }
	frame := late.encode(late.draft(testRecord{subject: "subject-1", session: "x", body: "another's"}))
	a.erase(svc, late.cred.Pepper, "subject-1")
	for _, msg := range held {
		late.append(spool.Grants, msg)
	}
	late.append(spool.Frames, frame)
	late.close()
	a.once(svc)
	r := a.verify(VerifyOptions{Now: time.Now().Add(25 * time.Hour)})
	wantExit(t, r, 14, "erasure")
	wantFault(t, r.Faults, "erasure", "commits/", "no approved erasure lists it")
}

// What comes too late of a class that must be kept for some time is kept and denied. That is no lie of the key service's before
// that time is over.
func TestLateUnderMinimumRetentionInTheArchive(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	svc := a.keys()
	early, late := a.stream(keyscope.Link{}), a.stream(keyscope.Link{})
	late.class = "audit"
	var held [][]byte
	late.grants = func(msg []byte) []byte { held = append(held, msg); return nil }
	frame := late.encode(late.draft(testRecord{subject: "subject-1", session: "x", body: "held back"}))
	early.send(testRecord{subject: "subject-1", session: "x", body: "in time"})
	early.close()
	a.once(svc)
	a.asked("subject-1")
	a.once(svc)
	a.carriedOut(svc)
	for _, msg := range held {
		late.append(spool.Grants, msg)
	}
	late.append(spool.Frames, frame)
	late.close()
	a.once(svc)
	a.once(nil)
	reader := a.reader(svc)
	if got := bodies(t, reader, Query{}); len(got) > 0 {
		t.Errorf("restored %q", got)
	}
	r := a.verify(VerifyOptions{Reader: reader})
	wantExit(t, r, 0, "integrity", "completeness", "erasure", "readability")
	if r.Scopes.Live != 1 || r.Scopes.Erased != 1 || r.Scopes.Buried != 0 {
		t.Errorf("%+v", r.Scopes)
	}
	r = a.verify(VerifyOptions{Reader: a.reader(svc), Now: time.Now().Add(185 * 24 * time.Hour)})
	wantFault(t, r.Faults, "readability", "scope", "the key service says that it was erased")
}

func rootKey(n uint64) string { return fmt.Sprintf("keys/roots/%020d", n) }

// An intake key that outlives the time that a certificate states for the transport is named: as a break if a key service
// worked and left it, as a notice if none has worked since.
func TestIntakeKeyOutlivesItsCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestArchive(t, storetest.NewMemory())
		svc := a.keys()
		s := a.stream(keyscope.Link{})
		s.send(some(6)...)
		a.once(svc)
		a.asked("subject-1")
		a.once(svc)
		a.carriedOut(svc)
		wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "erasure")
		time.Sleep(6 * 7 * 24 * time.Hour) // nobody works
		r := a.verify(VerifyOptions{})
		wantExit(t, r, 0, "integrity", "erasure")
		wantFault(t, r.Notices, "erasure", "keys/roots/", "the intake key of week", "no key service has worked since")
		work := func() { // folds, and erases nothing
			s.newDay(keyscope.Week(time.Now()))
			s.send(testRecord{subject: "subject-2", session: "young"})
			a.once(svc)
		}
		work()
		r = a.verify(VerifyOptions{})
		wantExit(t, r, 0, "integrity", "erasure")
		wantFault(t, r.Notices, "erasure", "keys/roots/", "the intake key of week", "when others than the key service say that it is so late")
		for range 8 { // until the log is believed
			time.Sleep(24 * time.Hour)
			work()
		}
		r = a.verify(VerifyOptions{})
		wantExit(t, r, 14, "integrity", "erasure")
		wantFault(t, r.Faults, "erasure", "keys/roots/", "the intake key of week", "can still be opened")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := svc.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "erasure")
		if err := svc.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Who has a writer's credential can grant keys under the scope ids of others, which are public. Nobody's records close by that.
func TestGrantsUnderOthersScopes(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	svc := a.keys()
	ada, eve := a.stream(keyscope.Link{}), a.stream(keyscope.Link{})
	var taken []keyscope.Grant
	ada.opened = func(sc *testScope, key [32]byte, b keyscope.Binding, _ testRecord) {
		b.Stream = eve.id
		key[0]++
		// Under a subject of her own: who looks for that one is led to the scopes of others.
		tags := keyscope.MakeTags((*[32]byte)(eve.cred.Pepper), nil, []byte("eve"), nil)
		g, _, err := keyscope.MakeGrant(&key, &tags, &b, eve.read, eve.intake)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, g)
	}
	eve.send(testRecord{subject: "eve", session: "hers", body: "of her own"})
	for i := range 12 {
		ada.send(testRecord{subject: fmt.Sprintf("subject-%d", i), session: "x", body: fmt.Sprintf("body-%d", i)})
	}
	eve.grant(taken...)
	ada.close()
	eve.close()
	a.once(svc)
	wantExit(t, a.verify(VerifyOptions{Reader: a.reader(svc)}), 0, "integrity", "completeness", "erasure", "readability")
	if got := bodies(t, a.reader(svc), Query{}); len(got) != 13 {
		t.Errorf("restored %q", got)
	}
	r := a.reader(svc)
	for _, subject := range []string{"eve", "subject-3"} {
		if got := bodies(t, r, Query{Subject: subject}); len(got) != 1 {
			t.Errorf("of %s %q", subject, got)
		}
	}
	if got := bodies(t, r, Query{}); len(got) != 13 {
		t.Errorf("restored by the same reader %q", got)
	}
}
