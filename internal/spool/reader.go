package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
)

const defaultReadBytes = 1 << 20

// Reader reads one log of a lane while it may still be written, by this or another process. It takes no
// lock. A Reader is not safe for concurrent use; any number of Readers may read one log.
type Reader struct {
	dir      *Dir
	lane     [16]byte
	kind     Kind
	cursor   cursor
	messages []Message
}

// Reader returns a Reader of one log. It opens nothing before the first Read.
func (d *Dir) Reader(lane [16]byte, kind Kind) *Reader {
	return &Reader{dir: d, lane: lane, kind: kind}
}

// Read returns the messages from position from on, in order and without gaps, as many as fit into
// maxBytes bytes of the log (1 MiB if that is not positive), but one if there is one. It may return fewer
// than there are: at the end of a file, or where the writer is. The next position is from plus their
// number. Slice and payloads are good until the next call.
//
// No messages and no error mean: nothing yet. Other errors than those of the file system are
//
//	io.EOF           the lane was ended and everything below from was its last message
//	ErrPosition      from was trimmed, or lies behind the end; in an *Error with First
//	ErrDamaged       in an *Error that says where
//	fs.ErrNotExist   no such lane, perhaps no longer
//
// What Read returns was written, but need not be on stable storage yet.
func (r *Reader) Read(from uint64, maxBytes int) ([]Message, error) {
	if !r.kind.valid() {
		return nil, fmt.Errorf("spool: %w: %s", fs.ErrInvalid, r.kind)
	}
	if maxBytes <= 0 {
		maxBytes = defaultReadBytes
	}
	if err := r.seek(from); err != nil {
		return nil, err
	}
	for {
		r.messages = r.messages[:0]
		found, err := r.cursor.take(maxBytes, math.MaxUint64, &r.messages)
		if err != nil || found == whole {
			return r.messages, err
		}
		moved, err := r.move(func() (check, error) { return r.cursor.take(maxBytes, math.MaxUint64, &r.messages) })
		if err != nil || !moved || len(r.messages) > 0 {
			return r.messages, err
		}
	}
}

// Close gives up the open file. The Reader may be used again.
func (r *Reader) Close() error {
	r.cursor.close()
	return nil
}

// next decides what it means that found is at the cursor instead of a record.
func (r *Reader) next(found check, l listing) (moved bool, err error) {
	c := &r.cursor
	files := l.files(r.kind)
	i, here := slices.BinarySearch(files, c.first)
	if here {
		i++
	}
	switch {
	case i < len(files) && found == nothing && files[i] == c.pos:
		return true, c.open(r.dir, r.lane, r.kind, c.pos)
	case i < len(files) && !here:
		return false, r.outside(c.pos, files[i])
	case i < len(files):
		return false, c.fail(fmt.Errorf("%w: %s, and the next file begins at %d", ErrDamaged, found, files[i]))
	}
	if l.ended && !here {
		return false, r.usedUp(c.pos, l)
	}
	if l.ended {
		return false, r.ended(found)
	}
	torn, err := c.torn(found)
	if err == nil && !torn {
		err = c.fail(fmt.Errorf("%w: %s", ErrDamaged, found))
	}
	return false, err
}

// ended compares the place where the log ends with the end mark of the lane.
func (r *Reader) ended(found check) error {
	mark, err := r.dir.readMark(r.lane)
	if err != nil {
		return err
	}
	if end := mark.end(r.kind); found != nothing || end != r.cursor.pos {
		return r.cursor.fail(fmt.Errorf("%w: %s, and the lane was ended at %d", ErrDamaged, found, end))
	}
	return io.EOF
}

// move is for a cursor that found no record. It has step look again, and if there is still none goes on to
// the next file. The result says whether the cursor got any further.
func (r *Reader) move(step func() (check, error)) (moved bool, err error) {
	l, err := r.dir.list(r.lane)
	if err != nil {
		return false, err
	}
	// Looking again after the listing: the writer may have finished the record before it made the file or
	// the end mark that the listing shows.
	found, err := step()
	if err != nil || found == whole {
		return true, err
	}
	return r.next(found, l)
}

// seek brings the cursor to position from.
func (r *Reader) seek(from uint64) error {
	c := &r.cursor
	if c.file != nil && from >= c.first {
		if from < c.pos {
			c.rewind()
		}
		if _, err := c.skip(from); err != nil || c.pos == from {
			return err
		}
	}
	if err := r.locate(from); err != nil {
		return err
	}
	skip := func() (check, error) { return c.skip(from) }
	for {
		if _, err := skip(); err != nil || c.pos == from {
			return err
		}
		moved, err := r.move(skip)
		if errors.Is(err, io.EOF) || err == nil && !moved {
			return r.outside(from, c.first)
		}
		if err != nil {
			return err
		}
	}
}

// locate opens the file that should hold position from.
func (r *Reader) locate(from uint64) error {
	for {
		l, err := r.dir.list(r.lane)
		if err != nil {
			return err
		}
		files := l.files(r.kind)
		if len(files) == 0 {
			return r.usedUp(from, l)
		}
		i, found := slices.BinarySearch(files, from)
		if !found {
			i--
		}
		if i < 0 {
			return r.outside(from, files[0])
		}
		err = r.cursor.open(r.dir, r.lane, r.kind, files[i])
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Trimmed meanwhile: the next listing shows it, or that the lane is gone.
	}
}

// usedUp is the result of reading at from where the log has no file left.
func (r *Reader) usedUp(from uint64, l listing) error {
	if !l.ended {
		return &Error{Lane: r.lane, Kind: r.kind, Pos: from, Err: fmt.Errorf("%w: the log has no file", ErrDamaged)}
	}
	mark, err := r.dir.readMark(r.lane)
	if err != nil {
		return err
	}
	if end := mark.end(r.kind); end != from {
		return r.outside(from, end)
	}
	return io.EOF
}

func (r *Reader) outside(from, first uint64) error {
	return &Error{Lane: r.lane, Kind: r.kind, Pos: from, First: first, Err: ErrPosition}
}
