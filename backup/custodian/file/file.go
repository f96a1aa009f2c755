// Package file is a custodian for development: the key of each generation is a file, mode 0600, in a directory of its own.
//
// Destroying is best effort, class C, and nothing else can be declared: the file is overwritten and removed, but a backup,
// a snapshot of the disk or of the virtual machine, a copy-on-write file system or the spare blocks of an SSD may hold what
// it was. Anybody who can read the directory before the destruction can keep it.
package file

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/internal/envelope"
)

const (
	folderPerm = 0o700
	keyPerm    = 0o600
	keySize    = 32
)

// Custodian is a [custodian.Custodian] on a directory. Any number of processes on one machine may use the directory. It
// keeps no open files between calls.
type Custodian struct {
	dir  string
	id   custodian.Identity
	disk disk
}

var _ custodian.Custodian = (*Custodian)(nil)

// Open returns the custodian in a directory, which is made if it is missing; its parent must exist. Others than the owner
// must have no access to it.
func Open(dir string, id custodian.Identity) (*Custodian, error) {
	return open(dir, id, disk{now: time.Now})
}

// OpenExisting is Open for a custodian that has keys: a directory that is missing is not made, because an empty one would
// stand where a backup has to go. Until it is back every call fails with an error that wraps [custodian.ErrUnavailable].
func OpenExisting(dir string, id custodian.Identity) (*Custodian, error) {
	path, err := filepath.Abs(dir)
	if err == nil {
		_, err = os.Stat(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Custodian{dir: path, id: id, disk: disk{now: time.Now}}, id.Check()
	case err != nil:
		return nil, &custodian.Error{Custodian: id.Name, Op: "open", Err: refused(err)}
	}
	return Open(dir, id)
}

func open(dir string, id custodian.Identity, d disk) (*Custodian, error) {
	if err := id.Check(); err != nil {
		return nil, err
	}
	c := &Custodian{id: id, disk: d}
	err := func() (err error) {
		if c.dir, err = filepath.Abs(dir); err != nil {
			return err
		}
		err = os.Mkdir(c.dir, folderPerm)
		switch {
		case err == nil:
			err = d.fs.SyncDir(filepath.Dir(c.dir))
		case errors.Is(err, fs.ErrExist):
			err = nil
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("the directory that is to hold it is missing, make it first: %w", err)
		}
		if err != nil {
			return err
		}
		return c.private()
	}()
	if err != nil {
		return nil, &custodian.Error{Custodian: id.Name, Op: "open", Err: refused(err)}
	}
	return c, nil
}

// Close returns nil: nothing is open.
func (c *Custodian) Close() error { return nil }

// private checks that the directory is for its owner only. It may have changed since the last call.
func (c *Custodian) private() error {
	info, err := os.Stat(c.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: its folder is gone: mount the disk, or put it back from a backup: %w", custodian.ErrUnavailable, err)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory: name one", c.dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s has mode %04o, so others than its owner could take the keys: chmod 700 it, "+
			"and treat what is in it as known to them", c.dir, info.Mode().Perm())
	}
	return nil
}

func (c *Custodian) keyPath(generation uint64) string {
	return filepath.Join(c.dir, c.id.Label(generation)+".key")
}

// The marks: what Destroy is about to do, and what it has made sure of.
const (
	destroying = ".destroying"
	destroyed  = ".destroyed"
)

func (c *Custodian) markPath(generation uint64, mark string) string {
	return filepath.Join(c.dir, c.id.Label(generation)+mark)
}

// Create implements [custodian.Custodian].
func (c *Custodian) Create(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	err = c.exclusive(ctx, func() error {
		begun, err := c.mark(generation, destroying)
		if err != nil {
			return err
		}
		if !begun.IsZero() {
			return custodian.ErrDestroyed
		}
		if err := c.disk.wipeTemp(c.dir); err != nil {
			return err
		}
		var key [keySize]byte
		_, _ = rand.Read(key[:]) // never fails, by its documentation
		defer clear(key[:])
		data, err := marshalKey(c.id, generation, key[:])
		if err != nil {
			return err
		}
		defer clear(data)
		err = c.disk.fs.Create(c.keyPath(generation), data, keyPerm)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		s, err = c.status(generation)
		return err
	})
	return s, c.failed("create", generation, err)
}

// Wrap implements [custodian.Wrapper].
func (c *Custodian) Wrap(ctx context.Context, generation uint64, share custodian.Share) (blob []byte, err error) {
	err = c.use(ctx, generation, func(aead cipher.AEAD) error {
		sealed := aead.Seal(nil, nil, share[:], c.id.AAD(generation))
		blob, err = envelope.Pack(sealed[:envelope.MinIV], sealed[envelope.MinIV:])
		return err
	})
	return blob, c.failed("wrap", generation, err)
}

