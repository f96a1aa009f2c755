package keys_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/merkle"
)

const tenYears = 3652 * 24 * time.Hour

// pass lets days go by, in which the key service works and a compactor sequences what it says.
func (w *world) pass(s *keys.Service, days int) {
	w.t.Helper()
	log := w.log()
	for range days {
		time.Sleep(24 * time.Hour)
		w.must(s.Fold(w.t.Context()))
		w.must(s.EraseDue(w.t.Context()))
		w.sequenceIn(log)
	}
	w.must(s.EraseDue(w.t.Context()))
}

func ahead(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }

// A key service whose clock is ten years ahead erases nothing by itself, and keeps the intake keys, however long it runs; nor
// does it call a minimum retention over. What is asked for it erases. Under the right clock all goes on as it must.
func TestClockAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := w.granter()
		kept := g.grant(2, "ada")
		msg, state := g.message(3, "ada", "s1", "state", 30)
		g.send(msg)
		msg, audit := g.message(3, "bob", "", "audit", 0)
		g.send(msg)
		bob := g.grant(2, "bob")
		g.grant(1, "eve")
		s := w.open(w.config())
		w.done(w.eraseNow(s, "eve"), 1) // whose horizon is over by one clock
		w.must(s.Close())

		s = w.open(keys.At(w.config(), ahead(tenYears)))
		w.pass(s, 10)
		w.all(s, "live", kept, state, audit, bob)
		if st := s.Stats(); s.Generation() != 2 || st.Overdue != 1+len(w.writer.Intake) || st.Behind < tenYears-48*time.Hour || st.Behind > tenYears+48*time.Hour {
			t.Errorf("generation %d: %+v", s.Generation(), st)
		}
		id := w.eraseNow(s, "bob")
		if r := w.standing(id); len(r.Outcomes) != 1 || r.Outcomes[0].Erased != 2 || r.Outcomes[0].Retained != 3 {
			t.Errorf("by request: %+v", r.Outcomes)
		}
		w.all(s, "live", kept, state)
		w.all(s, "erased", bob)
		w.must(s.Close())
		w.verified(w.file("trust.stele"))

		s = w.open(w.config())
		defer s.Close()
		w.pass(s, 24)
		w.all(s, "live", kept)
		w.all(s, "erased", state)
		if st := s.Stats(); st.Overdue > 1 || st.Behind > 48*time.Hour {
			t.Errorf("under the right clock: %+v", st)
		}
		w.verified(w.file("trust.stele"))
	})
}

// eraseNow has a subject erased by an approved request, and returns that.
func (w *world) eraseNow(s *keys.Service, name string) string {
	w.t.Helper()
	id := w.asks(subject(name), true)
	_, err := s.CarryOut(w.t.Context())
	w.must(err)
	w.sequence()
	return id
}

// verified wants that nobody finds fault with what the key store and the control log say of erasures.
func (w *world) verified(trust []byte) {
	w.t.Helper()
	a, err := backup.OpenArchive(w.t.Context(), w.store, trust)
	w.must(err)
	r, err := a.Verify(w.t.Context(), backup.VerifyOptions{Now: time.Now()})
	w.must(err)
	for _, what := range []string{"erasure", "integrity"} {
		if v := r.Verdicts[what]; v.State != "true" {
			w.t.Errorf("%s is %s: %s %+v", what, v.State, v.Detail, r.Faults)
		}
	}
}

// The clocks of key service, compactor and writers are wrong: nothing goes for a week. So an archive that was off for long goes
// on after that.
func TestClockOfAllAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := w.granter()
		msg, state := g.message(3, "ada", "s1", "state", 30)
		g.send(msg)
		s := w.open(w.config())
		defer s.Close()
		w.pass(s, 2)
		time.Sleep(tenYears)
		w.pass(s, 6)
		w.all(s, "live", state)
		if st := s.Stats(); st.Overdue == 0 || s.Generation() != 1 {
			t.Errorf("generation %d: %+v", s.Generation(), st)
		}
		w.pass(s, 3)
		w.all(s, "erased", state)
	})
}

