package location_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// secret is what must never come out again, in whatever form it went in.
const secret = "wJalrXUtnFEMI/K7MDENG+bPx"

func TestURLsThatAreRefused(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "none")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	for rawURL, want := range map[string]string{
		"":                                 "no URL of an archive: write file:///path or s3://bucket",
		"/var/lib/archive":                 "no URL of an archive",
		"user:" + secret + "@host":         "no URL of an archive",
		"https://bucket.example.com/x":     `unknown scheme "https"`,
		"kafka://broker/topic":             `unknown scheme "kafka"`,
		"file://archive":                   "three slashes",
		"file://server/share":              "not file://server",
		"file://user:" + secret + "@h/a":   "holds no user and no password",
		"file:///":                         "root of the file system",
		"file:///a/..":                     "root of the file system",
		"file:///a?endpoint=x":             "no options",
		"file:///a%zz":                     "not properly escaped",
		"file:///a%00b":                    "not properly escaped",
		"s3://":                            "no name of a bucket",
		"s3://Bucket/x":                    `"Bucket" is no name of a bucket`,
		"s3://-bucket":                     "no name of a bucket",
		"s3://key:" + secret + "@bucket/p": "AWS_ACCESS_KEY_ID",
		"s3://bucket/a//b":                 "prefix:",
		"s3://bucket/../b":                 "prefix:",
		"s3://bucket#x":                    "what follows #",
		"s3://bucket?regoin=eu":            `unknown option "regoin": only endpoint, region, path_style`,
		"s3://bucket?access_key=A&secret_key=" + secret:    "secrets belong in the environment",
		"s3://bucket?" + secret:                            `unknown option "***"`,
		"s3://bucket?region=a&region=b":                    "given twice",
		"s3://bucket?region=":                              "option region is empty",
		"s3://bucket?region=%zz":                           "not properly escaped",
		"s3://bucket?endpoint=127.0.0.1:9000":              "no URL such as",
		"s3://bucket?endpoint=ftp://h":                     "no URL such as",
		"s3://bucket?endpoint=http://h/bucket":             "the bucket comes before it",
		"s3://bucket?endpoint=http://u:" + secret + "@h":   "no",
		"s3://bucket?endpoint=http%3A%2F%2Fu%3Apass%40h":   "holds no user and no password",
		"s3://bucket?path_style=true":                      "leave it out",
		"s3://bucket?path_style=no&endpoint=http://h:9000": "leave it out",
		"s3://bucket?path_style=0&endpoint=http://h:9000":  "leave it out",
	} {
		_, err := location.Open(t.Context(), rawURL, location.Options{})
		_, createErr := location.Create(t.Context(), rawURL, worm.LockNone, location.Options{})
		_, lockErr := location.DefaultLock(rawURL)
		for _, err := range []error{err, createErr, lockErr} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s\n\tgives %v\n\twant %q", rawURL, err, want)
			} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "wJalr") || strings.Contains(err.Error(), "pass@") {
				t.Errorf("%s: the secret is in %v", rawURL, err)
			}
		}
	}
}