// Unwrap implements [custodian.Wrapper].
func (c *Custodian) Unwrap(ctx context.Context, generation uint64, blob []byte) (share custodian.Share, err error) {
	err = c.use(ctx, generation, func(aead cipher.AEAD) error {
		iv, ciphertext, err := envelope.Unpack(blob)
		if err == nil && len(iv) != envelope.MinIV {
			err = errors.New("it was made by another kind of custodian")
		}
		if err != nil {
			return fmt.Errorf("%w: %w", custodian.ErrBlob, err)
		}
		sealed := append(append([]byte(nil), iv...), ciphertext...)
		if _, err := aead.Open(share[:0], nil, sealed, c.id.AAD(generation)); err != nil {
			return custodian.ErrBlob
		}
		return nil
	})
	if err != nil {
		share = custodian.Share{}
	}
	return share, c.failed("unwrap", generation, err)
}

// use calls do with the key of a generation.
func (c *Custodian) use(ctx context.Context, generation uint64, do func(cipher.AEAD) error) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	key, err := c.load(generation)
	defer clear(key)
	// The mark is looked at last: it is there before Destroy touches the key, so a key read in the midst of that is not used.
	begun, markErr := c.mark(generation, destroying)
	switch {
	case markErr != nil:
		return markErr
	case !begun.IsZero():
		return custodian.ErrDestroyed
	case errors.Is(err, fs.ErrNotExist):
		return custodian.ErrUnknown
	case err != nil:
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return err
	}
	return do(aead)
}

// Destroy implements [custodian.Custodian]: it marks what it begins, overwrites the file, removes it, looks, and marks that
// it is done. Each step is synced before the next one.
func (c *Custodian) Destroy(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	err = c.exclusive(ctx, func() (err error) {
		before, err := c.status(generation)
		switch {
		case err != nil:
			return err
		case before.State == custodian.Unknown:
			return custodian.ErrUnknown
		case before.State == custodian.Destroyed: // still: whoever said so may have died before it was durable
			s = before
			return c.disk.fs.SyncDir(c.dir)
		}
		if err := c.disk.writeMark(c.markPath(generation, destroying)); err != nil {
			return err
		}
		if err := c.disk.wipeTemp(c.dir); err != nil {
			return err
		}
		if err := c.disk.wipe(c.keyPath(generation)); err != nil {
			return err
		}
		if _, err := os.Lstat(c.keyPath(generation)); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(errors.New("the key's file is still there after it was removed"), err)
		}
		if err := c.disk.writeMark(c.markPath(generation, destroyed)); err != nil {
			return err
		}
		s, err = c.status(generation)
		return err
	})
	return s, c.failed("destroy", generation, err)
}

// Status implements [custodian.Custodian].
func (c *Custodian) Status(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	if err = c.ready(ctx); err == nil {
		s, err = c.status(generation)
	}
	return s, c.failed("status", generation, err)
}

func (c *Custodian) status(generation uint64) (custodian.Status, error) {
	s := custodian.Status{Class: custodian.BestEffort}
	evidence := map[string]string{}
	// First the key, then the marks: a Destroy in between must not make a destroyed generation look unknown.
	_, err := os.Lstat(c.keyPath(generation))
	gone := errors.Is(err, fs.ErrNotExist)
	if err != nil && !gone {
		return s, err
	}
	begun, err := c.mark(generation, destroying)
	if err != nil {
		return s, err
	}
	done, err := c.mark(generation, destroyed)
	switch {
	case err != nil:
		return s, err
	case !gone, !begun.IsZero() && done.IsZero():
		s.State = custodian.Live
	case !done.IsZero():
		s.State, s.Destroyed = custodian.Destroyed, done
		evidence["method"] = "file overwritten once, synced, removed; older blocks, snapshots and backups are out of reach"
	}
	s.Attestation, err = custodian.Attestation{
		Identity: c.id, Kind: "file", Generation: generation, State: s.State, Class: s.Class,
		Time: c.disk.now(), Destroyed: s.Destroyed, Evidence: evidence,
	}.Marshal()
	return s, err
}

// ready says whether the directory can be used.
func (c *Custodian) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.private()
}

// exclusive runs do while no other process and no other call changes the directory.
func (c *Custodian) exclusive(ctx context.Context, do func() error) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	unlock, err := lock(ctx, filepath.Join(c.dir, "lock"))
	if err != nil {
		return err
	}
	return errors.Join(do(), unlock())
}

func (c *Custodian) failed(op string, generation uint64, err error) error {
	if err == nil {
		return nil
	}
	return &custodian.Error{Custodian: c.id.Name, Op: op, Generation: generation, Err: refused(err)}
}
