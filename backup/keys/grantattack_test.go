package keys_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyscope"
)

// TestGrantWhileNothingIsKnown: nothing is known of bob, and his grant comes, or another key service takes it in, while the tombstone
// is being set. The request is not done as long as a key is there.
func TestGrantWhileNothingIsKnown(t *testing.T) {
	for _, at := range []string{"denied", "marks"} {
		for _, other := range []bool{false, true} {
			w := newWorld(t)
			g := w.granter()
			late, scopes := g.message(3, "bob", "", "default", 0)
			beside := w.open(keys.Together(w.config()))
			s := w.open(keys.Stepped(keys.Together(w.config()), func(name string) error {
				if name != at || late == nil {
					return nil
				}
				g.send(late)
				late = nil
				if other {
					return beside.Fold(t.Context())
				}
				return nil
			}))
			id := w.ordered(w.desk(), "bob")
			_, err := s.CarryOut(t.Context())
			w.must(err)
			w.must(s.Fold(t.Context()))
			w.sequence()
			w.all(s, "erased", scopes)
			if r := w.standing(id); w.live(s) != 0 || r.Standing != control.Done || r.Outcomes[0].Nothing == other {
				t.Errorf("at %s: %d keys are there, and the request is %s: %+v", at, w.live(s), r.Standing, r.Outcomes)
			}
		}
	}
}

// TestRecoverBuriesAgain: what came too late is in the transport still when the record that buried it is lost with the tombstone.
func TestRecoverBuriesAgain(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	g.grant(2, "ada")
	w.must(s.Fold(t.Context()))
	late, scopes := g.message(3, "bob", "", "default", 0)
	w.ordered(w.desk(), "bob")
	_, err := s.CarryOut(t.Context())
	w.must(err)
	w.sequence()
	g.send(late)
	w.must(s.Fold(t.Context()))
	w.must(s.Close())
	w.told()
	w.gone(w.keysOf(keydepot.Roots)[2:]...) // all that know of bob
	d, err := keys.Inspect(t.Context(), w.config())
	w.must(err)
	w.recover(d)
	s = w.open(w.config())
	w.must(s.Fold(t.Context()))
	w.all(s, "erased", scopes)
	if n := w.live(s); n != 2 {
		t.Errorf("%d keys are there, 2 may", n)
	}
}

// TestSessionOfAnother: a writer that claims a stream of another service ends nothing of that.
func TestSessionOfAnother(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t)
		s := w.open(w.config())
		g := w.granter()
		msg, hers := g.message(4, "ada", "s1", "state", 30)
		g.send(msg)
		w.must(s.Fold(t.Context()))
		if restart {
			w.must(s.Close())
			s = w.open(w.config())
		}
		thief := w.claims(g)
		msg, _ = thief.message(1, "eve", "s1", "state", 30)
		g.send(msg)
		end, err := (&keyscope.SessionEnd{Cert: thief.cert, Time: time.Now().UnixNano(),
			Tags: keyscope.MakeTags((*[32]byte)(w.writer.Pepper), nil, nil, []byte("s1"))}).Sign(thief.key)
		w.must(err)
		g.send(end)
		w.must(s.Fold(t.Context()))
		w.must(s.EraseDue(t.Context()))
		w.all(s, "live", hers)
		w.must(s.Close())
	}
}

// claims is a writer of another service that says a stream were its own.
func (w *world) claims(g *granter) *thief {
	w.t.Helper()
	a, err := admin.Open(w.t.Context(), w.at(), w.file("trust.stele"), w.file("admin/root.stele"))
	w.must(err)
	var file []byte
	w.must(a.AddWriter(w.t.Context(), "thief", "file://"+w.path("spool"), func(credential []byte) error { file = credential; return nil }))
	c, err := identity.ParseWriter(file)
	w.must(err)
	x := thief{granter: *g, service: c.SigningKey()}
	_, x.key, _ = ed25519.GenerateKey(nil)
	cert := *g.cert
	cert.StreamKey, cert.Service = [32]byte(x.key.Public().(ed25519.PublicKey)), "thief"
	x.cert, err = keyscope.SignCert(cert, c.SigningKey())
	w.must(err)
	return &x
}

// thief is a stream of another service.
type thief struct {
	granter
	service ed25519.PrivateKey
}

// TestLateUnderMinimumRetention: what comes late of a class that must be kept is kept.
func TestLateUnderMinimumRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(w.config())
		g := w.granter()
		g.grant(2, "bob")
		late, scopes := g.message(3, "bob", "", "audit", 0)
		time.Sleep(time.Hour)
		id := w.eraseNow(s, "bob")
		g.send(late)
		w.must(s.Fold(t.Context()))
		w.sequence()
		w.all(s, "erased", scopes)
		if n := w.live(s); n != 3 {
			t.Errorf("%d keys, and 3 must be kept; the request is %+v", n, w.standing(id).Outcomes)
		}
		w.must(s.Close())
	})
}

