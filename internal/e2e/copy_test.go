package e2e_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// TestPlainCopy copies an archive with a plain S3 client, into a directory and into a bucket without locks where all
// version ids are others. A copy verifies and restores as the original does.
func TestPlainCopy(t *testing.T) {
	t.Parallel()
	minio := testbed.MinIO(t)
	store := bucket{minio, minio.Bucket(t)}
	s := newSite(t, store.url(""), fileURL(t, "spool"), store.env(), "--lock", "governance", "--keep", "2d")
	sessions := synthetic(40, 25)
	sent := flat(sessions)
	pipe := s.service(3, logpipe.Config{})
	for _, half := range [][][]logpipe.Record{sessions[:20], sessions[20:]} {
		feed(t, pipe, half, time.Millisecond, nil)
		flush(t, pipe)
		s.compactOnce() // several commits a log
	}
	s.close(pipe)
	s.compactOnce()
	s.verify(0, "--unlock", "--require", allVerdicts)

	dir := filepath.Join(t.TempDir(), "copy")
	objects := store.download(t, dir)
	copied := bucket{minio, minio.Bucket(t)}
	store.upload(t, copied)
	for name, archive := range map[string]string{"directory": "file://" + dir, "bucket": copied.url("")} {
		t.Run(name, func(t *testing.T) {
			c := s.with("STELE_ARCHIVE=" + archive)
			c.t = t
			r := c.verify(0, "--unlock", "--require", "integrity,completeness,readability")
			if v := r.Verdicts["worm"]; v.State == "true" {
				t.Errorf("a plain copy holds nothing, but verify says %s", v.Detail)
			}
			compare(t, sent, c.restore())
			t.Logf("%d objects, %d records, %d notices, worm: %s", objects, r.Records, len(r.Notices), r.Verdicts["worm"].Detail)
		})
	}

	// A copy proves what it holds and nothing more: without one object it is no archive.
	matches, err := filepath.Glob(filepath.Join(dir, "logs", "*", "*", "objects", "*.data.default.arrow"))
	if err != nil || len(matches) == 0 {
		t.Fatalf("no data in the copy: %v", err)
	}
	if err := os.Remove(matches[0]); err != nil {
		t.Fatal(err)
	}
	s.with("STELE_ARCHIVE=file://" + dir).verify(10)
}
