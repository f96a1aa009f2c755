package keys_test

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyroot"
)

// A pack that is gone keeps the locks of no others from being extended.
func TestLocksOfTheOthers(t *testing.T) {
	store, now := storetest.NewMemory(), time.Now()
	lock := func(keep time.Duration) worm.Lock {
		return worm.Lock{Mode: worm.LockGovernance, Until: now.Add(keep)}
	}
	d := keydepot.Open(keydepot.Config{Store: store, Lock: lock})
	var packs []keyroot.Pack
	for i := range 3 {
		data := []byte{byte(i)}
		p := keyroot.Pack{N: uint64(i + 1), SHA256: sha256.Sum256(data), Size: 1}
		packs = append(packs, p)
		if i == 0 {
			continue
		}
		if _, err := store.Create(t.Context(), keydepot.Packs+p.SHA256.String(), data, lock(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	err := d.Extend(t.Context(), &keyroot.Record{Packs: packs}, now)
	if err == nil || !strings.Contains(err.Error(), "pack 1 ") {
		t.Errorf("pack 1 is gone: %v", err)
	}
	for _, p := range packs[1:] {
		if l, err := store.ReadLock(t.Context(), keydepot.Packs+p.SHA256.String(), ""); err != nil || l.Until.Sub(now) < keydepot.PackLock-time.Minute {
			t.Errorf("pack %d is locked until %v, %v", p.N, l.Until, err)
		}
	}
}