func TestRedact(t *testing.T) {
	for raw, want := range map[string]string{
		"file:///var/lib/a b@c":                                        "file:///var/lib/a b@c",
		"s3://bucket/p?endpoint=http://127.0.0.1:9000&region=eu":       "s3://bucket/p?endpoint=http://127.0.0.1:9000&region=eu",
		"s3://bucket/p?endpoint=http%3A%2F%2F127.0.0.1:9000":           "s3://bucket/p?endpoint=http%3A%2F%2F127.0.0.1:9000",
		"kafka://a:9092,b:9092/topic?tls=true&sasl=plain":              "kafka://a:9092,b:9092/topic?tls=true&sasl=plain",
		"s3://key:" + secret + "@bucket/p":                             "s3://***@bucket/p",
		"s3://bucket?endpoint=http://u:" + secret + "@h:9000&region=a": "s3://bucket?endpoint=http://***@h:9000&region=a",
		"s3://bucket?secret_key=" + secret + "&region=a":               "s3://bucket?secret_key=***&region=a",
		"s3://bucket?" + secret:                                        "s3://bucket?***=***",
		"kafka://u:a?b#c/d@host/topic?password=x":                      "kafka://***@host/topic?password=***",
		"kafka://u:a#b@host/topic":                                     "kafka://***@host/topic",
		"file://u:p@h/a":                                               "file://***@h/a",
		"s3://bucket#" + secret:                                        "s3://bucket#***",
		"u:p@h":                                                        "***",
		"plain/path":                                                   "plain/path",
		"":                                                             "",
	} {
		if got := location.Redact(raw); got != want {
			t.Errorf("%s is shown as %s, want %s", raw, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	for _, seed := range []string{"s3://", "kafka://u:", "file:///x?", "s3://b?endpoint=http://u:", "s3://b?x=", "://#?&"} {
		f.Add(seed, "bucket/p?region=a")
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const needle = "NEEDLE"
		if !strings.Contains(before, "://") || strings.HasPrefix(before, "file:") || strings.Contains(before+after, needle) {
			t.Skip()
		}
		// Whatever stands before an '@' is user information.
		raw := before + needle + "@" + after
		if _, rest, _ := strings.Cut(before, "://"); strings.Contains(rest, "=") {
			t.Skip() // an option; those have their own rules
		}
		if shown := location.Redact(raw); strings.Contains(shown, needle) {
			t.Fatalf("%q is shown as %q", raw, shown)
		}
	})
}

func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "an archive#1")
	rawURL := "file://" + strings.ReplaceAll(filepath.ToSlash(dir), "#", "%23")
	_, err := location.Open(t.Context(), rawURL, location.Options{})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "stele init") {
		t.Errorf("a missing directory gives %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("Open has made the directory")
	}
	store, err := location.Create(t.Context(), rawURL, worm.LockGovernance, location.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Create(t.Context(), "a", []byte("x"), worm.Lock{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err != nil {
		t.Error(err)
	}
	if store, err = location.Open(t.Context(), rawURL, location.Options{MaxObject: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Create(t.Context(), "b", []byte("xx"), worm.Lock{}); err == nil {
		t.Error("MaxObject is not passed on")
	}
	if _, err := location.Open(t.Context(), rawURL+"/a", location.Options{}); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("a file gives %v", err)
	}
	if lock, err := location.DefaultLock(rawURL); lock != worm.LockAdvisory || err != nil {
		t.Errorf("default lock %q, %v", lock, err)
	}
}

func TestBucket(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...testbed.Option) *testbed.S3{"MinIO": testbed.MinIO, "versitygw": testbed.VersityGW} {
		t.Run(name, func(t *testing.T) { testBucket(t, start(t)) })
	}
}

func testBucket(t *testing.T, service *testbed.S3) {
	t.Setenv("AWS_ACCESS_KEY_ID", service.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", service.SecretKey)
	t.Setenv("AWS_REGION", service.Region)
	bucket := testbed.Name(t)
	rawURL := "s3://" + bucket + "/a/b?path_style=true&endpoint=" + service.Endpoint
	_, err := location.Open(t.Context(), rawURL, location.Options{})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no such bucket") {
		t.Errorf("a missing bucket gives %v", err)
	}
	for range 2 { // made, then found
		store, err := location.Create(t.Context(), rawURL, worm.LockGovernance, location.Options{})
		if err != nil {
			t.Fatal(err)
		}
		lock := worm.Lock{Mode: worm.LockGovernance, Until: time.Now().Add(time.Hour)}
		if _, err := store.Create(t.Context(), "k", []byte("x"), lock); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	store, err := location.Open(t.Context(), "s3://"+bucket+"?region="+service.Region+"&endpoint="+service.Endpoint, location.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := store.Read(t.Context(), "a/b/k", "", worm.Range{}); string(data) != "x" {
		t.Errorf("under the prefix lies %q, %v", data, err)
	}
	if lock, err := location.DefaultLock(rawURL); lock != worm.LockGovernance || err != nil {
		t.Errorf("default lock %q, %v", lock, err)
	}
	testBareBucket(t, service)

	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	if _, err := location.Open(t.Context(), rawURL, location.Options{}); !errors.Is(err, fs.ErrPermission) ||
		!strings.Contains(err.Error(), "check access key") || strings.Contains(err.Error(), secret) {
		t.Errorf("a wrong secret gives %v", err)
	}
}

// A bucket without object lock is refused before anything is stored in it, unless no lock is wanted.
func testBareBucket(t *testing.T, service *testbed.S3) {
	client, err := minio.New(service.Addr, &minio.Options{Region: service.Region,
		Creds: credentials.NewStaticV4(service.AccessKey, service.SecretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	bucket := testbed.Name(t)
	if err := client.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{Region: service.Region}); err != nil {
		t.Fatal(err)
	}
	rawURL := "s3://" + bucket + "?endpoint=" + service.Endpoint
	_, err = location.Create(t.Context(), rawURL, worm.LockCompliance, location.Options{})
	if err == nil || !strings.Contains(err.Error(), "no object lock") {
		t.Errorf("a bucket without object lock gives %v", err)
	}
	if _, err := location.Create(t.Context(), rawURL, worm.LockNone, location.Options{}); err != nil {
		t.Errorf("without a lock: %v", err)
	}
}
