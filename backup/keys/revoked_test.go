package keys_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyroot"
)

// forged makes a record that takes nothing in, under a size of the control log and the key of a role file, and says whether it
// counts.
func (w *world) forged(role []byte, control_ uint64) bool {
	w.t.Helper()
	var id identity.KeyService
	w.must(identity.Parse(role, identity.KeyServiceFormat, &id))
	signer, err := identity.Signer(identity.KeyName("acme", control.RoleKeyService, id.By), id.Key)
	w.must(err)
	d := w.depot()
	last, hash := d.State().Last()
	r := *last
	r.N, r.Prev, r.Burnt, r.Control, r.By = d.Tail().Next, hash, d.Tail().Burnt, control_, signer.Name()
	r.Time = time.Now().UTC().Truncate(time.Second)
	r.Fold, r.Erased, r.Recovery = &keyroot.Fold{}, nil, nil
	line, err := commit.MarshalLine(&r)
	w.must(err)
	file, err := note.Sign(&note.Note{Text: string(line)}, signer)
	w.must(err)
	_, err = w.store.Create(w.t.Context(), fmt.Sprintf("%s%020d", keydepot.Roots, r.N), file, worm.Lock{Mode: worm.LockNone})
	w.must(err)
	_, now := w.depot().State().Last()
	return now == keyroot.Hash(file)
}

// A key service whose key is revoked stops, and its later records count no more once another one has made a record; what it
// did before stands.
func TestRevokedKeyService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		role, err := w.second()
		w.must(err)
		first, cfg := w.open(keys.Together(w.config())), keys.Together(w.config())
		defer first.Close()
		cfg.Identity = role
		second := w.open(cfg)
		defer second.Close()
		g := w.granter()
		a := g.grant(3, "ada")
		w.must(second.Fold(t.Context()))
		made := w.log().Size()

		if _, err := w.desk().Revoke(t.Context(), control.RoleKeyService, "third"); err == nil || !strings.Contains(err.Error(), "names no keyservice third") {
			t.Errorf("nobody is revoked: %v", err)
		}
		filed, err := w.desk().Revoke(t.Context(), control.RoleKeyService, "second")
		if w.must(err); !filed.Done {
			t.Errorf("%+v", filed)
		}
		if _, err := w.desk().Revoke(t.Context(), control.RoleKeyService, "default"); err == nil || !strings.Contains(err.Error(), "add another one first") {
			t.Errorf("the last one: %v", err)
		}
		if _, err := w.second(); err == nil || !strings.Contains(err.Error(), "use another name") {
			t.Errorf("its name for another key: %v", err)
		}
		b := g.grant(3, "bob")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for what, err := range map[string]error{"folding": second.Fold(t.Context()), "running": second.Run(ctx)} {
			if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "it was revoked") {
				t.Errorf("%s after it was revoked: %v", what, err)
			}
		}
		if s, err := keys.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "it was revoked") {
			t.Errorf("opened after it was revoked: %v, %v", s, err)
		}
		beside := w.open(w.config())
		cfg = w.config()
		cfg.Identity = role // it does not ask for the role, so it says what is wrong with it and is in nobody's way
		if _, err := keys.Open(t.Context(), cfg); errors.Is(err, keys.ErrBusy) || err == nil || !strings.Contains(err.Error(), "it was revoked") {
			t.Errorf("opened after it was revoked, beside another: %v", err)
		}
		w.must(beside.Close())
		last, _ := w.depot().State().Last()
		w.must(first.Fold(t.Context())) // bob, and under the new policy
		for _, size := range []uint64{made, w.log().Size()} {
			if w.forged(role, size) {
				t.Errorf("a record of the revoked key under size %d counts", size)
			}
			w.must(first.Fold(t.Context()))
		}
		if now, _ := w.depot().State().Last(); now.N <= last.N || now.By == last.By {
			t.Errorf("record %d of %s", now.N, now.By)
		}
		w.all(first, "live", a, b)
		got, text := w.verdicts()
		if got["integrity"].State != backup.Holds || got["erasure"].State == backup.Fails {
			t.Error(text)
		}
	})
}