// TestLateAfterMinimumRetention: once it is over what comes late is destroyed, also by a service that has just begun.
func TestLateAfterMinimumRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var root identity.Root
		w.must(identity.Parse(w.file("admin/root.stele"), identity.RootFormat, &root))
		signer, err := identity.Signer(identity.RootName("acme"), root.Key)
		w.must(err)
		log := w.log()
		policy := *log.Policy()
		policy.Version++
		policy.Classes = slices.Clone(policy.Classes)
		policy.Classes[slices.IndexFunc(policy.Classes, func(c control.Class) bool { return c.Name == "default" })].Min = 1
		entry, err := control.Sign(w.trust.Archive, control.TypePolicy, time.Now(), policy, signer)
		w.must(err)
		w.must(log.Drop(t.Context(), entry))
		w.sequence()
		s := w.open(w.config())
		g := w.granter()
		late, _ := g.message(3, "bob", "", "default", 0)
		time.Sleep(time.Hour)
		w.eraseNow(s, "bob")
		w.pass(s, 3)
		w.must(s.Close())
		g.send(late)
		s = w.open(w.config())
		w.must(s.Fold(t.Context()))
		if n := w.live(s); n != 0 {
			t.Errorf("%d keys are kept", n)
		}
		w.must(s.Close())
	})
}

// TestGrantedInTwoWeeks: a writer wraps a key again, to the intake key of the next week.
func TestGrantedInTwoWeeks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(keyscope.WeekStart(keyscope.Week(time.Now()) + 1).Add(-time.Hour)))
		w := newWorld(t)
		s := w.open(w.config())
		g := w.granter()
		first, scopes, again := g.twice(t)
		g.send(first)
		w.must(s.Fold(t.Context()))
		_, err := s.Erase(t.Context(), keys.Erasure{Scopes: scopes})
		w.must(err)
		w.all(s, "erased", scopes)
		g.send(again)
		w.must(s.Fold(t.Context()))
		w.all(s, "erased", scopes)
		w.must(s.Close())
	})
}

func (g *granter) twice(t *testing.T) (first []byte, scopes [][16]byte, again []byte) {
	tags := keyscope.MakeTags((*[32]byte)(g.w.writer.Pepper), nil, []byte("bob"), nil)
	var key [32]byte
	var random [14]byte
	rand.Read(key[:])
	rand.Read(random[:])
	b := keyscope.Binding{Archive: g.w.writer.Archive, Stream: g.cert.Stream, Scope: keyscope.ScopeID(keyscope.Day(time.Now()), random), Start: time.Now().UnixNano(), Class: "default"}
	sign := func(in *keyscope.IntakeWrap) []byte {
		m := keyscope.Grants{Cert: g.cert, Week: in.Week, Intake: in.Encapsulation}
		grant, _, err := keyscope.MakeGrant(&key, &tags, &b, g.read, in)
		g.w.must(err)
		m.Grants = append(m.Grants, grant)
		msg, err := m.Sign(g.key)
		g.w.must(err)
		return msg
	}
	first = sign(g.intake)
	for _, k := range g.w.writer.Intake {
		if k.Week == g.intake.Week+1 {
			public, err := keyscope.KEM().NewPublicKey(k.Key)
			g.w.must(err)
			next, err := keyscope.NewIntakeWrap(public, g.w.writer.Archive, g.cert.Stream, k.Week)
			g.w.must(err)
			again = sign(next)
		}
	}
	return first, [][16]byte{b.Scope}, again
}

// TestEncapsulationOfAnother: a writer grants under the encapsulation of another stream. The keys of that stay what they are.
func TestEncapsulationOfAnother(t *testing.T) {
	for _, together := range []bool{true, false} {
		w := newWorld(t)
		s := w.open(w.config())
		g := w.granter()
		msg, hers := g.message(2, "ada", "", "default", 0)
		g.send(msg)
		if !together {
			w.must(s.Fold(t.Context()))
		}
		thief := w.claims(g)
		cert := *thief.cert
		cert.Stream = [16]byte{1}
		thief.cert, _ = keyscope.SignCert(cert, thief.service)
		thief.intake = w.intakeWrap(cert.Stream)
		thief.read = g.read // its bytes are public, and nobody sees who made them
		msg, his := thief.message(1, "eve", "", "default", 0)
		g.send(msg)
		w.must(s.Fold(t.Context()))
		for range 5 { // runs are merged
			g.grant(3, "ada")
			w.must(s.Fold(t.Context()))
		}
		all := map[[16]byte]bool{}
		for l, err := range s.Ring().All(t.Context()) {
			w.must(err)
			all[l.ID] = true
			if l.Stream != g.cert.Stream && l.ID != his[0] {
				t.Errorf("together %v: scope %x is of stream %x, was granted by %x", together, l.ID, l.Stream, g.cert.Stream)
			}
		}
		if !all[hers[0]] || !all[hers[1]] {
			t.Errorf("together %v: a key is lost", together)
		}
		w.must(s.Close())
	}
}

// TestRecordBeforeItsApproval: a record that names a request which was not approved keeps nobody from carrying it out once it is: no log
// ever takes an entry about that record.
func TestRecordBeforeItsApproval(t *testing.T) {
	w := newWorld(t)
	s := w.open(w.config())
	g := w.granter()
	hers, his := g.grant(2, "ada"), g.grant(3, "bob")
	filed, err := w.desk().Request(t.Context(), subject("bob"))
	w.must(err)
	w.sequence()
	var id commit.Hex32
	w.must(id.UnmarshalText([]byte(filed.ID)))
	_, err = s.Erase(t.Context(), keys.Erasure{Requests: [][32]byte{id}, Tags: w.tag("ada")})
	w.must(err)
	_, err = w.desk().Approve(t.Context(), filed.ID)
	w.must(err)
	w.sequence()
	for range 2 {
		_, err = s.CarryOut(t.Context())
		w.must(err)
		w.sequence()
	}
	w.all(s, "erased", hers, his)
	if n := w.live(s); n != 0 || w.standing(filed.ID).Standing != control.Done {
		t.Errorf("%d keys are there, and the request is %s", n, w.standing(filed.ID).Standing)
	}
}
