package backup_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/spool"
)

// TestDamagedLane: a lane that is damaged is said to be so, and stops no other one. What it holds before the damage is
// committed; what lies behind it is missing, and the archive says that its stream did not end.
func TestDamagedLane(t *testing.T) {
	for _, name := range []string{"in its first message", "further on", "below what is committed", "in its grants"} {
		t.Run(name, func(t *testing.T) {
			a := newTestArchive(t, storetest.NewMemory())
			keys := a.keys()
			bad, good := a.stream(keyscope.Link{}), a.stream(keyscope.Link{})
			records := some(40)
			for _, r := range records[:20] {
				bad.send(r)
			}
			kind := "frames"
			if name == "in its grants" {
				kind = "grants"
			}
			lane := filepath.Join(a.spool, "lanes", hex.EncodeToString(bad.id[:]), fmt.Sprintf("%s-%020d.log", kind, 0))
			data, err := os.ReadFile(lane)
			if err != nil {
				t.Fatal(err)
			}
			at, least := len(data)/2, 21
			switch name {
			case "in its first message", "in its grants":
				at, least = 200, 20
			case "below what is committed":
				a.once(keys)
				least = 40
			}
			data[at] ^= 1
			if err := os.WriteFile(lane, data, 0o600); err != nil {
				t.Fatal(err)
			}
			good.send(records[20:]...)
			good.close()
			if _, err := a.compact(t.Context(), keys, a.store, nil); !errors.Is(err, spool.ErrDamaged) {
				t.Errorf("Once says %v, want that a lane is damaged", err)
			}
			n := 0
			for _, err := range a.reader(keys).Records(t.Context(), Query{}) {
				if n++; err != nil && name != "in its grants" {
					t.Fatal(err)
				}
			}
			if name == "in its grants" { // some of them cannot be opened; all are there
				if n < 40 {
					t.Errorf("%d records are in the archive", n)
				}
				return
			}
			if n < least || n > 40 || name != "below what is committed" && n == 40 {
				t.Errorf("%d records are in the archive, want %d at least", n, least)
			}
		})
	}
}
