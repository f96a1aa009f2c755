package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/merkle"
)

// deleting is a store that keeps to its locks, by the clock of a world.
type deleting struct {
	a    *timed
	fail func(n int) bool
	n    int
}

func (d *deleting) Delete(ctx context.Context, key, id string) error {
	d.n++
	if d.fail != nil && d.fail(d.n) {
		return storetest.ErrFault
	}
	lock, err := d.a.mem.ReadLock(ctx, key, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && lock.Until.After(d.a.now()) {
		err = fs.ErrPermission
	}
	if err == nil {
		d.a.mem.Remove(key, id)
	}
	return err
}

func (a *timed) expire(edit func(*ExpireConfig)) (*Expiry, error) {
	return a.expireIn(a.t.Context(), edit)
}

func (a *timed) expireIn(ctx context.Context, edit func(*ExpireConfig)) (*Expiry, error) {
	cfg := ExpireConfig{Store: a.store, Deleter: &deleting{a: a}, Trust: a.trust(), Identity: a.file("compactor", "compactor.stele"), Trusted: a.now()}
	if edit != nil {
		edit(&cfg)
	}
	return Expire(ctx, cfg)
}

func (a *timed) mustExpire() *Expiry {
	a.t.Helper()
	e, err := a.expire(nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return e
}

// expiring is an archive of two logs with three segments of five records, the first of which is over.
func expiring(t *testing.T) (*timed, []testRecord) {
	a := newTimedLocked(t, worm.LockGovernance)
	s, records := a.stream(keyscope.Link{}), some(15)
	for i := range 3 {
		s.send(records[5*i : 5*i+5]...)
		if i == 2 {
			s.close()
		}
		a.once()
		if i == 0 {
			a.pass(quarter)
		}
	}
	return a, records
}

// expiredReport verifies and checks that what is left is whole.
func (a *timed) expiredReport(objects, records uint64) *Report {
	a.t.Helper()
	r := a.verify(VerifyOptions{Reader: a.reader(a.keys), Now: a.now()})
	wantExit(a.t, r, 0, "integrity", "completeness", "readability")
	if r.Expired != objects || r.Opened != records || len(r.Streams) != 1 || r.Streams[0].Leaves != 17 || r.Leaves != 17 {
		a.t.Errorf("%d objects expired, %d records opened, streams %+v; want %d and %d", r.Expired, r.Opened, r.Streams, objects, records)
	}
	return r
}

// TestExpire: data of a class go first, a closed log when nothing in it is locked any more. What is left verifies, and is
// found.
func TestExpire(t *testing.T) {
	a, records := expiring(t)
	a.expiredReport(0, 15)
	dry, err := a.expire(func(c *ExpireConfig) { c.DryRun, c.Identity, c.Deleter = true, nil, nil })
	if err != nil || len(dry.Objects) != 1 || dry.Objects[0].Class != "default" || dry.Objects[0].Commit != 0 {
		t.Fatalf("%+v, %v", dry, err)
	}
	a.expiredReport(0, 15)
	if e := a.mustExpire(); len(e.Objects) != 1 || e.Objects[0].Key != dry.Objects[0].Key || e.Bytes == 0 {
		t.Fatalf("%+v", e)
	}
	if r := a.expiredReport(1, 10); r.ExpiredRecords != 5 {
		t.Errorf("%d records expired", r.ExpiredRecords)
	}
	if e := a.mustExpire(); len(e.Objects) != 0 {
		t.Errorf("again: %+v", e)
	}
	reader := a.reader(a.keys)
	if got, want := bodies(t, reader, Query{}), wantBodies(records[5:]); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	stubs := 0
	for f, err := range reader.Records(t.Context(), Query{Erased: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Expired {
			stubs++
		}
	}
	if stubs != 5 {
		t.Errorf("%d stubs", stubs)
	}
	// The longest class is kept for 184 days.
	a.pass(120 * 24 * time.Hour)
	if e := a.mustExpire(); len(e.Objects) != 2 {
		t.Errorf("data of both logs: %+v", e)
	}
	a.expiredReport(3, 0)
	a.pass(2 * quarter)
	e := a.mustExpire()
	if len(e.Objects) != 4 {
		t.Errorf("what is left of the closed log: %+v", e)
	}
	for _, o := range e.Objects {
		if o.Log != "test/0/"+periodAfter(t, 0) {
			t.Errorf("%+v", o)
		}
	}
	a.expiredReport(7, 0)
	if c, err := a.open().Count(t.Context(), time.Time{}, time.Time{}); err != nil || len(c.Expired) == 0 {
		t.Errorf("rows have expired and the count is %+v, %v", c, err)
	}
	if got := bodies(t, a.reader(a.keys), Query{Erased: true}); len(got) != 5 {
		t.Errorf("%v", got)
	}

	// The archive goes on.
	s := a.stream(keyscope.Link{})
	s.send(some(3)...)
	s.close()
	a.once()
	r := a.verify(VerifyOptions{Reader: a.reader(a.keys), Now: a.now()})
	wantExit(t, r, 0, "integrity", "completeness", "readability")
	if r.Opened != 3 {
		t.Errorf("%d opened", r.Opened)
	}
}

// TestExpireCrashes: whatever fails, the archive verifies, and the next run goes on.
func TestExpireCrashes(t *testing.T) {
	finish := func(a *timed, what string) {
		r := a.verify(VerifyOptions{Now: a.now()})
		wantExit(t, r, 0, "integrity", "completeness")
		a.mustExpire()
		a.mustExpire()
		a.expiredReport(3, 0)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	built, _ := expiring(t)
	built.pass(120 * 24 * time.Hour)
	world := func() *timed { return built.clone(t) }
	a := world()
	calls := 0
	if _, err := a.expire(func(c *ExpireConfig) {
		c.Store = &storetest.Faulty{Store: a.store, Before: func(storetest.Call) { calls++ }}
	}); err != nil {
		t.Fatal(err)
	}
	finish(a, "nothing fails")
	for n := 1; n <= calls; n += 3 {
		for i, way := range []string{"lost", "dies after"} {
			if racing && n/3%4 != 2*i {
				continue
			}
			a := world()
			ctx, cancel := context.WithCancel(t.Context())
			a.expireIn(ctx, func(c *ExpireConfig) {
				c.Store = failing(a.store, n, way, cancel)
				c.Deleter = &deleting{a: a, fail: func(int) bool { return ctx.Err() != nil }}
			})
			cancel()
			finish(a, fmt.Sprintf("store call %d %s", n, way))
		}
	}
	for n := 1; n <= 3; n++ {
		a := world()
		if _, err := a.expire(func(c *ExpireConfig) { c.Deleter = &deleting{a: a, fail: func(k int) bool { return k == n }} }); !errors.Is(err, storetest.ErrFault) {
			t.Fatalf("%v", err)
		}
		finish(a, fmt.Sprintf("removal %d fails", n))
	}
}

// TestNothingExpires: without a time that somebody vouches for, while a hold stands, and on the clock of one host alone.
func TestNothingExpires(t *testing.T) {
	a, _ := expiring(t)
	if _, err := a.expire(func(c *ExpireConfig) { c.Trusted = time.Time{} }); err == nil {
		t.Error("nobody's clock was believed")
	}
	if e, err := a.expire(func(c *ExpireConfig) { c.Trusted = time.Now() }); err != nil || len(e.Objects) > 0 {
		t.Errorf("before its time: %+v, %v", e, err)
	}
	// Ten years ahead on the host alone: the store holds what is locked, and what is there is checked as before.
	if _, err := a.expire(func(c *ExpireConfig) { c.Trusted = a.now().AddDate(10, 0, 0) }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("locked, and removed: %v", err)
	}
	r := a.verify(VerifyOptions{Reader: a.reader(a.keys), Now: a.now()})
	wantExit(t, r, 0, "integrity", "completeness", "readability")
	if r.Opened < 10 {
		t.Errorf("%d opened", r.Opened)
	}
}

// TestExpiresWithItsOwnIdentity: what another archive's compactor would sign, or nobody could, is neither written nor followed by a removal.
func TestExpiresWithItsOwnIdentity(t *testing.T) {
	a, _ := expiring(t)
	other := newTimedLocked(t, worm.LockGovernance).file("compactor", "compactor.stele")
	before := keysOf(t, a.store, "")
	var short identity.Compactor
	if err := json.Unmarshal(a.file("compactor", "compactor.stele"), &short); err != nil {
		t.Fatal(err)
	}
	mixed := short
	mixed.Control = bytes.Repeat([]byte{7}, len(short.Control))
	wrong, err := json.Marshal(&mixed)
	if err != nil {
		t.Fatal(err)
	}
	short.Key = short.Key[1:]
	cut, err := json.Marshal(&short)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		identity []byte
		want     string
	}{"of another archive": {other, "different archives"}, "with half a key": {cut, "wrong length"}, "with another control key": {wrong, "not that of the trust file"}, "none": {nil, "compactor identity"}} {
		if _, err := a.expire(func(cfg *ExpireConfig) { cfg.Identity = c.identity }); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := keysOf(t, a.store, ""); !slices.Equal(after, before) {
		t.Errorf("the store has %d keys, had %d", len(after), len(before))
	}
	if e := a.mustExpire(); len(e.Objects) == 0 {
		t.Error("with its own nothing goes")
	}
}

// TestHoldStopsExpiry: whom a hold is about only keys tell, so what has its key stays; where all keys are gone nothing is
// held.
func TestHoldStopsExpiry(t *testing.T) {
	a, records := expiring(t)
	cred, err := identity.ParseWriter(a.file("writer", "default.stele"))
	if err != nil {
		t.Fatal(err)
	}
	var root identity.Root
	if err := identity.Parse(a.file("admin", "root.stele"), identity.RootFormat, &root); err != nil {
		t.Fatal(err)
	}
	body := control.HoldBody{Selection: control.Selection{Kind: control.KindSubject, Salted: commit.Hex32{1}, Week: keyscope.Week(time.Now()), Sealed: commit.Hex32{2}}}
	hold := func(a *timed) {
		a.drop(control.TypeHold, body, signer(t, identity.RootName("test"), root.Key))
		a.once()
	}
	held := func(a *timed) *Expiry {
		hold(a)
		return a.mustExpire()
	}
	tags := [][16]byte{}
	for _, r := range records[:3] {
		tags = append(tags, keyscope.MakeTags((*[32]byte)(cred.Pepper), nil, []byte(r.subject), nil).Subject)
	}
	// One that is placed while it looks comes before what it says in the control log, and holds.
	meanwhile, placed := a.clone(t), false
	e, err := meanwhile.expire(func(c *ExpireConfig) {
		c.Store = &storetest.Faulty{Store: meanwhile.store, Before: func(call storetest.Call) {
			if !placed && call.Op == "Create" && strings.HasPrefix(call.Key, "control/") {
				placed = true
				hold(meanwhile)
			}
		}}
	})
	if !placed || err == nil {
		t.Errorf("a hold was placed, and %+v went", e)
	}
	meanwhile.expiredReport(0, 15)
	if e := meanwhile.mustExpire(); e.Holds != 1 || e.Kept != 1 || len(e.Objects) > 0 {
		t.Errorf("after a hold: %+v", e)
	}
	some := a.clone(t)
	if _, err := some.keys.Erase(t.Context(), keys.Erasure{Tags: tags[:2]}); err != nil {
		t.Fatal(err)
	}
	if e := held(some); e.Holds != 1 || e.Kept != 1 || len(e.Objects) > 0 {
		t.Errorf("some of it can be read: %+v", e)
	}
	if _, err := a.keys.Erase(t.Context(), keys.Erasure{Tags: tags}); err != nil {
		t.Fatal(err)
	}
	if e := held(a); e.Holds != 1 || e.Kept != 0 || len(e.Objects) != 1 {
		t.Errorf("all that is in it is erased: %+v", e)
	}
}

func clockWitness(name string) (ed25519.PrivateKey, string) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	public := append([]byte{4}, key.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256([]byte(name + "\n" + string(public)))
	return key, fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(public))
}

// cosign has the newest head cosigned, at a time.
func (a *timed) cosign(key ed25519.PrivateKey, vkey string, at time.Time) {
	a.t.Helper()
	head := a.head()
	text, _, _ := strings.Cut(string(head), "\n\n")
	v, err := cosign.NewVerifier(vkey)
	if err != nil {
		a.t.Fatal(err)
	}
	sig := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, v.KeyHash()), uint64(at.Unix()))
	sig = append(sig, ed25519.Sign(key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at.Unix(), text))...)
	file := fmt.Appendf(head, "— %s %s\n", v.Name(), base64.StdEncoding.EncodeToString(sig))
	var c merkle.Checkpoint
	if err := c.UnmarshalText([]byte(text + "\n")); err != nil {
		a.t.Fatal(err)
	}
	a.mem.Overwrite(fmt.Sprintf("control/cosigned/%020d.%x", c.Size, sha256.Sum256(file)), file)
}

