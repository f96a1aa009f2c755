// Package location opens the store that the URL of an archive names:
//
//	file:///path
//	s3://bucket[/prefix][?endpoint=http://host:port][&region=…][&path_style=true]
//
// A URL holds no secrets. Credentials of S3 come from the standard places: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
// AWS_SESSION_TOKEN, the shared credentials file with AWS_PROFILE, the identity of the machine. The region may also
// come from AWS_REGION or AWS_DEFAULT_REGION. The endpoint comes from the URL only, so that a URL names one place;
// without it that is AWS. Errors never repeat what a URL should not hold.
package location

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/s3store"
	"github.com/stelelog/stele/backup/worm"
)

// Options change how a store is opened. The zero Options are right for nearly everybody.
type Options struct {
	// Transport carries the requests to S3. Nil means one of its own with usual timeouts.
	Transport http.RoundTripper
	// MaxObject is the size in bytes above which objects are neither stored nor read. 0 means 1 GiB.
	MaxObject int64
}

// Open opens the store of an archive that exists, and asks it something, so that a wrong URL shows at once. The error
// says what to change; it wraps fs.ErrNotExist if the directory or the bucket is missing.
func Open(ctx context.Context, rawURL string, options Options) (worm.Store, error) {
	p, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	if p.dir != "" {
		return p.openDir(dirstore.Options{MaxObject: options.MaxObject})
	}
	return p.openBucket(ctx, options)
}

// Create opens the store for a new archive. It makes the directory, or the bucket with versions and object lock, if it
// is missing. A bucket that is there is taken as it is, but without object lock it is refused for any lock but none.
// What lies in the store already is for the caller to judge.
func Create(ctx context.Context, rawURL string, lock worm.LockMode, options Options) (worm.Store, error) {
	p, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	if p.dir != "" {
		return p.openDir(dirstore.Options{Create: true, MaxObject: options.MaxObject})
	}
	store, err := p.openBucket(ctx, options)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s3store.CreateBucket(ctx, p.config(options)); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, p.failed("the bucket is missing and cannot be made; have somebody make it with object lock enabled", err)
		}
		store, err = p.openBucket(ctx, options)
	}
	if err != nil || lock == "" || lock == worm.LockNone {
		return store, err
	}
	b, err := store.(*s3store.Store).Describe(ctx)
	switch {
	case errors.Is(err, fs.ErrPermission): // then the first object will tell
	case err != nil:
		return nil, p.failed("the set-up of the bucket cannot be read", err)
	case !b.Locks:
		return nil, p.failed(fmt.Sprintf("the bucket has no object lock, so nothing can be held in %s mode, "+
			"and most services enable it only when a bucket is made: name a new bucket, or ask for --lock none", lock), nil)
	}
	return store, nil
}

// OpenDeleter opens the store of an archive to remove what has expired, with credentials that may.
func OpenDeleter(ctx context.Context, rawURL string, options Options) (worm.Deleter, error) {
	p, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	var d worm.Deleter
	if p.dir != "" {
		d, err = dirstore.OpenDeleter(p.dir)
	} else {
		d, err = s3store.OpenDeleter(ctx, p.config(options))
	}
	if err != nil {
		return nil, p.failed("", err)
	}
	return d, nil
}

// DefaultLock is the strongest lock that a new archive at rawURL gets without being asked: governance in a bucket,
// advisory in a directory, which has no other.
func DefaultLock(rawURL string) (worm.LockMode, error) {
	p, err := parse(rawURL)
	if err != nil {
		return "", err
	}
	if p.dir != "" {
		return worm.LockAdvisory, nil
	}
	return worm.LockGovernance, nil
}

func (p *place) openDir(options dirstore.Options) (worm.Store, error) {
	store, err := dirstore.Open(p.dir, options)
	switch {
	case errors.Is(err, fs.ErrNotExist) && options.Create:
		return nil, p.failed("the directory cannot be made here: choose another path", err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, p.failed("the directory is missing: check the path, or make a new archive with 'stele init'", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, p.failed("this user may not use the directory: change its owner or mode", err)
	case err != nil:
		return nil, p.failed("", err)
	}
	return store, nil
}

func (p *place) openBucket(ctx context.Context, options Options) (worm.Store, error) {
	store, err := s3store.Open(ctx, p.config(options))
	var answer *s3store.Error
	switch {
	case errors.As(err, &answer) && answer.Code == "NoSuchBucket":
		return nil, p.failed("", fmt.Errorf("%w: %w", fs.ErrNotExist, err))
	case err != nil:
		return nil, p.failed("", err)
	}
	return store, nil
}

func (p *place) config(options Options) s3store.Config {
	return s3store.Config{
		Endpoint: p.endpoint, Secure: p.secure, Region: p.region, Bucket: p.bucket, Prefix: p.prefix,
		Transport: options.Transport, MaxObject: options.MaxObject,
	}
}

// failed wraps err with the place and what to do about it.
func (p *place) failed(what string, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("archive %s: %s", p.shown, what)
	case what == "":
		return fmt.Errorf("archive %s: %w", p.shown, err)
	}
	return fmt.Errorf("archive %s: %s: %w", p.shown, what, err)
}
