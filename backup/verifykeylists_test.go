package backup

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyscope"
)

// An intake key counts as erased, and grants of its week as dead on arrival, if its time was over by more than the key
// service's word.
func TestIntakeWeekTooEarly(t *testing.T) {
	const week = 3000
	path := append(binary.BigEndian.AppendUint16([]byte{0x13}, week), make([]byte, 32)...)
	if got, ok := keyring.IntakeWeek(path); !ok || got != week {
		t.Fatalf("the path is of week %d, %t", got, ok)
	}
	end := keyscope.WeekStart(week + 1).Add(control.Horizon)
	for over, want := range map[time.Time]bool{
		{}:                            false, // nobody says how late it is
		keyscope.WeekStart(week):      false,
		end:                           false,
		end.Add(time.Second):          true,
		end.Add(1000 * time.Hour):     true,
		end.Add(-control.Horizon):     false,
		end.Add(-time.Second).Local(): false,
	} {
		l := lostKeys{weeks: map[uint16]time.Time{}}
		l.take(path, &listed{over: over})
		if _, got := l.weeks[week]; got != want {
			t.Errorf("at %v: %t", over, got)
		}
	}
}
