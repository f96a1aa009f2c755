// Package spool is the local store-and-forward directory between the writers of a machine and whoever
// reads their messages: a compactor, in this or another process, or the writer itself when it drains to a
// broker what it put aside in an outage. The bytes on disk are described in docs/formats/spool.md.
//
// Each stream owns one lane, and a lane has two logs. A writer appends and syncs; readers poll; a
// consumer trims what it no longer needs. The kernel's flock says who is alive: a lane whose lock is free
// and that has no end mark is an orphan, which any process may claim and end with [Dir.OpenLane].
//
// All times come from the clock in [Options]. Nothing here starts a goroutine that outlives the call,
// except that [Writer.Sync] runs fdatasync in one that ends with it.
package spool

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/durable"
	"github.com/stelelog/stele/internal/flock"
)

const (
	identityFormat = "spool/v1"
	identityName   = "spool.json"
	lockName       = "lock"
	lanesName      = "lanes"

	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600

	defaultFileBytes = 16 << 20
	defaultWait      = 15 * time.Second
)

// Options configures [Open]. The zero Options is ready to use.
type Options struct {
	// MaxBytes bounds the log files of the whole directory; 0 means no bound. Appends that would pass it
	// fail with ErrFull. Writers of one Dir respect it exactly; those of several processes may together
	// pass it by what they append between two looks at the directory, at most a 16th of it each.
	MaxBytes int64

	// FileBytes is the size at which a log goes on in a new file, 16 MiB if 0. Trimming frees whole files.
	FileBytes int64

	// Wait bounds how long Open waits for the lock of the directory, which others hold for moments only; 15 s if 0, as all that
	// comes after it.
	Wait time.Duration

	// Now is the clock for arrival times, time.Now if nil. It must be safe for concurrent use.
	Now func() time.Time

	// Archive is for whom the spool is used; Open fails where the spool names another archive, and changes nothing. Zero: anybody.
	Archive [16]byte

	// Own names Archive in the spool, if that is made now, or has no lanes and names no archive.
	Own bool

	// MustExist makes Open fail with fs.ErrNotExist where there is no spool, instead of making one.
	MustExist bool
}

// Dir is an open spool directory. It holds no file open; there is nothing to close. All methods are safe
// for concurrent use, also with other processes that use the directory.
type Dir struct {
	path      string
	id        [16]byte
	archive   [16]byte // that the spool names; zero if none
	fileBytes int64
	now       func() time.Time
	wait      time.Duration
	quota     *quota

	// Seams for tests: how files are created, and what stands between a writer and its log files.
	durable durable.FS
	wrap    func(Kind, logFile) logFile
}

// Open opens the spool directory dir, or makes it and its missing parents. When it returns nil the
// identity of the spool is durable.
func Open(dir string, opts Options) (*Dir, error) {
	d := &Dir{path: dir, fileBytes: opts.FileBytes, now: opts.Now, wait: cmp.Or(opts.Wait, defaultWait)}
	if d.fileBytes <= 0 {
		d.fileBytes = defaultFileBytes
	}
	if d.now == nil {
		d.now = time.Now
	}
	d.quota = newQuota(opts.MaxBytes, d.bytes)
	if err := d.identify(&opts); err != nil {
		return nil, fmt.Errorf("spool: open %s: %w", dir, err)
	}
	if err := durable.MkdirAll(d.lanesPath(), dirMode); err != nil {
		return nil, fmt.Errorf("spool: open %s: %w", dir, err)
	}
	if err := d.locked(func() error { return d.settle(&opts) }); err != nil {
		return nil, fmt.Errorf("spool: open %s: %w", dir, err)
	}
	d.wait = defaultWait
	return d, nil
}

// ID returns the random identity that the directory got when it was made and keeps for ever.
func (d *Dir) ID() [16]byte { return d.id }

type identity struct {
	Stele   string `json:"stele"`
	ID      string `json:"id"`
	Archive string `json:"archive,omitempty"`
}

// Archive is the archive that the spool names, zero if it names none.
func (d *Dir) Archive() [16]byte { return d.archive }

// identify reads the identity of the spool, after making one if there is none and that is allowed.
func (d *Dir) identify(opts *Options) error {
	path := filepath.Join(d.path, identityName)
	if !opts.MustExist {
		if err := d.makeIdentity(path, opts); err != nil {
			return err
		}
	}
	got, err := d.readIdentity(path, opts.Archive)
	if err != nil {
		return err
	}
	d.id, err = parseID(got.ID)
	return err
}

