package spool

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/stelelog/stele/internal/flock"
)

// keepBytes is the size up to which an encoding buffer is kept for the next append.
const keepBytes = 4 << 20

// logFile is what a writer needs of a log file.
type logFile interface {
	io.Writer    // appends
	Sync() error // fdatasync
	Close() error
}

type osLogFile struct{ *os.File }

func (f osLogFile) Sync() error { return datasync(f.File) }

// Writer appends to the two logs of a lane. A process has it from [Dir.CreateLane] to Close or death; a
// lane has no second one. All methods are safe for concurrent use.
//
// After a write or sync that failed the Writer is at its end: what is in the kernel's cache may differ
// from what is on the disk, and no later success could be believed. Append, Sync and Close then return
// that same error, and the lane becomes an orphan with Close.
type Writer struct {
	dir  *Dir
	id   [16]byte
	lock *os.File

	// Locks are taken in the order appendMu, syncMu, mu.
	appendMu sync.Mutex // one append, rotation or Close at a time
	syncMu   sync.Mutex // one sync at a time; held when the file of a log changes
	logs     [2]writeLog

	mu      sync.Mutex    // guards all below
	end     ends          // position of the next message; written with appendMu held too
	durable ends          // positions below are on stable storage
	round   chan struct{} // closed when the commit that is under way has ended; nil if none is
	err     error         // first failure, or fs.ErrClosed
	commits sync.WaitGroup
}

// writeLog is one log of a Writer. file changes under appendMu and syncMu, the rest under appendMu.
type writeLog struct {
	codec codec
	file  logFile
	first uint64      // position of the first record of file
	info  fs.FileInfo // of file
	size  int64
	buf   []byte
}

// ends has a position for each log.
type ends [2]uint64

func (e ends) covers(o ends) bool { return e[0] >= o[0] && e[1] >= o[1] }

func (k Kind) index() int { return int(k) - 1 }

// CreateLane makes the lane id and takes its lock until Close. The id must never have been used in this
// spool; the error wraps fs.ErrExist if it is in use now. When it returns nil the lane is durable.
func (d *Dir) CreateLane(id [16]byte) (*Writer, error) {
	w := &Writer{dir: d, id: id}
	if err := w.reserve(2 * fileHeader); err != nil {
		return nil, err
	}
	defer d.quota.settle(2 * fileHeader)
	if err := d.locked(w.create); err != nil {
		w.release()
		if diskFull(err) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		return nil, &Error{Lane: id, Err: fmt.Errorf("create: %w", err)}
	}
	return w, nil
}

// create makes the lane under another name, so that nobody sees it before it is locked and whole.
func (w *Writer) create() error {
	d, path := w.dir, w.dir.lanePath(w.id)
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	temp := filepath.Join(d.lanesPath(), ".new-"+hex.EncodeToString(w.id[:]))
	if err := os.RemoveAll(temp); err != nil { // of a dead process: the directory is locked
		return err
	}
	if err := os.Mkdir(temp, dirMode); err != nil {
		return err
	}
	if err := w.fill(temp); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return d.durable.SyncDir(d.lanesPath())
}

