package s3store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/stelelog/stele/backup/s3store"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
)

// root is a plain client with the root credentials: the attacker.
func root(t *testing.T, service *testbed.S3) *minio.Client {
	t.Helper()
	c, err := minio.New(service.Addr, &minio.Options{
		Creds: credentials.NewStaticV4(service.AccessKey, service.SecretKey, ""), Region: service.Region,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCompliance: what Create says is locked, root cannot delete or shorten.
func TestCompliance(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		ctx, bucket, attacker := t.Context(), service.Bucket(t), root(t, service)
		s := open(t, config(service, bucket))
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		data := []byte("what is written stays")
		v, err := s.Create(ctx, "logs/1", data, worm.Lock{Mode: worm.LockCompliance, Until: until})
		if err != nil {
			t.Fatal(err)
		}
		const name = "archive/one/logs/1"
		refused := func(what string, err error) {
			t.Helper()
			if err == nil {
				t.Errorf("%s by root succeeded", what)
			}
		}
		deleteVersion := func(bypass bool) error {
			return attacker.RemoveObject(ctx, bucket, name, minio.RemoveObjectOptions{VersionID: v.ID, GovernanceBypass: bypass})
		}
		retain := func(mode minio.RetentionMode, until time.Time) error {
			return attacker.PutObjectRetention(ctx, bucket, name, minio.PutObjectRetentionOptions{
				GovernanceBypass: true, Mode: &mode, RetainUntilDate: &until, VersionID: v.ID,
			})
		}
		refused("delete", deleteVersion(false))
		refused("delete with bypass", deleteVersion(true))
		refused("shorten", retain(minio.Compliance, until.Add(-30*time.Minute)))
		refused("downgrade", retain(minio.Governance, until))

		later := until.Add(time.Hour)
		// The mode asked for is weaker, but the version has one.
		if err := s.Extend(ctx, "logs/1", v.ID, worm.Lock{Mode: worm.LockGovernance, Until: later}); err != nil {
			t.Fatal(err)
		}
		if err := s.Extend(ctx, "logs/1", v.ID, worm.Lock{Mode: worm.LockCompliance, Until: until}); err != nil {
			t.Fatal(err)
		}
		lock, err := s.ReadLock(ctx, "logs/1", v.ID)
		if want := (worm.Lock{Mode: worm.LockCompliance, Until: later}); err != nil || lock != want {
			t.Errorf("lock %+v, %v; want %+v", lock, err, want)
		}
		refused("delete after all that", deleteVersion(true))

		info, err := attacker.StatObject(ctx, bucket, name, minio.StatObjectOptions{VersionID: v.ID})
		sum := sha256.Sum256(data)
		if err != nil || info.UserMetadata["Sha256"] != hex.EncodeToString(sum[:]) || info.Metadata.Get("Content-Encoding") != "" {
			t.Errorf("metadata %v, %v", info.Metadata, err)
		}
	})
}

// TestHiddenVersions: a delete marker and newer versions do not hide the first version, nor themselves.
func TestHiddenVersions(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		ctx, bucket, attacker := t.Context(), service.Bucket(t), root(t, service)
		s := open(t, config(service, bucket))
		until := time.Now().Add(time.Hour)
		lock := worm.Lock{Mode: worm.LockCompliance, Until: until}
		for _, key := range []string{"c/1", "c/2", "c/3"} {
			if _, err := s.Create(ctx, key, []byte("honest"), lock); err != nil {
				t.Fatal(err)
			}
		}
		first, err := s.ReadLock(ctx, "c/2", "")
		if err != nil || first.Mode != worm.LockCompliance {
			t.Fatalf("lock %+v, %v", first, err)
		}
		const name = "archive/one/c/2"
		mark := func() {
			time.Sleep(1100 * time.Millisecond) // versitygw keeps the time of versions in seconds
			if err := attacker.RemoveObject(ctx, bucket, name, minio.RemoveObjectOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		forge := func(data string) {
			time.Sleep(1100 * time.Millisecond)
			if _, err := attacker.PutObject(ctx, bucket, name, bytes.NewReader([]byte(data)), int64(len(data)),
				minio.PutObjectOptions{SendContentMd5: true}); err != nil {
				t.Fatal(err)
			}
		}
		mark()
		if _, err := s.Read(ctx, "c/2", "", worm.Range{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("newest visible version behind a marker: %v", err)
		}
		if _, err := s.ReadLock(ctx, "c/2", ""); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("lock behind a marker: %v", err)
		}
		forge("forged")
		forge("forged again")
		mark()

		var group []worm.Version
		var contents []string
		var keys []string
		for v, err := range s.Versions(ctx, "c/", "") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, v.Key)
			if v.Key != "c/2" {
				continue
			}
			group = append(group, v)
			data, err := s.Read(ctx, v.Key, v.ID, worm.Range{})
			if v.Deleted != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("read %+v: %v", v, err)
			}
			if !v.Deleted {
				contents = append(contents, string(data))
			}
		}
		if want := []string{"c/1", "c/2", "c/2", "c/2", "c/2", "c/2", "c/3"}; !slices.Equal(keys, want) {
			t.Errorf("keys %q, want %q", keys, want)
		}
		later := worm.Lock{Mode: worm.LockCompliance, Until: first.Until.Add(time.Hour)}
		if err := s.Extend(ctx, "c/2", group[0].ID, later); err != nil {
			t.Errorf("extend a hidden version: %v", err)
		}
		if lock, err := s.ReadLock(ctx, "c/2", group[0].ID); err != nil || lock != later {
			t.Errorf("lock of a hidden version: %+v, %v; want %+v", lock, err, later)
		}
		markers := func(v worm.Version) bool { return v.Deleted }
		all := slices.Clone(group)
		if got := slices.DeleteFunc(group, markers); len(all)-len(got) != 2 {
			t.Errorf("%d markers, want 2", len(all)-len(got))
		}
		if want := []string{"honest", "forged", "forged again"}; !slices.Equal(contents, want) {
			t.Errorf("contents %q, want %q", contents, want)
		}
		// versitygw gives some markers the time of the version that they hide, so there is no saying
		// where among the versions they were set.
		if strings.HasSuffix(t.Name(), "versitygw") {
			return
		}
		for i, want := range []bool{false, true, false, false, true} {
			if all[i].Deleted != want {
				t.Errorf("entry %d of %+v is in the wrong place", i, all)
			}
		}
	})
}