// A clock that is behind erases late, and says so.
func TestClockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := w.granter()
		msg, state := g.message(3, "ada", "s1", "state", 30)
		g.send(msg)
		s := w.open(keys.At(w.config(), ahead(-20*24*time.Hour)))
		defer s.Close()
		w.sequence()
		desk := w.desk()
		for range 20 { // somebody else has the right time
			time.Sleep(47 * time.Hour)
			w.must(s.EraseDue(t.Context()))
			_, err := desk.Hold(t.Context(), erase.Target{Subject: "eve"})
			w.must(err)
		}
		w.must(s.EraseDue(t.Context()))
		w.all(s, "live", state)
		if st := s.Stats(); st.Behind > -19*24*time.Hour || st.Overdue != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Where the trust file wants witnesses, what is over waits for them, whatever the control log says, and requests do not.
func TestWitnessedErasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		key, vkey := witnessKey()
		cfg := w.config()
		cfg.Trust = fmt.Appendf(cfg.Trust, "witness W %s\nquorum W\n", vkey)
		g := w.granter()
		msg, state := g.message(3, "ada", "s1", "state", 30)
		g.send(msg)
		bob := g.grant(2, "bob")
		s := w.open(cfg)
		defer s.Close()
		w.pass(s, 5)
		w.cosign(key, vkey)
		w.pass(s, 30)
		w.all(s, "live", state)
		if st := s.Stats(); st.Overdue == 0 || st.Behind < 29*24*time.Hour || st.Behind > 31*24*time.Hour {
			t.Errorf("a witness stands still: %+v", st)
		}
		w.done(w.eraseNow(s, "bob"), 2)
		w.all(s, "erased", bob)
		w.verified(cfg.Trust)
		w.cosign(key, vkey)
		time.Sleep(2 * time.Hour)
		w.must(s.EraseDue(t.Context()))
		w.all(s, "erased", state)
		if st := s.Stats(); st.Overdue != 0 {
			t.Errorf("it is back: %+v", st)
		}
	})
}

func witnessKey() (ed25519.PrivateKey, string) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	public := append([]byte{4}, key.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256([]byte("w.example\n" + string(public)))
	return key, fmt.Sprintf("w.example+%x+%s", sum[:4], base64.StdEncoding.EncodeToString(public))
}

// cosign has the newest head cosigned now.
func (w *world) cosign(key ed25519.PrivateKey, vkey string) {
	w.t.Helper()
	head, size, err := w.log().Published(w.t.Context())
	w.must(err)
	text, _, _ := strings.Cut(string(head), "\n\n")
	var c merkle.Checkpoint
	w.must(c.UnmarshalText([]byte(text + "\n")))
	v, err := cosign.NewVerifier(vkey)
	w.must(err)
	now := time.Now().Unix()
	sig := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, v.KeyHash()), uint64(now))
	sig = append(sig, ed25519.Sign(key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", now, text))...)
	w.must(w.log().KeepCosigned(w.t.Context(), size, head, fmt.Appendf(nil, "— %s %s\n", v.Name(), base64.StdEncoding.EncodeToString(sig))))
}

// A witness that stands still is not asked again with each request, and one whose cosignatures cannot be read keeps no request
// from being carried out: what it said last counts.
func TestWitnessOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		key, vkey := witnessKey()
		store := &unread{Memory: w.store}
		var log bytes.Buffer
		cfg := w.config()
		cfg.Trust = fmt.Appendf(cfg.Trust, "witness W %s\nquorum W\n", vkey)
		cfg.Store, cfg.Logger = store, slog.New(slog.NewTextHandler(&log, nil))
		g := w.granter()
		msg, _ := g.message(2, "ada", "", "audit", 0)
		g.send(msg)
		all := [][][16]byte{g.grant(2, "bob"), g.grant(2, "eve"), g.grant(2, "dan"), g.grant(2, "joe")}
		const off = 190 * 24 * time.Hour // by the clock here the minimum retention is over
		s := w.open(keys.At(cfg, ahead(off)))
		defer s.Close()
		w.pass(s, 3)
		w.cosign(key, vkey)
		time.Sleep(3 * time.Hour)
		store.reads.Store(0)
		for _, name := range []string{"bob", "eve"} {
			w.done(w.eraseNow(s, name), 2)
		}
		if n := store.reads.Load(); n != 1 {
			t.Errorf("a cosigned head of three hours ago was read %d times for two requests", n)
		}
		store.fails = true
		time.Sleep(10 * 24 * time.Hour)
		w.done(w.eraseNow(s, "dan"), 2)
		id := w.eraseNow(s, "ada")
		w.done(w.eraseNow(s, "joe"), 2)
		if r := w.standing(id); len(r.Outcomes) != 1 || r.Outcomes[0].Retained != 2 {
			t.Errorf("nobody has said that the minimum retention is over: %+v", r.Outcomes)
		}
		w.must(s.EraseDue(t.Context()))
		w.all(s, "erased", all...)
		if st := s.Stats(); st.Behind < off+9*24*time.Hour || strings.Count(log.String(), "cannot be read") != 2 {
			t.Errorf("%+v\n%s", st, log.String())
		}
		store.fails = false
		w.cosign(key, vkey)
		w.must(s.EraseDue(t.Context()))
		if st := s.Stats(); st.Behind > off+time.Hour {
			t.Errorf("the witness can be read again: %+v", st)
		}
	})
}

