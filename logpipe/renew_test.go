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
