package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/stelelog/stele/internal/testbed"
)

// TestInitInABucket: the lock that nobody asked for is governance for 30 days, and that is said and set. What cannot be
// undone wants a confirmation, what the bucket cannot give is an error that says what to do, and neither leaves anything.
func TestInitInABucket(t *testing.T) {
	t.Parallel()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	server := testbed.MinIO(t)
	locked := bucket{server, server.Bucket(t)}
	plain := bucket{server, testbed.Name(t)}
	c := locked.client(t)
	if err := c.MakeBucket(t.Context(), plain.name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	fresh := bucket{server, testbed.Name(t)} // is not there yet
	objects := func(b bucket, prefix string) (keys []string) {
		for o := range c.ListObjects(t.Context(), b.name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if o.Err == nil && !strings.Contains(o.Key, "/probe/") {
				keys = append(keys, o.Key)
			}
		}
		return keys
	}
	for _, c := range []struct {
		name    string
		in      bucket
		flags   string
		env     string
		code    int
		phrases []string
	}{
		{"days without end", locked, "--keep 500d", "", 2, []string{"500 days", "add --yes"}},
		{"compliance", locked, "--lock compliance", "", 2, []string{"by nobody", "add --yes"}},
		{"bucket without object lock", plain, "", "", 1, []string{"object lock", "--lock none"}},
		{"bucket that cannot be made", fresh, "", "AWS_SECRET_ACCESS_KEY=wrong", 1, []string{"credentials", "hint: "}},
		{"wrong secret", locked, "", "AWS_SECRET_ACCESS_KEY=wrong", 1, []string{"credentials", "hint: "}},
		{"default", locked, "", "", 0, []string{"governance, 30 days", "bypass permission", "Move offline now"}},
		{"missing bucket", fresh, "--lock compliance --keep 2d --yes", "", 0, []string{"compliance, 2 days"}},
		{"no lock", plain, "--lock none", "", 0, []string{"none"}},
	} {
		s := &site{t: t, dir: shortDir(t), env: append(append(baseEnv(t), c.in.env()...), c.env)}
		args := append([]string{"init", c.in.url(""), "--out", filepath.Join(s.dir, "roles")}, strings.Fields(c.flags)...)
		stdout, stderr, code := s.stele(args...)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", c.name, code, c.code, stdout, stderr)
		}
		wantText(t, c.name, stdout+stderr, c.phrases...)
		if code != 0 {
			if left := objects(c.in, "chat/"); len(left) > 0 {
				t.Errorf("%s: left %v", c.name, left)
			}
			continue
		}
		s.env = append(s.env, "STELE_CONFIG="+filepath.Join(s.dir, "roles", "stele.yaml"))
		capture := s.command("stele", "capture")
		capture.Stdin = strings.NewReader(`{"kind":"input","body":"hello"}`)
		if _, stderr, code := s.run(capture); code != 0 {
			t.Errorf("%s: stele capture: exit code %d\n%s", c.name, code, stderr)
		}
		s.compactOnce()
		if r := s.verify(0, "--unlock"); r.Opened != 1 || len(r.Notices) > 0 {
			t.Errorf("%s: %d records, %v", c.name, r.Opened, r.Notices)
		}
	}
	const least, most = 30 * 24 * time.Hour, 184 * 24 * time.Hour // the class that is kept longest has 184 days
	made := append(objects(locked, "chat/control/log/"), objects(locked, "chat/control/checkpoints/")...)
	if len(made) == 0 {
		t.Error("the archive has no control log")
	}
	for _, key := range made {
		mode, until, err := retention(t.Context(), c, locked.name, key, "")
		if left := time.Until(until); err != nil || mode != "GOVERNANCE" || left < least-time.Hour || left > most+time.Hour {
			t.Errorf("%s: retention is %q until %v, %v", key, mode, until, err)
		}
	}
}