// unread counts how often cosigned heads are read, and may fail to.
type unread struct {
	*storetest.Memory
	reads atomic.Int64
	fails bool
}

func (s *unread) Read(ctx context.Context, key, version string, r worm.Range) ([]byte, error) {
	if strings.HasPrefix(key, ledger.CosignedPrefix) {
		if s.reads.Add(1); s.fails {
			return nil, errors.New("input/output error")
		}
	}
	return s.Memory.Read(ctx, key, version, r)
}

// An answer is not kept waiting by what witnesses have said: that is looked up where it is folded.
func TestAnswerAsksNoWitness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		key, vkey := witnessKey()
		cfg, store := w.config(), &unread{Memory: w.store}
		cfg.Trust, cfg.Store = fmt.Appendf(cfg.Trust, "witness W %s\nquorum W\n", vkey), store
		w.cosign(key, vkey)
		s := w.open(cfg)
		defer s.Close()
		g := w.granter()
		all := g.grant(2, "ada")
		w.must(s.Fold(t.Context()))
		before := store.reads.Load()
		time.Sleep(3 * time.Hour)
		all = append(all, g.grant(2, "ada")...)
		w.all(s, "live", all)
		if n := store.reads.Load() - before; n > 0 || before == 0 {
			t.Errorf("cosigned heads were read %d times to fold, and %d times to answer", before, n)
		}
	})
}

// A clock that was ten years ahead for one fold, or stays so, keeps nobody from having intake keys of the weeks that come.
func TestIntakeAfterAClockAhead(t *testing.T) {
	for name, now := range map[string]func() time.Time{"once": time.Now, "for good": ahead(tenYears)} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := w.open(keys.At(w.config(), ahead(tenYears)))
			w.must(s.Fold(t.Context()))
			w.must(s.Close())
			w.sequence()
			s = w.open(keys.At(w.config(), now))
			log := w.log()
			for range 40 {
				time.Sleep(36 * time.Hour)
				w.must(s.Fold(t.Context()))
				w.must(s.EraseDue(t.Context()))
				w.sequenceIn(log)
			}
			this, n := keyscope.Week(time.Now()), 0
			for _, in := range log.Policy().Intake {
				if in.Week >= this && in.Week < this+26 {
					n++
				}
			}
			if n < 20 {
				t.Errorf("%s: %d intake keys of this week and the 25 that follow", name, n)
			}
			w.must(s.Close())
		})
	}
}
