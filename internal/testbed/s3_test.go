package testbed

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

func TestMinIO(t *testing.T)     { testS3(t, MinIO) }
func TestVersityGW(t *testing.T) { testS3(t, VersityGW) }

// testS3 writes one locked object and proves that the server holds it, then that a killed server comes back with it.
func testS3(t *testing.T, serve func(testing.TB, ...Option) *S3) {
	shared := serve(t)
	if again := serve(t); again != shared {
		t.Errorf("asked twice, got servers at %s and %s, want one shared", shared.Addr, again.Addr)
	}
	if err := shared.Kill(); err == nil {
		t.Error("killed a shared server")
	}
	locked(t, shared)

	own := serve(t, Dedicated())
	if own.Addr == shared.Addr {
		t.Errorf("the dedicated server is the shared one")
	}
	check := locked(t, own)
	if err := own.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := own.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	check()
}

// locked puts an object under compliance lock and returns a check that it is there and cannot be deleted.
func locked(t *testing.T, s *S3) (check func()) {
	t.Helper()
	const content = "held"
	client, err := minio.New(s.Addr, &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Region: s.Region, MaxRetries: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	bucket := s.Bucket(t)
	put, err := client.PutObject(t.Context(), bucket, "a/b", strings.NewReader(content), int64(len(content)), minio.PutObjectOptions{
		Mode: minio.Compliance, RetainUntilDate: time.Now().Add(time.Hour), SendContentMd5: true, DisableMultipart: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	check = func() {
		t.Helper()
		err := client.RemoveObject(t.Context(), bucket, "a/b", minio.RemoveObjectOptions{VersionID: put.VersionID, GovernanceBypass: true})
		if err == nil {
			t.Error("deleted a locked version")
		}
		object, err := client.GetObject(t.Context(), bucket, "a/b", minio.GetObjectOptions{VersionID: put.VersionID})
		if err != nil {
			t.Fatal(err)
		}
		defer object.Close()
		if got, err := io.ReadAll(object); err != nil || string(got) != content {
			t.Errorf("read %q, %v", got, err)
		}
	}
	check()
	return check
}
