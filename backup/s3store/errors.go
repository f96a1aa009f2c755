package s3store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/stelelog/stele/backup/worm"
)

// Error is a failed operation. It wraps fs.ErrExist or fs.ErrNotExist where the contract of the store says
// so, fs.ErrPermission where credentials are refused, and otherwise what went wrong on the way. It is a
// [worm.ErrPermanent] if the service answered, and somebody must do what Hint says first. It holds
// neither credentials nor signatures.
type Error struct {
	Op     string // "open", "create", "read back", "read", "list", "extend", "read lock" or "create bucket"
	Bucket string
	Key    string // without the prefix of the store; of a listing its prefix
	Code   string // error code of the service, if it answered
	Hint   string // what to do about it, if we know
	Err    error

	permanent bool
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "s3store: %s", e.Op)
	if e.Key != "" {
		fmt.Fprintf(&b, " %s", e.Key)
	}
	fmt.Fprintf(&b, " in bucket %s: ", e.Bucket)
	if e.Code != "" {
		fmt.Fprintf(&b, "%s: ", e.Code)
	}
	b.WriteString(e.Err.Error())
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is [worm.ErrPermanent] and e is one.
func (e *Error) Is(target error) bool { return e.permanent && target == worm.ErrPermanent }

// wrap makes an *Error of what the client returned. id is the version that was asked for, if any.
func (s *Store) wrap(ctx context.Context, op, key, id string, err error) error {
	e := &Error{Op: op, Bucket: s.bucket, Key: key, Err: err}
	var answer minio.ErrorResponse
	var unsent *url.Error
	switch {
	case errors.As(err, &answer):
		e.Code = answer.Code
		e.Err = meaning(answer, op, id)
		e.Hint = s.hint(answer)
		e.permanent = e.Hint != "" || answer.StatusCode == http.StatusForbidden
	case ctx.Err() != nil:
		e.Err = ctx.Err()
	case errors.As(err, &unsent):
		// Without the URL, whose query is of no use to a reader and may be signed.
		e.Err = fmt.Errorf("%s: %w", s.core.EndpointURL().Host, unsent.Err)
		e.Hint = "the endpoint cannot be reached: check host, port, and whether it speaks HTTP or HTTPS"
	}
	return e
}

// meaning returns an error with the message of the service that wraps what the contract promises.
func meaning(answer minio.ErrorResponse, op, id string) error {
	message := strings.TrimSpace(answer.Message)
	var is error
	switch {
	case op == "create bucket" && (answer.Code == "BucketAlreadyOwnedByYou" || answer.Code == "BucketAlreadyExists"):
		is = fs.ErrExist
	case op == "create" && answer.StatusCode == http.StatusPreconditionFailed:
		is = fs.ErrExist
	case op == "create" || answer.Code == "NoSuchBucket":
	case answer.Code == "NoSuchKey", answer.Code == "NoSuchVersion", answer.Code == "MethodNotAllowed":
		is = fs.ErrNotExist // the last one is a delete marker that was asked for by its id
	case id != "" && answer.Code == "InvalidArgument" && strings.Contains(strings.ToLower(message), "version"):
		is = fs.ErrNotExist // an id that this service cannot have made
	case answer.StatusCode == http.StatusForbidden:
		is = fs.ErrPermission
	}
	if answer.StatusCode == http.StatusForbidden && is == nil {
		is = fs.ErrPermission
	}
	if is == nil {
		return errors.New(message)
	}
	return fmt.Errorf("%w: %s", is, message)
}

// hint returns what to do about an answer, or nothing.
func (s *Store) hint(answer minio.ErrorResponse) string {
	switch answer.Code {
	case "NoSuchBucket":
		return "there is no such bucket: check its name, or make it with object lock enabled"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "XAdminUserNotFound":
		return "the service does not accept these credentials: check access key and secret key"
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken":
		return "the session token is no longer valid: get new credentials"
	case "AccessDenied":
		return "these credentials may not do this: see the permissions of the role, or the object is locked"
	case "RequestTimeTooSkewed":
		return "the clock of this machine is wrong: set it, and run a time service"
	case "AuthorizationHeaderMalformed", "InvalidRegion", "PermanentRedirect", "IllegalLocationConstraintException":
		if answer.Region != "" {
			return "wrong region: the bucket is in " + answer.Region
		}
		return "wrong region: set the one that the bucket is in"
	case "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded":
		return "the store is full or its quota is used up: make room, or have the quota raised"
	case "InvalidBucketState", "ObjectLockConfigurationNotFoundError":
		return hintNoLock
	}
	if strings.Contains(answer.Message, "ObjectLockConfiguration") {
		return hintNoLock
	}
	return ""
}

const hintNoLock = "the bucket has no object lock, which most services enable only when a bucket is made: use a new bucket"

// saysNoLock reports whether err is the answer that a version has no retention.
func saysNoLock(err error) bool {
	var answer minio.ErrorResponse
	return errors.As(err, &answer) &&
		(answer.Code == "NoSuchObjectLockConfiguration" || strings.Contains(answer.Message, "ObjectLockConfiguration"))
}

// plain hides the code of a service from meaning: an object that cannot be read back right after it was
// stored is no missing object to the caller, who must find out.
func plain(err error) error {
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		return fmt.Errorf("%s: %s", answer.Code, answer.Message)
	}
	return err
}
