package s3store_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
)

// What tries to harm canaries cannot harm anything else, and says so without asking the service.
func TestTriesStayAmongCanaries(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		s := open(t, config(service, service.Bucket(t)))
		for _, key := range []string{"commits/1", "probes/1", "a/probe/1"} {
			v, err := s.Create(t.Context(), key, []byte("evidence"), worm.Lock{})
			if err != nil {
				t.Fatal(err)
			}
			for name, err := range map[string]error{
				"delete":    s.TryDelete(t.Context(), key, v.ID, true),
				"lock":      s.TryLock(t.Context(), key, v.ID, worm.Lock{Mode: worm.LockGovernance, Until: time.Now().Add(time.Hour)}, true),
				"mark":      s.TryMark(t.Context(), key),
				"overwrite": s.TryOverwrite(t.Context(), key, []byte("x")),
			} {
				if err == nil || !strings.Contains(err.Error(), "only keys under probe/") || errors.Is(err, fs.ErrPermission) {
					t.Errorf("%s of %s: %v", name, key, err)
				}
			}
			if data, err := s.Read(t.Context(), key, v.ID, worm.Range{}); err != nil || string(data) != "evidence" {
				t.Errorf("%s: %q, %v", key, data, err)
			}
		}
		if err := s.TryDelete(t.Context(), probe.Prefix+"x", "", true); err == nil {
			t.Error("a delete without a version is taken")
		}
	})
}

func TestDescribe(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		client, err := minio.New(service.Addr, &minio.Options{
			Creds: credentials.NewStaticV4(service.AccessKey, service.SecretKey, ""), Region: service.Region})
		if err != nil {
			t.Fatal(err)
		}
		locked := service.Bucket(t)
		describe := func(bucket string) probe.Bucket {
			t.Helper()
			b, err := open(t, config(service, bucket)).Describe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if got, want := describe(locked), (probe.Bucket{Versions: true, Locks: true}); got != want {
			t.Errorf("bucket with object lock: %+v, want %+v", got, want)
		}
		mode, validity, unit := minio.Governance, uint(2), minio.Days
		if err := client.SetObjectLockConfig(t.Context(), locked, &mode, &validity, &unit); err != nil {
			t.Fatal(err)
		}
		want := probe.Bucket{Versions: true, Locks: true, Rule: worm.LockGovernance, RuleKeep: 48 * time.Hour}
		if got := describe(locked); got != want {
			t.Errorf("bucket with a default rule: %+v, want %+v", got, want)
		}
		bare := testbed.Name(t)
		if err := client.MakeBucket(t.Context(), bare, minio.MakeBucketOptions{Region: service.Region}); err != nil {
			t.Fatal(err)
		}
		if got := describe(bare); got != (probe.Bucket{}) {
			t.Errorf("plain bucket: %+v", got)
		}
	})
}
