package erase_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/admin"
	. "github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
)

// place is an archive with the people around it.
type place struct {
	t     *testing.T
	store *storetest.Memory
	dir   string
	trust []byte
	files map[string][]byte
}

func newPlace(t *testing.T, people ...string) *place {
	t.Helper()
	p := &place{t: t, store: storetest.NewMemory(), dir: t.TempDir(), files: map[string][]byte{}}
	setup, err := admin.Init(t.Context(), admin.InitConfig{Store: p.store, Dir: p.dir, Name: "test", To: "file:///nowhere", Lock: worm.LockNone})
	if err != nil {
		t.Fatal(err)
	}
	p.trust = p.read(setup.Trust)
	for name, path := range map[string]string{"root": "admin/root.stele", "reader": "reader/reader.stele", "recovery": "recovery/recovery.stele"} {
		p.files[name] = p.read(filepath.Join(p.dir, path))
	}
	for _, who := range people {
		role, name, _ := strings.Cut(who, "/")
		if _, err := p.desk("root").AddKey(t.Context(), role, p.key(role, name)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *place) read(path string) []byte {
	p.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

// key makes a role file and returns its public half.
func (p *place) key(role, name string) []byte {
	p.t.Helper()
	private, public, err := NewKey(p.trust, role, name, p.files["reader"])
	if err != nil {
		p.t.Fatal(err)
	}
	p.files[name] = private
	return public
}

func (p *place) desk(who string) *Desk {
	p.t.Helper()
	d, err := Open(p.t.Context(), p.store, p.trust, p.files[who])
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// sequence does what a compactor does.
func (p *place) sequence() {
	p.t.Helper()
	if err := p.desk("root").Sequence(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) request(who string) *Filed {
	p.t.Helper()
	f, err := p.desk(who).Request(p.t.Context(), Ask{Target: Target{Subject: "user-17", Reason: "wrote on Monday"}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.sequence()
	return f
}

func (p *place) approve(who, id string) {
	p.t.Helper()
	if _, err := p.desk(who).Approve(p.t.Context(), id); err != nil {
		p.t.Fatal(err)
	}
	p.sequence()
}

func (p *place) stands(id, want string) *Request {
	p.t.Helper()
	r, err := p.desk("reader").Find(p.t.Context(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	if r.Standing != want {
		p.t.Fatalf("request %s is %s, not %s", id[:8], r.Standing, want)
	}
	return r
}

func (p *place) refused(err error, why string) {
	p.t.Helper()
	var r *RefusedError
	if !errors.As(err, &r) || r.Why != why {
		p.t.Fatalf("%v, want a refusal for %q", err, why)
	}
}

// drop puts an entry into the inbox, past everything that checks it, and returns why it is refused.
func (p *place) drop(entry []byte) string {
	p.t.Helper()
	sum := commit.Hash(entry)
	if _, err := p.store.Create(p.t.Context(), "control/inbox/"+sum.String(), entry, worm.Lock{}); err != nil {
		p.t.Fatal(err)
	}
	p.sequence()
	list, err := p.desk("root").Refusals(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, r := range list {
		if r.Entry == sum.String() {
			return r.Why
		}
	}
	return ""
}

// sign is an entry by somebody whose role file is at hand.
func (p *place) sign(who, kind string, at time.Time, body any) []byte {
	p.t.Helper()
	var person identity.Person
	if err := json.Unmarshal(p.files[who], &person); err != nil {
		p.t.Fatal(err)
	}
	signer, err := identity.Signer(identity.KeyName("test", strings.TrimSuffix(person.Stele, "/v1"), person.By), person.Key)
	if err != nil {
		p.t.Fatal(err)
	}
	e, err := control.Sign(person.Archive, kind, at, body, signer)
	if err != nil {
		p.t.Fatal(err)
	}
	return []byte(e)
}

func hash(t *testing.T, id string) (h commit.Hex32) {
	t.Helper()
	if err := h.UnmarshalText([]byte(id)); err != nil {
		t.Fatal(err)
	}
	return h
}
