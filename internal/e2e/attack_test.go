package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// TestRootAttacksTheChain: whoever has the root credentials of the store and the compactor's own key cannot replace what
// is under lock. He hides commits behind delete markers, puts a rival chain in front of them and takes the next number;
// the honest chain is read all the same, the attack is reported, and ingestion goes on.
func TestRootAttacksTheChain(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]func(testing.TB, ...testbed.Option) *testbed.S3{"minio": testbed.MinIO, "versitygw": testbed.VersityGW} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := server(t)
			attackChain(t, bucket{s3, s3.Bucket(t)})
		})
	}
}

func attackChain(t *testing.T, store bucket) {
	spool := fileURL(t, "spool")
	s := newSite(t, store.url(""), spool, store.env(), "--lock", "compliance", "--keep", "2d", "--partitions", "1")
	sessions := synthetic(8, 5)
	pipe := s.service(1, logpipe.Config{})
	honest := func(sessions [][]logpipe.Record) {
		feed(t, pipe, sessions, 0, nil)
		flush(t, pipe)
		s.compactOnce()
	}
	honest(sessions[:2])
	rival := forkOf(t, s, store, spool)
	honest(sessions[2:4])
	honest(sessions[4:6])

	// The rival commits to his copy, with the same keys, what never happened.
	last := rival.commits()
	for _, session := range synthetic(2, 3) {
		for i := range session {
			session[i].Body = []byte("this never happened")
		}
		other := rival.open(logpipe.Config{To: rival.spool})
		feed(t, other, [][]logpipe.Record{session}, 0, nil)
		rival.close(other)
		rival.compactOnce()
	}
	forged := slices.DeleteFunc(rival.commits(), func(key string) bool { return slices.Contains(last, key) })
	if len(forged) < 2 {
		t.Fatalf("the rival chain has %d commits", len(forged))
	}
	c := store.client(t)
	put := func(key string, data []byte) {
		_, err := c.PutObject(t.Context(), store.name, "chat/"+key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{SendContentMd5: true})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range forged {
		if err := c.RemoveObject(t.Context(), store.name, "chat/"+key, minio.RemoveObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for key, data := range rival.objects() {
		put(key, data)
	}
	next := fmt.Sprintf("%s%020d", forged[0][:len(forged[0])-20], len(last)+2)
	put(next, []byte("mine"))

	honest(sessions[6:])
	s.close(pipe)
	s.compactOnce()
	s.compactOnce() // findings of the run before are in the control log by now
	r := s.verify(0, "--unlock", "--require", allVerdicts)
	for _, key := range append(forged, next) {
		if !slices.ContainsFunc(r.Notices, func(n struct{ Verdict, Key, Detail string }) bool { return n.Key == key }) {
			t.Errorf("verify does not name %s in %v", key, r.Notices)
		}
	}
	if !slices.ContainsFunc(r.Notices, func(n struct{ Verdict, Key, Detail string }) bool {
		return strings.Contains(n.Detail, "reported by a compactor")
	}) {
		t.Errorf("no compactor reported the attack: %v", r.Notices)
	}
	compare(t, flat(sessions), s.restore())
	t.Logf("%d commits forged, next number %s taken; notices: %d", len(forged), next[len(next)-2:], len(r.Notices))
}

// fork is a copy of an archive in a directory, with the roles and the transport of the original.
type fork struct {
	*site
	spool string
	dir   string // of the archive
	was   map[string]bool
}

func forkOf(t *testing.T, s *site, store bucket, spool string) *fork {
	t.Helper()
	f := &fork{spool: fileURL(t, "spool"), dir: filepath.Join(t.TempDir(), "archive"), was: map[string]bool{}}
	site := shortDir(t)
	for from, to := range map[string]string{s.dir: site, strings.TrimPrefix(spool, "file://"): strings.TrimPrefix(f.spool, "file://")} {
		if err := errors.Join(os.CopyFS(to, os.DirFS(from)), private(to)); err != nil {
			t.Fatal(err)
		}
	}
	store.download(t, f.dir)
	t.Cleanup(func() { removeAll(t, f.dir) })
	f.site = s.with("STELE_CONFIG="+filepath.Join(site, "stele.yaml"), "STELE_ARCHIVE=file://"+f.dir, "STELE_FROM="+f.spool)
	f.site.dir = site
	for key := range f.objects() {
		f.was[key] = true
	}
	return f
}

// private keeps others out of all that is in a directory, which a copy does not.
func private(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
}

// objects are those of the logs that the fork has and its original did not have.
func (f *fork) objects() map[string][]byte {
	f.t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(filepath.Join(f.dir, "logs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(f.dir, path)
		if err != nil || f.was[filepath.ToSlash(rel)] {
			return err
		}
		all[filepath.ToSlash(rel)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

// commits are the keys of its commits, in order.
func (f *fork) commits() (keys []string) {
	f.t.Helper()
	paths, err := filepath.Glob(filepath.Join(f.dir, "logs", "*", "*", "commits", "*"))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, path := range paths {
		rel, err := filepath.Rel(f.dir, path)
		if err != nil {
			f.t.Fatal(err)
		}
		keys = append(keys, filepath.ToSlash(rel))
	}
	slices.Sort(keys)
	return keys
}
