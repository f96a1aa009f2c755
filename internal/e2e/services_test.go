package e2e_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/stelelog/stele/internal/testbed"
)

// bucket is where an archive lies on an S3 server.
type bucket struct {
	*testbed.S3
	name string
}

// url is the archive's URL, behind another endpoint if that is not empty.
func (b bucket) url(endpoint string) string {
	if endpoint == "" {
		endpoint = b.Endpoint
	}
	return "s3://" + b.name + "/chat?endpoint=" + url.QueryEscape(endpoint) + "&region=" + b.Region
}

// env has the root credentials.
func (b bucket) env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + b.AccessKey, "AWS_SECRET_ACCESS_KEY=" + b.SecretKey}
}

// client is a plain S3 client with the root credentials.
func (b bucket) client(t *testing.T) *minio.Client {
	t.Helper()
	c, err := minio.New(b.Addr, &minio.Options{Creds: credentials.NewStaticV4(b.AccessKey, b.SecretKey, ""), Region: b.Region})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// checkHeld wants every version of every object of the archive under a compliance lock of at least so long, and the
// root credentials refused when they delete it. It returns how many objects and how many commits there are.
func (b bucket) checkHeld(t *testing.T, keep time.Duration) (objects, commits int) {
	t.Helper()
	c, ctx := b.client(t), t.Context()
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for o := range c.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: "chat/", Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if strings.HasPrefix(o.Key, "chat/probe/") || strings.HasPrefix(o.Key, "chat/control/inbox/") {
			continue // what 'stele init' tried the bucket with; entries that count once they are in the control log
		}
		objects++
		if strings.Contains(o.Key, "/commits/") {
			commits++
		}
		if o.IsDeleteMarker || !o.IsLatest {
			complain("%s %s: a delete marker or a second version", o.Key, o.VersionID)
			continue
		}
		mode, until, err := retention(ctx, c, b.name, o.Key, o.VersionID)
		if err != nil || mode != "COMPLIANCE" || time.Until(until) < keep-time.Hour {
			complain("%s: retention is %q until %v, %v", o.Key, mode, until, err)
		}
		err = c.RemoveObject(ctx, b.name, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID, GovernanceBypass: true})
		if err == nil {
			complain("%s: root could delete version %s", o.Key, o.VersionID)
		}
		if _, err := c.StatObject(ctx, b.name, o.Key, minio.StatObjectOptions{VersionID: o.VersionID}); err != nil {
			complain("%s: gone after a delete that was refused: %v", o.Key, err)
		}
	}
	if len(wrong) > 0 || commits == 0 {
		t.Errorf("%d objects, %d commits, %d complaints:\n%s", objects, commits, len(wrong), lines(wrong))
	}
	return objects, commits
}

// retention reads the lock of a version. The client's own call insists on a name of the answer that not all servers give.
func retention(ctx context.Context, c *minio.Client, bucket, key, version string) (mode string, until time.Time, err error) {
	signed, err := c.Presign(ctx, http.MethodGet, bucket, key, time.Hour, url.Values{"retention": {""}, "versionId": {version}})
	if err != nil {
		return "", until, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, signed.String(), nil)
	if err != nil {
		return "", until, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", until, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", until, fmt.Errorf("read retention: %s", response.Status)
	}
	var lock struct {
		Mode            string
		RetainUntilDate time.Time
	}
	err = xml.NewDecoder(response.Body).Decode(&lock)
	return lock.Mode, lock.RetainUntilDate, err
}

// download copies what a plain client sees of the archive into a directory.
func (b bucket) download(t *testing.T, dir string) (objects int) {
	t.Helper()
	b.each(t, func(key string, body io.Reader, _ int64) error {
		path := filepath.Join(dir, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		objects++
		_, err = io.Copy(f, body)
		return err
	})
	return objects
}

// upload copies what a plain client sees of the archive into another bucket, without locks and under other version ids.
func (b bucket) upload(t *testing.T, to bucket) {
	t.Helper()
	c := to.client(t)
	b.each(t, func(key string, body io.Reader, size int64) error {
		_, err := c.PutObject(t.Context(), to.name, "chat/"+key, body, size, minio.PutObjectOptions{SendContentMd5: true})
		return err
	})
}

func (b bucket) each(t *testing.T, f func(key string, body io.Reader, size int64) error) {
	t.Helper()
	c := b.client(t)
	for o := range c.ListObjects(t.Context(), b.name, minio.ListObjectsOptions{Prefix: "chat/", Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		body, err := c.GetObject(context.WithoutCancel(t.Context()), b.name, o.Key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = f(strings.TrimPrefix(o.Key, "chat/"), body, o.Size)
		body.Close()
		if err != nil {
			t.Fatalf("copy %s: %v", o.Key, err)
		}
	}
}