// TestWitnessedExpiry: where the trust file wants witnesses, what they say of the time counts, and nothing else.
func TestWitnessedExpiry(t *testing.T) {
	a, _ := expiring(t)
	key, vkey := clockWitness("w.example")
	a.trusting("witness W "+vkey, "quorum W")
	witnessed := func(c *ExpireConfig) { c.Trusted = time.Time{} }
	if _, err := a.expire(witnessed); err == nil || !strings.Contains(err.Error(), "nobody tells the time") {
		t.Fatalf("nobody says how late it is: %v", err)
	}
	if _, err := a.expire(func(c *ExpireConfig) { c.Trusted = a.now().AddDate(10, 0, 0) }); err == nil || !strings.Contains(err.Error(), "nobody's word") {
		t.Fatalf("the clock of one machine: %v", err)
	}
	a.cosign(key, vkey, a.now().AddDate(0, -4, 0))
	if e, err := a.expire(witnessed); err != nil || len(e.Objects) != 0 || e.Clock != "witnesses" {
		t.Fatalf("before its time: %+v, %v", e, err)
	}
	// A compactor with a clock that is years ahead says what goes, and somebody removes it: it is missing.
	dry, err := a.expire(func(c *ExpireConfig) {
		c.Trust, c.Trusted, c.DryRun = bytes.Split(c.Trust, []byte("witness"))[0], a.now(), true
	})
	if err != nil || len(dry.Objects) != 1 {
		t.Fatalf("%+v, %v", dry, err)
	}
	o := dry.Objects[0]
	early := a.clone(t)
	body := control.Expired{Log: o.Log, From: o.Commit, To: o.Commit, Objects: []control.ExpiredObject{{SHA256: sha256.Sum256(read(t, early.mem, o.Key)), Until: o.Until}},
		Clock: control.Clock{Time: early.now().AddDate(10, 0, 0), Source: control.ClockWitnesses, Witnesses: []string{"w.example"}, Size: 1}}
	early.drop(control.TypeExpired, body, early.commitSigner())
	early.once()
	early.mem.Remove(o.Key, "")
	wantExit(t, early.verify(VerifyOptions{Now: early.now()}), 10)
	seen := a.now()
	a.cosign(key, vkey, seen)
	e, err := a.expire(witnessed)
	if err != nil || len(e.Objects) != 1 || !e.Time.Equal(seen.UTC().Truncate(time.Second)) {
		t.Fatalf("%+v, %v", e, err)
	}
	r := a.verify(VerifyOptions{Now: a.now()})
	wantExit(t, r, 0, "integrity", "completeness")
	if r.Expired != 1 {
		t.Errorf("%d expired", r.Expired)
	}
}

