package backup_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/logpipe"
)

// asked has one person's erasure asked for, approved, and in the control log.
func (a *testArchive) asked(subject string) *erase.Filed {
	a.t.Helper()
	desk, err := erase.Open(a.t.Context(), a.store, a.trust(), a.file("admin", "root.stele"))
	if err != nil {
		a.t.Fatal(err)
	}
	filed, err := desk.Request(a.t.Context(), erase.Ask{Target: erase.Target{Subject: subject}})
	if err == nil {
		_, err = desk.Approve(a.t.Context(), filed.ID)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return filed
}

// erased carries a request out, and has the key service say so.
func (a *testArchive) erased(svc *keys.Service, id, subject string) {
	a.t.Helper()
	var root identity.Root
	var request commit.Hex32
	err := errors.Join(json.Unmarshal(a.file("admin", "root.stele"), &root), request.UnmarshalText([]byte(id)))
	if err != nil {
		a.t.Fatal(err)
	}
	tags := keyscope.MakeTags((*[32]byte)(root.Pepper), nil, []byte(subject), nil)
	out, err := svc.Erase(a.t.Context(), keys.Erasure{Requests: [][32]byte{request}, Tags: [][16]byte{tags.Subject}})
	if err != nil {
		a.t.Fatal(err)
	}
	a.told(out, request)
	a.once(svc)
}

// told leaves an entry in the inbox by which an erasure was for a request.
func (a *testArchive) told(out *keys.Erased, request commit.Hex32) (entry string) {
	a.t.Helper()
	r, err := keyroot.Peek(read(a.t, a.store, rootKey(out.After.N)))
	if err != nil {
		a.t.Fatal(err)
	}
	return a.toldAt(out, request, r.Control)
}

// toldAt does so, and says by what size of the control log.
func (a *testArchive) toldAt(out *keys.Erased, request commit.Hex32, size uint64) (entry string) {
	a.t.Helper()
	e := control.Erased{Cause: control.CauseRequest, Requests: []control.Outcome{{Request: request, Erased: out.Scopes}}, From: out.Before.Generation,
		To: out.After.Generation, Before: control.RootRef{N: out.Before.N, Hash: out.Before.Hash}, Root: control.RootRef{N: out.After.N, Hash: out.After.Hash},
		Control: size, List: out.List, Paths: out.ListRoot, Scopes: out.Scopes, Removed: out.Removed, Spent: out.Spent,
		Watermark: out.Watermark, Transport: time.Now().Add(21 * 24 * time.Hour), Single: true, Open: []string{"best-effort default"}}
	for _, g := range out.Generations {
		for _, s := range g.Statements {
			at := s.Destroyed
			e.Custody = append(e.Custody, control.Destruction{Custodian: s.Custodian, Generation: g.Number, Class: string(s.Class), Destroyed: &at, Statement: string(s.Attestation)})
		}
	}
	return a.drop(control.TypeErased, e, a.keyService())
}

// keyService signs as the key service does.
func (a *testArchive) keyService() note.Signer {
	a.t.Helper()
	var who identity.KeyService
	if err := identity.Parse(a.file("keys", "keyservice.stele"), identity.KeyServiceFormat, &who); err != nil {
		a.t.Fatal(err)
	}
	return signer(a.t, identity.KeyName("test", control.RoleKeyService, who.By), who.Key)
}

func shows(r *evidence.Report, what string) bool {
	return slices.ContainsFunc(r.Holds, func(s evidence.Statement) bool { return s.What == what })
}

// A certificate of a real erasure checks offline, names the person only with the request file, and says what it could not close.
func TestCertificateOfErasure(t *testing.T) {
	a, _, svc, records := built(t)
	subject := records[0].subject
	ids := idsOf(t, a.reader(svc))
	filed := a.asked(subject)
	a.once(svc)
	if _, err := a.open().Certificate(t.Context(), filed.ID, nil); !errors.As(err, new(*NoErasureError)) {
		t.Fatalf("a certificate of nothing: %v", err)
	}
	a.erased(svc, filed.ID, subject)
	for _, file := range [][]byte{nil, filed.File} {
		e, err := a.open().Certificate(t.Context(), filed.ID[:12], file)
		if err != nil {
			t.Fatal(err)
		}
		report, err := evidence.Check(a.trust(), e.File)
		if err != nil {
			t.Fatal(err)
		}
		says := map[string]int{}
		for _, s := range report.Holds {
			says[s.What]++
		}
		t.Logf("%d bytes, %v, missing %v", len(e.File), says, report.Missing)
		for _, what := range []string{"erased", "request", "approved", "single-control", "records", "list", "difference", "custodian", "best-effort", "transport"} {
			if says[what] == 0 {
				t.Errorf("nothing says %q", what)
			}
		}
		named := slices.ContainsFunc(report.Holds, func(s evidence.Statement) bool { return s.Detail == "subject "+subject })
		if named != (file != nil) || !report.Whole() || says["archive"] != 0 {
			t.Errorf("names the person: %v; %+v", named, report.Missing)
		}
	}
	// Of what was erased nothing can be disclosed, and it can still be proved.
	if _, err := a.reader(svc).Prove(t.Context(), ids[:1], []string{"body"}); err == nil || !strings.Contains(err.Error(), "erased") {
		t.Errorf("a record without a key is disclosed: %v", err)
	}
	e, err := a.open().Prove(t.Context(), ids[:1])
	if err != nil {
		t.Fatal(err)
	}
	r, err := evidence.Check(a.trust(), e.File)
	if err != nil || !r.Whole() || !shows(r, "forgotten") || !shows(r, "approved") {
		t.Fatalf("%v %+v", err, r)
	}
	t.Logf("%d bytes of what was forgotten", len(e.File))
	// Of a record that still has its key nothing is said of erasures.
	for n, id := range ids {
		if records[n].subject == subject {
			continue
		}
		e, err := a.open().Prove(t.Context(), []logpipe.ID{id})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := evidence.Check(a.trust(), e.File); err != nil || !r.Whole() || shows(r, "forgotten") || shows(r, "erased") {
			t.Errorf("record %d: %v %+v", n, err, r)
		}
		break
	}
}
