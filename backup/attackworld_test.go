package backup_test

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/internal/sealhook"
	"github.com/stelelog/stele/internal/spool"
)

// victim is the scope of one record, as its writer knew it.
type victim struct {
	key     [32]byte
	binding keyscope.Binding
	record  testRecord
	day     uint16 // of the encapsulation to the read key
	enc     [keyscope.EncapsulationSize]byte
	week    uint16 // of the intake key

	arrived bool      // the archive has it
	erased  bool      // it was asked for
	until   time.Time // until then copies of the transport may open it, as the certificate says
}

// The broken variants.
const (
	sound        = "sound"
	nodesAgain   = "node keys come again"
	staticIntake = "one intake key for all weeks"
	noSalts      = "no salts"
)

// siege is an archive with many scopes and many erasures, in simulated time, and what an attacker has collected of it.
type siege struct {
	*testArchive
	attacker
	pinned  identity.Trust
	c       *compact.Compactor
	log     *ledger.Log
	svc     *keys.Service
	stream  *testStream
	rand    *rand.Rand
	broken  string
	grants  []keyscope.Grant
	victims []*victim
	byID    map[[16]byte]*victim

	held     [][]byte // a spool that is held back: grants, then a frame
	heldOf   []*victim
	late     *testStream // whose it is
	erasures int
	sealed   int // objects of the control log whose erasures were looked at
}

// few gives node keys that come again: they are read 4,096 bytes at a time, and nothing else is.
type few struct{ *rand.Rand }

func (f few) Read(p []byte) (int, error) {
	if len(p) < 4096 {
		return io.ReadFull(crand.Reader, p)
	}
	clear(p)
	for i := 0; i+32 <= len(p); i += 32 {
		p[i] = byte(f.IntN(100))
	}
	return len(p), nil
}