func (w *Writer) fill(dir string) error {
	lock, err := openLock(filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	w.lock = lock
	free, err := flock.Try(lock)
	if err != nil {
		return err
	}
	if !free {
		return ErrBusy
	}
	for _, kind := range kinds {
		l := &w.logs[kind.index()]
		l.codec = newCodec(w.id, kind)
		if err := w.startFile(kind, filepath.Join(dir, fileName(kind, 0)), 0); err != nil {
			return err
		}
	}
	return nil
}

// startFile makes path the file of a log, from position first on.
func (w *Writer) startFile(kind Kind, path string, first uint64) error {
	l := &w.logs[kind.index()]
	if err := w.dir.durable.Create(path, l.codec.header(first), fileMode); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.info, l.first, l.size = osLogFile{f}, info, first, fileHeader
	if w.dir.wrap != nil {
		l.file = w.dir.wrap(kind, l.file)
	}
	return nil
}

// Append appends messages of 1 to MaxMessage bytes each to a log, in one write, and returns the position
// of the first; the others follow it. They share one arrival time. A crash of the process right after the
// return loses nothing; a crash of the machine may, before a Sync. After an error other than ErrFull of the
// bound or fs.ErrInvalid, any number of the messages may be in the log. The messages are not retained.
func (w *Writer) Append(kind Kind, messages ...[]byte) (first uint64, err error) {
	size, err := recordsSize(kind, messages)
	if err != nil {
		return 0, err
	}
	w.appendMu.Lock()
	defer w.appendMu.Unlock()
	if err := w.failed(); err != nil {
		return 0, err
	}
	if err := w.reserve(size); err != nil {
		return 0, err
	}
	defer w.dir.quota.settle(size)
	l := &w.logs[kind.index()]
	if l.size > fileHeader && l.size+size > w.dir.fileBytes {
		if err := w.rotate(kind); err != nil {
			return 0, err
		}
	}
	first = w.end[kind.index()]
	if err := w.write(l, first, messages); err != nil {
		return 0, w.fail(kind, "append", err)
	}
	l.size += size
	w.mu.Lock()
	w.end[kind.index()] += uint64(len(messages))
	w.mu.Unlock()
	return first, nil
}

func recordsSize(kind Kind, messages [][]byte) (int64, error) {
	if !kind.valid() {
		return 0, fmt.Errorf("spool: %w: %s", fs.ErrInvalid, kind)
	}
	var size int64
	for _, m := range messages {
		if len(m) == 0 || len(m) > MaxMessage {
			return 0, fmt.Errorf("spool: %w: message of %d bytes, must have 1 to %d", fs.ErrInvalid, len(m), MaxMessage)
		}
		size += recordHeader + int64(len(m))
	}
	return size, nil
}

func (w *Writer) write(l *writeLog, first uint64, messages [][]byte) error {
	at := w.dir.now().UnixNano()
	b := l.buf[:0]
	for i, m := range messages {
		b = l.codec.appendRecord(b, first+uint64(i), at, m)
	}
	if cap(b) <= keepBytes {
		l.buf = b
	}
	_, err := l.file.Write(b)
	return err
}

// reserve takes room for size bytes below the bound of the directory.
func (w *Writer) reserve(size int64) error {
	ok, err := w.dir.quota.reserve(size)
	if err != nil {
		return err
	}
	if !ok {
		return &Error{Lane: w.id, Err: fmt.Errorf("%w: %d more bytes would pass the bound of %d", ErrFull, size, w.dir.quota.max)}
	}
	return nil
}

// rotate goes on in a new file. The old one is synced before, so that only the last file of a log can
// ever lack something.
func (w *Writer) rotate(kind Kind) error {
	if err := w.reserve(fileHeader); err != nil {
		return err
	}
	defer w.dir.quota.settle(fileHeader)
	w.syncMu.Lock()
	defer w.syncMu.Unlock()
	l, end := &w.logs[kind.index()], w.end[kind.index()]
	old := l.file
	if err := w.sync(kind); err != nil {
		return w.fail(kind, "sync", err)
	}
	if err := w.startFile(kind, w.dir.filePath(w.id, kind, end), end); err != nil {
		return w.fail(kind, "new file", err)
	}
	old.Close() // synced, nothing can be lost
	w.mu.Lock()
	w.durable[kind.index()] = end
	w.mu.Unlock()
	return nil
}

// Sync returns nil when all messages whose Append had returned before the call are on stable storage.
// Concurrent calls share fdatasyncs: those that arrive while one runs wait for the next one together.
// If ctx ends first its error is returned; the fdatasync goes on.
func (w *Writer) Sync(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	target := w.end
	for {
		if w.err != nil && !errors.Is(w.err, fs.ErrClosed) {
			return w.err
		}
		if w.durable.covers(target) { // always, once Close went well
			return nil
		}
		if w.round == nil {
			w.round = make(chan struct{})
			w.commits.Go(w.commit)
		}
		round := w.round
		w.mu.Unlock()
		var err error
		select {
		case <-round:
		case <-ctx.Done():
			err = ctx.Err()
		}
		w.mu.Lock()
		if err != nil {
			return err
		}
	}
}

// commit syncs what was appended until now.
func (w *Writer) commit() {
	w.syncMu.Lock()
	defer w.syncMu.Unlock()
	w.mu.Lock()
	end, durable, err := w.end, w.durable, w.err
	w.mu.Unlock()
	for _, kind := range kinds {
		if i := kind.index(); err == nil && end[i] > durable[i] {
			if err = w.sync(kind); err != nil {
				err = w.fail(kind, "sync", err)
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.durable = end
	}
	close(w.round)
	w.round = nil
}

// sync brings the file of a log to stable storage, where readers find it under its name: what was written to a file that somebody
// has removed is in no spool. The caller has syncMu.
func (w *Writer) sync(kind Kind) error {
	l := &w.logs[kind.index()]
	if err := l.file.Sync(); err != nil {
		return err
	}
	now, err := os.Lstat(w.dir.filePath(w.id, kind, l.first))
	if err == nil && !os.SameFile(now, l.info) {
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the file was removed, or replaced, while it was written; what it held is lost: %w", err)
	}
	return nil // whoever may not look is not told that anything is gone
}

// Close syncs the lane, marks it as ended and gives up its lock. After a failure, also one of Close
// itself, there is no mark and the lane is an orphan. Calls after the first return fs.ErrClosed or the
// failure.
func (w *Writer) Close() error {
	w.appendMu.Lock()
	defer w.appendMu.Unlock()
	err := w.failed()
	if err == nil {
		err = w.Sync(context.Background())
	}
	if err == nil {
		err = w.dir.mark(w.id, w.end, false)
	}
	w.mu.Lock()
	if w.err == nil {
		w.err = fs.ErrClosed
		if err != nil {
			w.err = err
		}
	}
	w.mu.Unlock()
	w.commits.Wait()
	w.release()
	return err
}

// release closes what is open, the lock last.
func (w *Writer) release() {
	for i := range w.logs {
		if w.logs[i].file != nil {
			w.logs[i].file.Close()
			w.logs[i].file = nil
		}
	}
	if w.lock != nil {
		w.lock.Close()
		w.lock = nil
	}
}

func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// fail ends the Writer with err, if it was not at its end before, and returns the error that it ended with.
func (w *Writer) fail(kind Kind, doing string, err error) error {
	if diskFull(err) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = &Error{Lane: w.id, Kind: kind, Pos: w.end[kind.index()], Err: fmt.Errorf("%s: %w", doing, err)}
	}
	return w.err
}

// mark writes the end mark of a lane.
func (d *Dir) mark(id [16]byte, end ends, recovered bool) error {
	data, err := json.Marshal(endMark{Stele: markFormat, Lane: hex.EncodeToString(id[:]),
		Frames: end[Frames.index()], Grants: end[Grants.index()], Recovered: recovered})
	if err == nil {
		err = d.durable.Create(d.markPath(id), data, fileMode)
	}
	if err != nil {
		return &Error{Lane: id, File: d.markPath(id), Err: fmt.Errorf("end: %w", err)}
	}
	return nil
}