// readIdentity reads the identity, and refuses a spool of another archive.
func (d *Dir) readIdentity(path string, archive [16]byte) (got identity, err error) {
	if err := readJSON(path, &got); err != nil {
		return got, err
	}
	if got.Stele != identityFormat {
		return got, fmt.Errorf("%s: format is %q, this version reads %q", path, got.Stele, identityFormat)
	}
	if _, err := parseID(got.ID); err != nil {
		return got, fmt.Errorf("%s: %w", path, err)
	}
	if got.Archive == "" {
		return got, nil
	}
	owner, err := parseID(got.Archive)
	if err != nil {
		return got, fmt.Errorf("%s: archive: %w", path, err)
	}
	if owner != archive && archive != [16]byte{} {
		return got, fmt.Errorf("this is the spool of archive %s, not of %s; each archive needs a spool directory of its own", got.Archive, hex.EncodeToString(archive[:]))
	}
	d.archive = owner
	return got, nil
}

// settle names the archive and removes what was left half done. The directory is locked.
func (d *Dir) settle(opts *Options) error {
	if err := d.own(opts); err != nil {
		return err
	}
	return d.sweep()
}

// own names the archive in a spool without lanes that names none. The directory is locked.
func (d *Dir) own(opts *Options) error {
	path := filepath.Join(d.path, identityName)
	got, err := d.readIdentity(path, opts.Archive)
	if err != nil || got.Archive != "" || !opts.Own {
		return err
	}
	if entries, err := os.ReadDir(d.lanesPath()); err != nil || len(entries) > 0 {
		return err
	}
	got.Archive = hex.EncodeToString(opts.Archive[:])
	data, err := json.Marshal(got)
	if err == nil {
		err = durable.WriteFile(path, data, fileMode)
	}
	if err == nil {
		d.archive = opts.Archive
	}
	return err
}

func (d *Dir) makeIdentity(path string, opts *Options) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := durable.MkdirAll(d.path, dirMode); err != nil {
		return err
	}
	var id [16]byte
	rand.Read(id[:]) // never fails
	made := identity{Stele: identityFormat, ID: hex.EncodeToString(id[:])}
	if opts.Own {
		made.Archive = hex.EncodeToString(opts.Archive[:])
	}
	data, err := json.Marshal(made)
	if err != nil {
		return err
	}
	if err := durable.Create(path, data, fileMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// sweep deletes lanes that were being made or removed when their process died. The directory is locked,
// so nobody is at work on them now.
func (d *Dir) sweep() error {
	entries, err := os.ReadDir(d.lanesPath())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			if err := os.RemoveAll(filepath.Join(d.lanesPath(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// locked runs do while it holds the lock of the directory, which orders everything that makes, claims,
// probes or removes lanes. Work under it is short.
func (d *Dir) locked(do func() error) error {
	lock, err := openLock(filepath.Join(d.path, lockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := d.waitFor(lock); err != nil {
		return err
	}
	return do()
}

// waitFor takes the lock, and gives up after a time: a process that was stopped while it had it must stop nobody else.
func (d *Dir) waitFor(lock *os.File) error {
	pause, start := time.Millisecond, time.Now()
	for {
		held, err := flock.Try(lock)
		if held || err != nil {
			return err
		}
		if time.Since(start) > d.wait {
			return fmt.Errorf("another process has had the lock %s for %v; is it stopped, or does its disk hang?", lock.Name(), d.wait)
		}
		time.Sleep(pause)
		pause = min(2*pause, 20*time.Millisecond)
	}
}

func (d *Dir) lanesPath() string { return filepath.Join(d.path, lanesName) }

func (d *Dir) lanePath(id [16]byte) string {
	return filepath.Join(d.path, lanesName, hex.EncodeToString(id[:]))
}

func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
}

func parseID(s string) (id [16]byte, err error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(id) || s != strings.ToLower(s) {
		return id, fmt.Errorf("%q is no id: want 32 lower-case hex digits", s)
	}
	return [16]byte(raw), nil
}

// readJSON reads the small JSON file path into v.
func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return nil
}

// Role takes a role that one process at a time has for this spool: DIR/<name>.lock, until release. The error wraps ErrBusy
// if another one has it.
func (d *Dir) Role(name string) (release func() error, err error) {
	lock, err := openLock(filepath.Join(d.path, name+".lock"))
	if err != nil {
		return nil, err
	}
	held, err := flock.Try(lock)
	if err == nil && !held {
		err = fmt.Errorf("spool: %w: another process has the role %s", ErrBusy, name)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock.Close, nil
}