// TestCreateBehindMarker: where nothing is visible any more Create makes a newer version, or says that the
// key exists. It never takes the place of the hidden one.
func TestCreateBehindMarker(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		ctx, bucket := t.Context(), service.Bucket(t)
		s := open(t, config(service, bucket))
		first, err := s.Create(ctx, "k", []byte("first"), worm.Lock{})
		if err != nil {
			t.Fatal(err)
		}
		if err := root(t, service).RemoveObject(ctx, bucket, "archive/one/k", minio.RemoveObjectOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err = s.Create(ctx, "k", []byte("second"), worm.Lock{})
		if exists := errors.Is(err, fs.ErrExist); exists != strings.HasSuffix(t.Name(), "versitygw") || err != nil && !exists {
			t.Errorf("error %v", err)
		}
		for v, err := range s.Versions(ctx, "", "") {
			if err != nil || v.ID != first.ID {
				t.Errorf("oldest is %+v, %v", v, err)
			}
			break
		}
		if data, err := s.Read(ctx, "k", first.ID, worm.Range{}); err != nil || string(data) != "first" {
			t.Errorf("read %q, %v", data, err)
		}
	})
}

// TestManyVersions: more versions of one key, and more markers, than one page holds.
func TestManyVersions(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		ctx, bucket, attacker := t.Context(), service.Bucket(t), root(t, service)
		s := open(t, config(service, bucket))
		for _, key := range []string{"a", "b", "c"} {
			if _, err := s.Create(ctx, key, []byte("honest"), worm.Lock{}); err != nil {
				t.Fatal(err)
			}
		}
		const more = 1100
		for i := range more {
			if i%3 == 0 {
				if err := attacker.RemoveObject(ctx, bucket, "archive/one/b", minio.RemoveObjectOptions{}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if _, err := attacker.PutObject(ctx, bucket, "archive/one/b", bytes.NewReader(nil), 0, minio.PutObjectOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		var all []worm.Version
		for v, err := range s.Versions(ctx, "", "") {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
		}
		ids := map[string]bool{}
		for _, v := range all {
			ids[v.Key+v.ID] = true
		}
		if len(all) != 3+more || len(ids) != len(all) {
			t.Fatalf("%d entries, %d different, want %d", len(all), len(ids), 3+more)
		}
		oldest := all[1]
		if data, err := s.Read(ctx, "b", oldest.ID, worm.Range{}); oldest.Key != "b" || err != nil || string(data) != "honest" {
			t.Errorf("oldest version %+v: %q, %v", oldest, data, err)
		}
	})
}

// TestSettings: every wrong setting gives an error that says what to change, and no secret.
func TestSettings(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		bucket := service.Bucket(t)
		for _, test := range []struct {
			name   string
			change func(*s3store.Config)
			hint   string
		}{
			{"bucket", func(c *s3store.Config) { c.Bucket += "-missing" }, "no such bucket"},
			{"secret", func(c *s3store.Config) { c.Credentials.SecretKey = "wrong-secret-key" }, "credentials"},
			{"access key", func(c *s3store.Config) { c.Credentials.AccessKey = "nobody-at-all" }, "credentials"},
			{"region", func(c *s3store.Config) { c.Region = "eu-central-1" }, "wrong region"},
			{"closed port", func(c *s3store.Config) { c.Endpoint = "127.0.0.1:1" }, "cannot be reached"},
			{"TLS to a plain port", func(c *s3store.Config) { c.Secure = true }, "HTTP or HTTPS"},
		} {
			c := config(service, bucket)
			test.change(&c)
			_, err := s3store.Open(t.Context(), c)
			mustHint(t, test.name, err, test.hint)
		}
	})
}

