package backup_test

import (
	"fmt"
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keyscope"
)

// A report on an archive that is wrecked from end to end lists the first hundred faults of a verdict, and counts all.
func TestReportIsBounded(t *testing.T) {
	const commits, squats = 45, 150
	store := storetest.NewMemory()
	a := newTestArchive(t, store)
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	for _, r := range some(commits) {
		s.send(r)
		a.once(keys)
	}
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity")
	for i := range squats {
		if _, err := store.Create(t.Context(), fmt.Sprintf("control/log/%020d", 10_000+i), []byte("mine"), worm.Lock{Mode: worm.LockNone}); err != nil {
			t.Fatal(err)
		}
	}
	broken := 0
	for _, key := range keysOf(t, store, a.log()+"objects/") {
		data := read(t, store, key)
		store.Remove(key, "")
		store.Overwrite(key, flip(data, 7))
		broken++
	}
	archive := a.open()
	for range 2 { // what was seen once is not counted again
		report, err := archive.Verify(t.Context(), VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wantExit(t, report, 10)
		v := report.Verdicts["integrity"]
		if v.Faults < uint64(broken) || v.Notices != squats {
			t.Errorf("%d faults of %d broken objects, %d notices", v.Faults, broken, v.Notices)
		}
		if want := fmt.Sprintf("(and %d more)", v.Faults-1); len(v.Detail) < len(want) || v.Detail[len(v.Detail)-len(want):] != want {
			t.Errorf("integrity: %s", v.Detail)
		}
		listed := map[string]int{}
		for _, f := range report.Faults {
			listed[f.Verdict]++
		}
		if listed["integrity"] != 100 || len(report.Notices) != 100 {
			t.Errorf("%d faults and %d notices are listed", listed["integrity"], len(report.Notices))
		}
	}
}
