package backup_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
)

// A writer that is revoked goes on with the streams that it has opened. What it sends there is archived, and can be read.
func TestRevokedWriterGoesOn(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	records := some(20)
	s.send(records[:10]...)
	a.once(keys)
	a.policy(func(p *control.Policy) { now := time.Now(); p.Writers[0].Revoked = &now })
	s.send(records[10:]...)
	s.close()
	a.once(keys)
	a.intact(keys, records)
}

// A compactor that is revoked stops; what it committed stands, also what the entry that revokes it does not name, and nothing
// that somebody commits with its key later, whatever size of the control log that names.
func TestCompactorRevoked(t *testing.T) {
	store := storetest.NewMemory()
	a := newTestArchive(t, store)
	keys := a.keys()
	desk := func() *erase.Desk {
		d, err := erase.Open(t.Context(), store, a.trust(), a.file("admin", "root.stele"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	role, _, err := desk().AddService(t.Context(), control.RoleCompactor, "second")
	if err != nil {
		t.Fatal(err)
	}
	s, records := a.stream(keyscope.Link{}), some(20)
	s.send(records[:10]...)
	second, err := a.compact(t.Context(), keys, store, func(c *compact.Config) { c.Identity = role })
	if err != nil {
		t.Fatal(err)
	}
	size := uint64(0)
	for _, key := range keysOf(t, store, "control/log/") {
		size += uint64(len(a.entries(key)))
	}
	if _, err := desk().Revoke(t.Context(), control.RoleCompactor, "second"); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"once more": second.Once(t.Context()),
		"again": func() error {
			_, err := a.compact(t.Context(), keys, store, func(c *compact.Config) { c.Identity = role })
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), "second was revoked: what it committed before stands") {
			t.Errorf("%s: %v", what, err)
		}
	}
	n := len(a.commits())
	var id identity.Compactor
	if err := identity.Parse(role, identity.CompactorFormat, &id); err != nil {
		t.Fatal(err)
	}
	thief := signer(t, identity.KeyName("test", "compactor", "second"), id.Key)
	parent := commit.Hash(read(t, store, a.commitKey(n-1)))
	store.Overwrite(a.commitKey(n), a.forge(n-1, thief, func(c *commit.Commit) {
		c.N, c.Prev, c.Objects, c.Index, c.Proof, c.Streams, c.Records, c.From, c.Until = uint64(n), parent, nil, nil, nil, nil, 0, nil, nil
		c.Tree.First, c.Tree.Before, c.Control = c.Tree.Size, c.Tree.After, size
	}))
	a.drop(control.TypeDivergence, control.Divergence{Log: "test/0/x", Kind: "fork", Detail: "none"}, thief)
	s.send(records[10:]...)
	s.close()
	a.once(keys)
	report := a.intact(keys, records)
	wantFault(t, report.Notices, "integrity", a.commitKey(n), "was revoked before this commit")
	for _, key := range keysOf(t, store, "control/log/") {
		for _, e := range a.entries(key) {
			if e.Type == control.TypeDivergence && e.By == thief.Name() {
				t.Errorf("an entry of the revoked key was taken in: %s", e.Body)
			}
		}
	}
}