func TestBucketWithoutLock(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		ctx := t.Context()
		c := config(service, testbed.Name(t))
		if err := root(t, service).MakeBucket(ctx, c.Bucket, minio.MakeBucketOptions{}); err != nil {
			t.Fatal(err)
		}
		s := open(t, c)
		_, err := s.Create(ctx, "k", nil, worm.Lock{Mode: worm.LockCompliance, Until: time.Now().Add(time.Hour)})
		mustHint(t, "create", err, "no object lock")
	})
}

func TestCreateBucket(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		c := config(service, testbed.Name(t))
		if err := s3store.CreateBucket(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := s3store.CreateBucket(t.Context(), c); !errors.Is(err, fs.ErrExist) {
			t.Errorf("second time: %v, want fs.ErrExist", err)
		}
		lock := worm.Lock{Mode: worm.LockGovernance, Until: time.Now().Add(time.Hour)}
		if _, err := open(t, c).Create(t.Context(), "k", nil, lock); err != nil {
			t.Error(err)
		}
	})
}

// TestLimits: keys with the prefix, and sizes, are bounded on our side of the wire.
func TestLimits(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		ctx := t.Context()
		c := config(service, service.Bucket(t))
		if _, err := open(t, c).Create(ctx, "k", make([]byte, 1000), worm.Lock{}); err != nil {
			t.Fatal(err)
		}
		c.MaxObject = 999
		s := open(t, c)
		if _, err := s.Create(ctx, "k2", make([]byte, 1000), worm.Lock{}); err == nil {
			t.Error("stored more than the limit")
		}
		if _, err := s.Read(ctx, "k", "", worm.Range{}); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read more than the limit: %v", err)
		}
		if data, err := s.Read(ctx, "k", "", worm.Range{Off: 1, Len: 999}); err != nil || len(data) != 999 {
			t.Errorf("range under the limit: %d, %v", len(data), err)
		}
		_, err := s.Create(ctx, "k3", nil, worm.Lock{Mode: worm.LockAdvisory, Until: time.Now().Add(time.Hour)})
		if err == nil {
			t.Error("S3 took an advisory lock")
		}
	})
}

func TestNoCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/missing")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := s3store.Open(ctx, s3store.Config{Endpoint: "127.0.0.1:1", Bucket: "bucket", Transport: noNetwork{}})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("AWS_ACCESS_KEY_ID")) {
		t.Errorf("error %v", err)
	}
}
