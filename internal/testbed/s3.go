package testbed

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3 is a running S3 server over plain HTTP, with path-style buckets, versioning and object lock.
type S3 struct {
	*Server
	// Addr is its host and port, Endpoint the same as a URL ("http://127.0.0.1:20123").
	Addr, Endpoint string
	// AccessKey and SecretKey are the root credentials.
	AccessKey, SecretKey string
	// Region is the one that requests are signed for.
	Region string
}

// MinIO returns a running MinIO, or skips the test (fails it with CI=true) where it cannot be built.
func MinIO(t testing.TB, opts ...Option) *S3 {
	t.Helper()
	return s3(t, "MinIO", minioArtefact(), opts, func(s *S3, bin string) error {
		s.argv = []string{filepath.Join(bin, "minio"), "server", "data", "--address", s.Addr}
		s.env = []string{"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey,
			"MINIO_REGION=" + s.Region, "MINIO_BROWSER=off", "MINIO_UPDATE=off"}
		s.ready = httpReady(s.Endpoint+"/minio/health/ready", http.StatusOK)
		return nil
	})
}

// VersityGW returns a running versitygw over a directory, or skips the test (fails it with CI=true) where it cannot be
// built. It refuses the trailing checksums that minio-go sends on plain HTTP; Content-MD5 works.
func VersityGW(t testing.TB, opts ...Option) *S3 {
	t.Helper()
	return s3(t, "versitygw", versitygwArtefact(), opts, func(s *S3, bin string) error {
		s.argv = []string{filepath.Join(bin, "versitygw"), "--port", s.Addr, "--region", s.Region, "--health", "/healthy",
			"posix", "--versioning-dir", filepath.Join(s.Dir, "versions"), filepath.Join(s.Dir, "data")}
		s.env = []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey}
		s.ready = httpReady(s.Endpoint+"/healthy", http.StatusOK)
		return os.MkdirAll(filepath.Join(s.Dir, "versions"), 0o755)
	})
}

// s3 starts an S3 server; describe says how.
func s3(t testing.TB, name string, a artefact, opts []Option, describe func(s *S3, bin string) error) *S3 {
	t.Helper()
	bin, err := a.get(t.Context())
	if err != nil {
		unavailable(t, name, err)
	}
	o := collect(opts)
	if len(o.users) > 0 || len(o.properties) > 0 {
		t.Fatalf("testbed: %s takes no users and no properties", name)
	}
	return serve(t, name, o, func(dir string) (*S3, *Server, error) {
		s := &S3{AccessKey: "testbed-root", SecretKey: "testbed-root-secret", Region: "us-east-1"}
		server, err := startFresh(func() (*Server, error) {
			ports, err := takePorts(1)
			if err != nil {
				return nil, err
			}
			s.Addr = ports[0].addr()
			s.Endpoint = "http://" + s.Addr
			s.Server = &Server{Dir: dir, name: name, ports: ports}
			if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
				return nil, err
			}
			return s.Server, describe(s, bin)
		})
		return s, server, err
	})
}

// Bucket makes a bucket with object lock, and so with versions, and returns its name, which no other test has.
func (s *S3) Bucket(t testing.TB) string {
	t.Helper()
	client, err := minio.New(s.Addr, &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Region: s.Region,
	})
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	name := Name(t)
	err = client.MakeBucket(t.Context(), name, minio.MakeBucketOptions{Region: s.Region, ObjectLocking: true})
	if err != nil {
		t.Fatalf("testbed: make bucket on %s: %v", s.name, err)
	}
	return name
}

// httpReady waits for one status at url.
func httpReady(url string, status int) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		request.Close = true // leave no idle connection behind
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		if response.StatusCode != status {
			return fmt.Errorf("GET %s: %s", url, response.Status)
		}
		return nil
	}
}
