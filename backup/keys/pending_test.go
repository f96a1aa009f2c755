package keys

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stelelog/stele/internal/keyring"
)

// TestAllCountsForTheSizeOfAFold: whatever is held in memory for the next record makes that due, also what is destroyed on arrival.
func TestAllCountsForTheSizeOfAFold(t *testing.T) {
	scopes := make([]keyring.Scope, maxPending)
	for i := range scopes {
		binary.BigEndian.PutUint32(scopes[i].ID[2:], uint32(i))
	}
	for name, c := range map[string]struct{ added, buried, ends int }{
		"added": {maxPending, 0, 0}, "buried": {0, maxPending, 0}, "ends": {0, 0, maxPending}, "all": {maxPending - 2, 1, 1},
	} {
		p := &pending{judge: new(keyring.Ring).Admission(), byID: map[[16]byte][]int{}, buried: map[[16]byte]bool{}, ends: make([]ended, c.ends)}
		verdicts := slices.Concat(slices.Repeat([]keyring.Verdict{keyring.Added}, c.added), slices.Repeat([]keyring.Verdict{keyring.Buried}, c.buried))
		p.take(scopes[:len(verdicts)], verdicts)
		if !p.full() {
			t.Errorf("%s: %d of %d, and no record is due", name, len(p.batch.Scopes)+len(p.batch.Spent)+len(p.ends), maxPending)
		}
		if p.ends, p.batch.Spent, p.batch.Scopes = p.ends[min(1, c.ends):], p.batch.Spent[min(1, c.buried):], p.batch.Scopes[min(1, c.added):]; p.full() {
			t.Errorf("%s: a record is due before", name)
		}
		p.take(scopes[:2], []keyring.Verdict{keyring.Repeated, keyring.Replayed})
		if p.full() {
			t.Errorf("%s: a record is due for what is known", name)
		}
	}
}
