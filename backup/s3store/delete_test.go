package s3store_test

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/s3store"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
)

// TestDelete: what a lock holds is not removed, with any mode, until it has ended.
func TestDelete(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		ctx, bucket := t.Context(), service.Bucket(t)
		s := open(t, config(service, bucket))
		d, err := s3store.OpenDeleter(ctx, config(service, bucket))
		if err != nil {
			t.Fatal(err)
		}
		for _, mode := range []worm.LockMode{worm.LockGovernance, worm.LockCompliance} {
			v, err := s.Create(ctx, "held/"+string(mode), []byte("x"), worm.Lock{Mode: mode, Until: time.Now().Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Delete(ctx, v.Key, v.ID); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: %v", mode, err)
			}
			if _, err := s.Read(ctx, v.Key, v.ID, worm.Range{}); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
		}
		until := time.Now().Add(3 * time.Second)
		v, err := s.Create(ctx, "over", []byte("x"), worm.Lock{Mode: worm.LockCompliance, Until: until})
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			if err = d.Delete(ctx, v.Key, v.ID); err == nil || time.Now().After(end) {
				break
			}
		}
		if err != nil || time.Now().Before(until) {
			t.Errorf("removed at %s, lock until %s: %v", time.Now(), until, err)
		}
		if _, err := s.Read(ctx, v.Key, v.ID, worm.Range{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read: %v", err)
		}
		if err := d.Delete(ctx, v.Key, v.ID); err != nil {
			t.Errorf("again: %v", err)
		}
		if err := d.Delete(ctx, v.Key, ""); err == nil {
			t.Error("a version that is not named was removed")
		}
	})
}