// An idle key service makes a record when another one is revoked, so that the revoked key can add nothing.
func TestRevokedIsFenced(t *testing.T) {
	w := newWorld(t)
	role, err := w.second()
	w.must(err)
	s := w.open(w.config())
	w.must(s.Fold(t.Context()))
	before, _ := w.depot().State().Last()
	size := w.log().Size()
	_, err = w.desk().Revoke(t.Context(), control.RoleKeyService, "second")
	w.must(err)
	w.must(s.Fold(t.Context()))
	w.must(s.Fold(t.Context()))
	after, _ := w.depot().State().Last()
	if after.N != before.N+1 || after.Fold == nil || after.Live != before.Live {
		t.Errorf("record %d after %d: %+v", after.N, before.N, after.Fold)
	}
	if w.forged(role, size) {
		t.Error("a record of the revoked key counts")
	}
}

// What somebody with a revoked key adds before another key service has made a record is named.
func TestRevokedBeforeTheFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		role, err := w.second()
		w.must(err)
		before := w.log().Size()
		_, err = w.desk().Revoke(t.Context(), control.RoleKeyService, "second")
		w.must(err)
		time.Sleep(2 * time.Hour)
		if w.forged(role, w.log().Size()) {
			t.Error("a record under the policy that revokes its key counts")
		}
		if !w.forged(role, before) {
			t.Error("a record under the policy before is refused while none under the new one is there")
		}
		if _, text := w.verdicts(); !strings.Contains(text, "acme/keyservice/second made it on") {
			t.Error(text)
		}
	})
}

// A key service tells the control log of records that were never made. Every other one stops, as if they had been removed, until
// the key is revoked; then they go on, and verify still says that they are not there.
func TestRevokedForWhatItNeverMade(t *testing.T) {
	w := newWorld(t)
	role, err := w.second()
	w.must(err)
	g := w.granter()
	ada := g.grant(3, "ada")
	w.told()
	var id identity.KeyService
	w.must(identity.Parse(role, identity.KeyServiceFormat, &id))
	liar, err := identity.Signer(identity.KeyName("acme", control.RoleKeyService, id.By), id.Key)
	w.must(err)
	last, _ := w.depot().State().Last()
	never := []control.KeyRoot{{N: last.N + 1, Hash: commit.Hex32{1}, Generation: 1}, {N: 1 << 40, Hash: commit.Hex32{2}, Generation: 99}}
	for _, root := range never {
		e, err := control.Sign(w.trust.Archive, control.TypeKeyRoot, time.Now(), root, liar)
		w.must(err)
		w.must(w.log().Drop(t.Context(), e))
	}
	w.sequence()
	if _, err := keys.Open(t.Context(), w.config()); err == nil || !strings.Contains(err.Error(), "that is gone") {
		t.Errorf("a key service goes on without what the control log knows: %v", err)
	}
	_, err = w.desk().Revoke(t.Context(), control.RoleKeyService, "second")
	w.must(err)
	if d, err := keys.Inspect(t.Context(), w.config()); err != nil || !d.Whole() {
		t.Errorf("%+v, %v", d, err)
	}
	s := w.open(w.config())
	w.all(s, "live", ada)
	w.done(w.eraseNow(s, "ada"), 3)
	w.must(s.Close())
	got, text := w.verdicts()
	for _, root := range never {
		if want := fmt.Sprintf("root record %d of generation %d with hash %v, and it is not there", root.N, root.Generation, root.Hash); !strings.Contains(text, want) {
			t.Errorf("nothing says %q: %s", want, text)
		}
	}
	if got["integrity"].State != backup.Fails {
		t.Errorf("integrity is %s", got["integrity"].State)
	}
}

// What a revoked key service did make binds as ever: nobody goes on when it is removed.
func TestRevokedStillBinds(t *testing.T) {
	w := newWorld(t)
	role, err := w.second()
	w.must(err)
	cfg := w.config()
	cfg.Identity = role
	s := w.open(cfg)
	w.granter().grant(2, "ada")
	w.must(s.Fold(t.Context()))
	w.must(s.Close())
	w.sequence()
	_, err = w.desk().Revoke(t.Context(), control.RoleKeyService, "second")
	w.must(err)
	w.gone(w.newest(keydepot.Roots))
	if _, err := keys.Open(t.Context(), w.config()); err == nil || !strings.Contains(err.Error(), "that is gone") {
		t.Errorf("a key service goes on: %v", err)
	}
}

// second adds another key service, and returns its role file.
func (w *world) second() (role []byte, err error) {
	_, err = w.desk().AddService(w.t.Context(), control.RoleKeyService, "second", func(file []byte) error { role = file; return nil })
	return role, err
}
