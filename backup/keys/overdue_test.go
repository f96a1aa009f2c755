package keys_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/backup"
)

// A key service that takes in grants and does not carry out what was approved is named after a day; so is one that stands still,
// or says that it waits, which is no break by itself. Once it is done nothing is said any more.
func TestRefusesToErase(t *testing.T) {
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		works, away, fails bool
		words              string
	}{
		"refuses":      {true, false, true, "no key service has said anything of it"},
		"stands still": {false, false, false, "no key service has said anything of it"},
		"waits":        {true, true, false, "for: custodian"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				g := w.granter()
				bob := g.grant(2, "bob")
				s := w.open(w.config())
				defer s.Close()
				w.must(s.Fold(t.Context()))
				w.sequence()
				id := w.asks(subject("bob"), true)
				if test.away {
					for _, m := range w.devices {
						m.Down(true)
					}
				}
				for range 2 {
					time.Sleep(12*time.Hour + time.Minute)
					if g.grant(1, "ada"); test.works {
						w.must(s.Fold(t.Context()))
					}
					if test.away {
						s.CarryOut(t.Context())
					}
					w.sequence()
				}
				v, text := w.verdicts()
				if got := v["erasure"].State; (got == backup.Fails) != test.fails || !strings.Contains(text, id) || !strings.Contains(text, test.words) {
					t.Errorf("erasure is %v: %s", got, text)
				}
				if r, err := w.desk().Find(t.Context(), id); err != nil || time.Since(r.Overdue) < day {
					t.Errorf("%+v, %v", r, err)
				}
				for _, m := range w.devices {
					m.Down(false)
				}
				_, err := s.CarryOut(t.Context())
				w.must(err)
				w.sequence()
				w.all(s, "erased", bob)
				if v, text := w.verdicts(); v["erasure"].State == backup.Fails || strings.Contains(text, "could have been carried out") {
					t.Error(text)
				}
				if r, err := w.desk().Find(t.Context(), id); err != nil || !r.Overdue.IsZero() {
					t.Errorf("%+v, %v", r, err)
				}
			})
		})
	}
}
