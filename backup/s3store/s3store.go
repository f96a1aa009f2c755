// Package s3store keeps the objects of an archive in a bucket of an S3 service, under object lock.
//
// It wants of the service: versioned buckets with object lock, single PUT with "If-None-Match: *", and
// ListObjectVersions. docs/formats/stores.md says how services differ and which requests, and therefore
// permissions, each method needs. No method deletes anything, but for those of tryout.go, which probe what the store
// enforces on keys under probe/ alone.
package s3store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/durable/objkey"
)

const (
	defaultEndpoint  = "s3.amazonaws.com"
	defaultMaxObject = 1 << 30

	// maxS3Key is the longest key that S3 takes, in bytes.
	maxS3Key = 1024

	// attempts bounds how often one request is sent, with growing pauses of less than a second between.
	// An outage that lasts longer is for the caller to wait out.
	attempts = 4
)

// Config says which bucket to use, and how. Only Bucket is required.
type Config struct {
	// Endpoint is the host and optional port of the service, without a scheme. Empty means AWS.
	Endpoint string
	// Secure chooses HTTPS. An empty Endpoint is always secure.
	Secure bool
	// Region of the bucket. Empty means to ask the service.
	Region string
	// Bucket is the name of the bucket.
	Bucket string
	// Prefix goes before every key, with a '/' between if it does not end with one.
	Prefix string

	// Credentials of the role to act as. The zero value means the standard chain: the AWS_* environment
	// variables, the shared credentials file, the identity of the machine or container.
	Credentials Credentials
	// Transport carries the requests. Nil means one of its own with usual timeouts.
	Transport http.RoundTripper

	// MaxObject is the size in bytes above which objects are neither stored nor read. 0 means 1 GiB; the
	// services end a single PUT at 5 GiB.
	MaxObject int64
}

// Credentials are a fixed access key. SessionToken is for temporary ones.
type Credentials struct{ AccessKey, SecretKey, SessionToken string }

// String hides the secrets.
func (c Credentials) String() string { return "access key " + c.AccessKey }

// GoString hides the secrets.
func (c Credentials) GoString() string { return c.String() }

// Store is a [worm.Store] and [worm.LockReader] on a bucket. It is safe for concurrent use.
type Store struct {
	core      minio.Core
	bucket    string
	prefix    string // empty or with '/' at the end
	maxObject int64
}

var (
	_ worm.Store      = (*Store)(nil)
	_ worm.LockReader = (*Store)(nil)
)

// Open connects to a bucket and lists one version in it, so that wrong settings show at once: the error,
// an [*Error] if the service was asked, says what to change.
func Open(ctx context.Context, config Config) (*Store, error) {
	s, err := connect(ctx, config)
	if err != nil {
		return nil, err
	}
	listing := s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{
		Prefix: s.prefix, WithVersions: true, Recursive: true, MaxKeys: 1,
	})
	for info := range listing {
		if info.Err != nil {
			return nil, s.wrap(ctx, "open", "", "", info.Err)
		}
		break
	}
	if err := ctx.Err(); err != nil {
		return nil, s.wrap(ctx, "open", "", "", err)
	}
	return s, nil
}

// CreateBucket makes the bucket of config with versions and object lock, and without a default retention:
// every object gets its own. The error wraps fs.ErrExist if there is a bucket of that name.
func CreateBucket(ctx context.Context, config Config) error {
	s, err := connect(ctx, config)
	if err != nil {
		return err
	}
	err = s.core.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: config.Region, ObjectLocking: true})
	if err != nil {
		return s.wrap(ctx, "create bucket", "", "", err)
	}
	return nil
}

// connect checks config and makes a client without sending a request to the service.
func connect(ctx context.Context, config Config) (*Store, error) {
	prefix, err := checkConfig(&config)
	if err != nil {
		return nil, fmt.Errorf("s3store: %w", err)
	}
	transport := config.Transport
	if transport == nil {
		transport, err = minio.DefaultTransport(config.Secure)
		if err != nil {
			return nil, fmt.Errorf("s3store: transport: %w", err)
		}
	}
	keys, err := provider(ctx, config.Credentials, transport)
	if err != nil {
		return nil, err
	}
	client, err := minio.NewCore(config.Endpoint, &minio.Options{
		Creds:      keys,
		Secure:     config.Secure,
		Region:     config.Region,
		Transport:  adapter{transport},
		MaxRetries: attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("s3store: endpoint %q: %w", config.Endpoint, err)
	}
	return &Store{core: *client, bucket: config.Bucket, prefix: prefix, maxObject: config.MaxObject}, nil
}

// checkConfig fills in defaults and returns the prefix as it goes before keys.
func checkConfig(config *Config) (prefix string, err error) {
	if config.Bucket == "" {
		return "", errors.New("no bucket given")
	}
	if config.Endpoint == "" {
		config.Endpoint, config.Secure = defaultEndpoint, true
	}
	if config.MaxObject <= 0 {
		config.MaxObject = defaultMaxObject
	}
	prefix = config.Prefix
	if prefix != "" && prefix[len(prefix)-1] != '/' {
		prefix += "/"
	}
	if prefix != "" {
		if err := objkey.Check(prefix[:len(prefix)-1]); err != nil {
			return "", fmt.Errorf("prefix: %w", err)
		}
	}
	return prefix, nil
}

// provider returns the source of credentials, after it has given some.
func provider(ctx context.Context, fixed Credentials, transport http.RoundTripper) (*credentials.Credentials, error) {
	if fixed.AccessKey != "" {
		return credentials.NewStaticV4(fixed.AccessKey, fixed.SecretKey, fixed.SessionToken), nil
	}
	keys := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{},
		&credentials.IAM{},
	})
	value, err := keys.GetWithContext(&credentials.CredContext{
		Client: &http.Client{Transport: transport}, Context: ctx,
	})
	if err != nil || value.AccessKeyID == "" {
		return nil, fmt.Errorf("s3store: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "+
			"or AWS_PROFILE with a shared credentials file: %w", errors.Join(fs.ErrPermission, err))
	}
	return keys, nil
}

// name returns the name of key in the bucket.
func (s *Store) name(key string) (string, error) {
	if err := objkey.Check(key); err != nil {
		return "", err
	}
	if len(s.prefix)+len(key) > maxS3Key {
		return "", fmt.Errorf("invalid key %q: with the prefix it has more than %d bytes", key, maxS3Key)
	}
	return s.prefix + key, nil
}
