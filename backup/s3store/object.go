package s3store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/minio/minio-go/v7"

	"github.com/stelelog/stele/backup/worm"
)

// metaSHA256 is the user metadata (x-amz-meta-sha256) that holds the SHA-256 of the object in hex.
const metaSHA256 = "sha256"

// Create implements [worm.Store]: one PUT, then one HEAD that reads size, time and retention back (and a
// GET of the retention where HEAD does not show it). The service checks Content-MD5 and the signed
// SHA-256 before it stores anything; the SHA-256 stays in x-amz-meta-sha256.
//
// A PUT whose reply is lost may be sent again and then meets its own object. So an error that wraps
// fs.ErrExist says only that an object is visible: callers that can have written it compare its content.
func (s *Store) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	name, err := s.name(key)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && int64(len(data)) > s.maxObject {
		err = fmt.Errorf("%d bytes are more than the limit of %d", len(data), s.maxObject)
	}
	mode, until, lockErr := retention(lock)
	if err = errors.Join(err, lockErr); err != nil {
		return worm.Version{}, s.wrap(ctx, "create", key, "", err)
	}
	options := minio.PutObjectOptions{
		DisableContentSha256: true, // that is, no chunked signature: the hash of the whole is signed
		UserMetadata:         map[string]string{},
		Mode:                 mode,
		RetainUntilDate:      until,
	}
	options.SetMatchETagExcept("*")
	sha, sum := sha256.Sum256(data), md5.Sum(data)
	options.UserMetadata[metaSHA256] = hex.EncodeToString(sha[:])

	body := &body{reader: bytes.NewReader(data)}
	defer body.detach()
	put, err := s.core.PutObject(ctx, s.bucket, name, body, int64(len(data)),
		base64.StdEncoding.EncodeToString(sum[:]), hex.EncodeToString(sha[:]), options)
	if err != nil {
		return worm.Version{}, s.wrap(ctx, "create", key, "", err)
	}
	v, got, err := s.stat(ctx, name, put.VersionID)
	if err != nil {
		return worm.Version{}, s.wrap(ctx, "read back", key, "", plain(err))
	}
	if v.Size != int64(len(data)) {
		return worm.Version{}, s.wrap(ctx, "read back", key, "", fmt.Errorf("size is %d, not %d", v.Size, len(data)))
	}
	if err := holds(got, mode, until); err != nil {
		return worm.Version{}, s.wrap(ctx, "read back", key, "", err)
	}
	v.Key = key
	return v, nil
}

// Read implements [worm.Store] with one GET. A body that breaks off is asked for again.
func (s *Store) Read(ctx context.Context, key, id string, r worm.Range) ([]byte, error) {
	name, err := s.name(key)
	if err == nil {
		err = ctx.Err()
	}
	var options minio.GetObjectOptions
	options.VersionID = id
	if err == nil && r != (worm.Range{}) {
		if r.Off < 0 || r.Len <= 0 || r.Off > 1<<62 || r.Len > s.maxObject {
			err = fmt.Errorf("range of %d bytes from %d (limit %d)", r.Len, r.Off, s.maxObject)
		} else {
			err = options.SetRange(r.Off, r.Off+r.Len-1)
		}
	}
	if err != nil {
		return nil, s.wrap(ctx, "read", key, "", err)
	}
	var data []byte
	for range attempts {
		data, err = s.get(ctx, name, r, options)
		if !errors.Is(err, errBroken) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, s.wrap(ctx, "read", key, id, err)
	}
	return data, nil
}

// errBroken marks a body that ended too early; it does not leave this file.
var errBroken = errors.New("body broke off")

func (s *Store) get(ctx context.Context, name string, r worm.Range, options minio.GetObjectOptions) ([]byte, error) {
	content, info, _, err := s.core.GetObject(ctx, s.bucket, name, options)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	switch {
	case r.Len > 0 && info.Size != r.Len:
		return nil, fmt.Errorf("range of %d bytes from %d is not inside the object", r.Len, r.Off)
	case info.Size < 0 || info.Size > s.maxObject:
		return nil, fmt.Errorf("%d bytes are more than the limit of %d", info.Size, s.maxObject)
	}
	data := make([]byte, info.Size)
	if _, err := io.ReadFull(content, data); err != nil {
		return nil, fmt.Errorf("%w: %w", errBroken, err)
	}
	return data, nil
}

// unversioned is what services call the one version of a key in a bucket that keeps no versions.
const unversioned = "null"

// stat returns what the service says of one version (without the key), the newest if id is empty, and its
// lock.
func (s *Store) stat(ctx context.Context, name, id string) (worm.Version, worm.Lock, error) {
	info, err := s.core.StatObject(ctx, s.bucket, name, minio.StatObjectOptions{VersionID: id})
	if err != nil {
		return worm.Version{}, worm.Lock{}, s.reason(ctx, name, id, err)
	}
	v := worm.Version{ID: cmp.Or(info.VersionID, unversioned), Size: info.Size, Modified: info.LastModified.UTC()}
	lock, err := s.lockOf(ctx, name, v.ID, info.Metadata)
	return v, lock, err
}

// reason returns why a HEAD failed. Its answer has no body and says little more than a status; a GET of
// the same version has one.
func (s *Store) reason(ctx context.Context, name, id string, err error) error {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) || answer.StatusCode == http.StatusNotFound {
		return err
	}
	content, _, _, getErr := s.core.GetObject(ctx, s.bucket, name, minio.GetObjectOptions{VersionID: id})
	if getErr == nil {
		content.Close()
		return err
	}
	return getErr
}

// body is a request body that its owner can take away. A transport may go on reading a body after the
// request has failed, but the data belongs to the caller again once Create has returned.
type body struct {
	mu     sync.Mutex
	reader *bytes.Reader
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reader.Read(p)
}

func (b *body) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reader.Seek(offset, whence)
}

func (b *body) detach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reader.Reset(nil)
}