// TestRemovalWithoutExpiry: what goes without an entry, before its time, or under an entry that is not true, is missing.
func TestRemovalWithoutExpiry(t *testing.T) {
	remove := func(a *timed, o commit.Object) { a.mem.Remove(o.Key, "") }
	data := func(a *timed, period string, n int) commit.Object {
		c, err := commit.Peek(read(t, a.mem, a.key(period, n)))
		if err != nil || c.Object(commit.KindData, "default") == nil {
			t.Fatalf("%v", err)
		}
		return *c.Object(commit.KindData, "default")
	}
	say := func(a *timed, o commit.Object, edit func(*control.Expired)) {
		body := control.Expired{Log: "test/0/" + periodAfter(t, 0), Objects: []control.ExpiredObject{{SHA256: o.SHA256, Until: *o.Until}},
			Clock: control.Clock{Time: a.now().UTC(), Source: control.ClockTrusted}}
		edit(&body)
		a.drop(control.TypeExpired, body, a.commitSigner())
		a.once()
	}
	first := periodAfter(t, 0)
	for name, attack := range map[string]func(a *timed) commit.Object{
		"no entry": func(a *timed) commit.Object { return data(a, first, 0) },
		"before its time": func(a *timed) commit.Object {
			o := data(a, first, 0)
			say(a, o, func(e *control.Expired) { e.Clock.Time = o.Until.Add(-time.Hour) })
			return o
		},
		"another end of the lock": func(a *timed) commit.Object {
			o := data(a, first, 1)
			say(a, o, func(e *control.Expired) { e.From, e.To, e.Objects[0].Until = 1, 1, o.Until.AddDate(0, -2, 0) })
			return o
		},
		"another commit": func(a *timed) commit.Object {
			o := data(a, first, 0)
			say(a, o, func(e *control.Expired) { e.From, e.To = 1, 1 })
			return o
		},
		"another log": func(a *timed) commit.Object {
			o := data(a, first, 0)
			say(a, o, func(e *control.Expired) { e.Log = "test/1/" + first })
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := expiring(t)
			o := attack(a)
			remove(a, o)
			r := a.verify(VerifyOptions{Now: a.now()})
			wantExit(t, r, 10)
			wantFault(t, r.Faults, "integrity", o.Key, "not in the store")
		})
	}
	a, _ := expiring(t)
	o := data(a, first, 0)
	say(a, o, func(*control.Expired) {})
	remove(a, o)
	if r := a.expiredReport(1, 10); !strings.Contains(r.Verdicts["integrity"].Detail, "1 object expired by policy") {
		t.Errorf("%+v", r.Verdicts)
	}
}
