package logpipe

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/seal"
)

// TestClockBeforeTheCredential: a writer whose clock was set far back makes no grants that say that they are older than their
// intake key, which nobody would accept.
func TestClockBeforeTheCredential(t *testing.T) {
	a := newArchive(t, "file:///x")
	week := a.writer.Intake[0].Week
	for _, now := range []time.Time{time.Now(), keyscope.WeekStart(week), keyscope.WeekStart(week).Add(-time.Nanosecond), keyscope.WeekStart(week).AddDate(-1, 0, 0), time.Unix(0, 0), time.Unix(-1, 0)} {
		sc, err := newScopes(&a.writer, seal.Place{}, slog.New(slog.DiscardHandler)).get(&entry{}, defaultClass, now)
		if err != nil {
			t.Fatal(err)
		}
		want := max(now.UnixNano(), keyscope.WeekStart(week).UnixNano())
		if sc.wrap.intake.Week != week || sc.entry.Start != want {
			t.Errorf("at %v: it starts at %v under the key of week %d", now, time.Unix(0, sc.entry.Start), sc.wrap.intake.Week)
		}
	}
}

// TestCredentialRunsOut: the log says in time that a credential must be renewed.
func TestCredentialRunsOut(t *testing.T) {
	now := time.Now()
	for left, want := range map[int]string{26: "", 8: "", 7: "level=WARN", 0: "weeks_left=0", -1: "level=ERROR"} {
		var out bytes.Buffer
		w := &identity.Writer{Intake: []identity.PublicKey{{Week: uint16(int(keyscope.Week(now)) + left)}}, Pepper: make([]byte, 32)}
		newScopes(w, seal.Place{}, slog.New(slog.NewTextHandler(&out, nil))).warn(now)
		if got := out.String(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%d weeks left: %q", left, got)
		}
	}
}
