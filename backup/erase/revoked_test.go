package erase_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
)

// A desk hears of a revocation that came after it was opened, and names the entry; a policy that follows changes nothing.
func TestRevokedWriter(t *testing.T) {
	p := newPlace(t)
	root, err := admin.Open(t.Context(), p.store, p.trust, p.files["root"])
	if err != nil {
		t.Fatal(err)
	}
	var other []byte
	keep := func(credential []byte) error { other = credential; return nil }
	if err := root.AddWriter(t.Context(), "other", "file:///nowhere", keep); err != nil {
		t.Fatal(err)
	}
	mine := p.read(filepath.Join(p.dir, "writer", "default.stele"))
	desk := p.desk("")
	if by, err := desk.Revoked(t.Context(), mine); by != nil || err != nil {
		t.Fatalf("a writer that may write: %+v, %v", by, err)
	}
	if err := root.RevokeWriter(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	if err := root.AddWriter(t.Context(), "third", "file:///nowhere", func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	by, err := desk.Revoked(t.Context(), mine)
	if err != nil || by == nil || by.Writer != "default" || time.Since(by.Time) > time.Hour {
		t.Fatalf("a revoked writer: %+v, %v", by, err)
	}
	var trust identity.Trust
	if err := trust.UnmarshalText(p.trust); err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), p.store, trust)
	if err != nil {
		t.Fatal(err)
	}
	var policies []uint64
	log.View(func(s *control.State) {
		for _, l := range s.Listed {
			if l.Type == control.TypePolicy {
				policies = append(policies, l.Index)
			}
		}
	})
	if len(policies) != 4 || by.Entry != policies[2] {
		t.Errorf("it is said to be entry %d, of the policies %v", by.Entry, policies)
	}
	if by, err := desk.Revoked(t.Context(), other); by != nil || err != nil {
		t.Errorf("another writer: %+v, %v", by, err)
	}
	if _, err := desk.Revoked(t.Context(), p.files["root"]); err == nil {
		t.Error("a role file is no credential")
	}
	foreign := newPlace(t)
	if _, err := desk.Revoked(t.Context(), foreign.read(filepath.Join(foreign.dir, "writer", "default.stele"))); !errors.As(err, new(*identity.ForeignError)) {
		t.Errorf("a credential of another archive: %v", err)
	}
}