func newSiege(t *testing.T, broken string) *siege {
	mem := storetest.NewMemory()
	a := &siege{testArchive: newTestArchive(t, mem), broken: broken, rand: rand.New(rand.NewPCG(5, 7)), byID: map[[16]byte]*victim{}}
	ctx := t.Context()
	if broken == nodesAgain {
		ctx = sealhook.WithRandom(ctx, few{a.rand})
	}
	var err error
	a.svc, err = keys.Open(ctx, keys.Config{Store: mem, Trust: a.trust(), Identity: a.file("keys", "keyservice.stele"), From: a.url(), FoldEvery: time.Hour, EraseEvery: time.Hour,
		Custodians: keys.Custodians{URLs: map[string]string{"default": admin.DefaultCustodian(a.dir)}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.svc.Close() })
	if err := a.pinned.UnmarshalText(a.trust()); err != nil {
		t.Fatal(err)
	}
	a.c = a.compactor(mem, a.svc)
	if a.log, err = ledger.Open(t.Context(), mem, a.pinned); err != nil {
		t.Fatal(err)
	}
	a.attacker = newAttacker(t, mem, a.pinned.Archive, admin.DefaultCustodian(a.dir))
	a.stream = a.testArchive.stream(keyscope.Link{})
	a.stream.batch, a.stream.unsalted = &a.grants, broken == noSalts
	a.stream.opened = func(sc *testScope, key [32]byte, b keyscope.Binding, r testRecord) {
		v := &victim{key: key, binding: b, record: r, day: keyscope.Day(time.Now()), enc: a.stream.read.Encapsulation, week: a.stream.intake.Week, arrived: true}
		a.victims, a.byID[sc.id] = append(a.victims, v), v
	}
	a.stream.grants = func(msg []byte) []byte { a.transport = append(a.transport, msg); return msg }
	return a
}

// compacted commits what is there, and has the key service fold.
func (a *siege) compacted() {
	a.t.Helper()
	if err := a.c.Once(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

// prompts are what records may say: known to everybody, and equally long.
var prompts = [...]string{"how do i cancel my contract?", "what are these pills good for", "is my neighbour a bad person?", "where can i see the doctor now"}

// day captures so many scopes of one record each, some of which a spool holds back for three days.
func (a *siege) day(day, n int) {
	week := keyscope.Week(time.Now())
	if a.broken == staticIntake {
		week = 0 // that of the first
	}
	a.stream.newDay(week)
	if day%10 == 3 && a.held == nil {
		a.hold(min(n/5, 20))
	}
	if day%10 == 6 && a.held != nil {
		a.release()
	}
	for n > 0 {
		a.send(a.some(min(n, 500)))
		n -= 500
	}
	a.compacted()
	a.note()
}

// send sends a frame, behind one message with its grants.
func (a *siege) send(records []testRecord) {
	a.grants = nil
	raw := a.stream.encode(a.stream.draft(records...))
	a.stream.grant(a.grants...)
	a.stream.append(spool.Frames, raw)
}

func (a *siege) some(n int) (out []testRecord) {
	for range n {
		i := len(a.victims) + len(out)
		out = append(out, testRecord{subject: fmt.Sprintf("person-%05d", a.rand.IntN(4*n)), session: fmt.Sprintf("session-%07d", i/3*1000+i), body: prompts[a.rand.IntN(len(prompts))]})
	}
	return out
}

// hold has another stream's spool held back.
func (a *siege) hold(n int) {
	late := a.testArchive.stream(keyscope.Link{})
	late.unsalted = a.stream.unsalted
	late.newDay(a.stream.week)
	late.opened = func(sc *testScope, key [32]byte, b keyscope.Binding, r testRecord) {
		v := &victim{key: key, binding: b, record: r, day: keyscope.Day(time.Now()), enc: late.read.Encapsulation, week: late.intake.Week}
		a.victims, a.byID[sc.id], a.heldOf = append(a.victims, v), v, append(a.heldOf, v)
	}
	late.grants = func(msg []byte) []byte {
		a.transport, a.held = append(a.transport, msg), append(a.held, msg) // the attacker has a copy of that spool, too
		return nil
	}
	frame := late.encode(late.draft(a.some(n)...))
	a.held = append(a.held, frame)
	a.late = late
}

// release lets the spool go.
func (a *siege) release() {
	for i, msg := range a.held {
		kind := spool.Grants
		if i == len(a.held)-1 {
			kind = spool.Frames
		}
		a.late.append(kind, msg)
	}
	for _, v := range a.heldOf {
		v.arrived = true
	}
	a.held, a.heldOf = nil, nil
}

// erase erases by a person, a session or a few scopes, each in a generation of its own.
func (a *siege) erase() {
	v := a.victims[a.rand.IntN(len(a.victims))]
	var e keys.Erasure
	var takes func(*victim) bool
	tags := keyscope.MakeTags((*[32]byte)(a.stream.cred.Pepper), nil, []byte(v.record.subject), []byte(v.record.session))
	switch a.rand.IntN(3) {
	case 0:
		e.Tags, takes = [][16]byte{tags.Subject}, func(x *victim) bool { return x.record.subject == v.record.subject }
	case 1:
		e.Tags, takes = [][16]byte{tags.Session}, func(x *victim) bool { return x.record.session == v.record.session }
	default:
		some := map[*victim]bool{}
		for range 1 + a.rand.IntN(10) {
			if x := a.victims[a.rand.IntN(len(a.victims))]; x.arrived && !some[x] {
				some[x], e.Scopes = true, append(e.Scopes, x.binding.Scope)
			}
		}
		takes = func(x *victim) bool { return some[x] }
	}
	out, err := a.svc.Erase(a.t.Context(), e)
	if err != nil {
		a.t.Fatal(err)
	}
	a.took(takes, keyscope.WeekStart(keyscope.Week(out.Switched)+1).Add(control.Horizon))
}

func (a *siege) took(takes func(*victim) bool, until time.Time) {
	for _, x := range a.victims {
		if !x.erased && takes(x) {
			x.erased, x.until = true, until
		}
	}
	a.erasures++
	a.note()
}

// certified erases a person by an approved request; until when the transport matters is what the certificate says.
func (a *siege) certified() {
	v := a.victims[a.rand.IntN(len(a.victims))]
	a.asked(v.record.subject)
	a.compacted()
	if _, err := a.svc.CarryOut(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	a.compacted()
	if err := a.log.Refresh(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	until := time.Time{}
	a.log.View(func(s *control.State) {
		if n := len(s.Erasures); n > a.sealed {
			a.sealed, until = n, s.Erasures[n-1].Transport
		}
	})
	if formula := keyscope.WeekStart(keyscope.Week(time.Now()) + 1).Add(control.Horizon); !until.IsZero() && !until.Equal(formula) {
		a.t.Errorf("the certificate says %v of the transport, not %v", until, formula)
	} else if until.IsZero() {
		until = formula // there was nothing left of that person but what may come late
	}
	a.took(func(x *victim) bool { return x.record.subject == v.record.subject }, until)
}

// works lets the key service work by itself for an hour: this is when intake keys of old weeks are erased.
func (a *siege) works() {
	for range 2 { // the second time others have said how late it is
		ctx, cancel := context.WithTimeout(a.t.Context(), 90*time.Minute)
		err := a.svc.Run(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			a.t.Fatal(err)
		}
		a.compacted()
	}
	a.note()
}

func long() bool { return os.Getenv("STELE_LONG") != "" }

func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
