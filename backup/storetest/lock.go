package storetest

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/worm"
)

func testLocks(t *testing.T, s worm.Store, o Options) {
	ctx := t.Context()
	// Not on a whole second, and not in UTC.
	until := time.Now().Add(time.Hour).Truncate(time.Second).Add(time.Millisecond).In(time.FixedZone("", 3600))
	v, err := s.Create(ctx, "locked", []byte("x"), worm.Lock{Mode: o.Lock, Until: until})
	if err != nil {
		t.Fatal(err)
	}
	end := until.UTC().Truncate(time.Second).Add(time.Second)
	mustHaveLock(t, s, "locked", v.ID, o.Reported, end)
	if _, err := s.Create(ctx, "locked", []byte("y"), worm.Lock{Mode: o.Lock, Until: end.Add(time.Hour)}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Create: %v", err)
	}
	mustHaveLock(t, s, "locked", v.ID, o.Reported, end)

	for _, step := range []struct {
		name        string
		until, want time.Time
	}{
		{"same", end, end},
		{"later", end.Add(90*time.Minute - 1), end.Add(90 * time.Minute)},
		{"earlier", end, end.Add(90 * time.Minute)},
		{"past", time.Now().Add(-time.Hour), end.Add(90 * time.Minute)},
		{"a year", end.AddDate(1, 0, 0), end.AddDate(1, 0, 0)},
	} {
		if err := s.Extend(ctx, "locked", v.ID, worm.Lock{Mode: o.Lock, Until: step.until}); err != nil {
			t.Errorf("Extend to %s: %v", step.name, err)
		}
		mustHaveLock(t, s, "locked", v.ID, o.Reported, step.want)
	}
	mustRead(t, s, "locked", v.ID, []byte("x"))

	free := mustCreate(t, s, "free", []byte("x"))
	mustHaveLock(t, s, "free", free.ID, worm.LockNone, time.Time{})
	if err := s.Extend(ctx, "free", "", worm.Lock{Mode: o.Lock, Until: end}); err != nil {
		t.Errorf("Extend without a lock, newest version: %v", err)
	}
	mustHaveLock(t, s, "free", free.ID, o.Reported, end)
	mustHaveLock(t, s, "free", "", o.Reported, end)
}

func testBadLocks(t *testing.T, s worm.Store, o Options) {
	ctx := t.Context()
	until := time.Now().Add(time.Hour)
	for _, lock := range []worm.Lock{{Mode: "forever", Until: until}, {Until: until}, {Mode: worm.LockNone, Until: until}, {Mode: o.Lock}} {
		if _, err := s.Create(ctx, "object", nil, lock); err == nil || errors.Is(err, fs.ErrExist) {
			t.Errorf("Create with lock %+v: %v, want a plain error", lock, err)
		}
	}
	v := mustCreate(t, s, "object", nil)
	for _, lock := range []worm.Lock{{Mode: "forever", Until: until}, {Until: until}, {Mode: worm.LockNone}, {}, {Mode: o.Lock}} {
		if err := s.Extend(ctx, "object", v.ID, lock); err == nil {
			t.Errorf("Extend with lock %+v succeeded", lock)
		}
	}
	mustHaveLock(t, s, "object", v.ID, worm.LockNone, time.Time{})
}

func mustHaveLock(t *testing.T, s worm.Store, key, id string, mode worm.LockMode, until time.Time) {
	t.Helper()
	r, ok := s.(worm.LockReader)
	if !ok {
		return
	}
	lock, err := r.ReadLock(t.Context(), key, id)
	if lock.Mode == "" {
		lock.Mode = worm.LockNone
	}
	if err != nil || lock.Mode != mode || !lock.Until.Equal(until) {
		t.Errorf("lock of %s is %+v, %v; want %s until %s", key, lock, err, mode, until)
	}
}
