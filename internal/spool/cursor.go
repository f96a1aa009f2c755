package spool

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
)

const scanBytes = 256 << 10

// cursor walks over the records of one log file.
type cursor struct {
	codec codec
	file  *os.File
	first uint64 // position of the first record of the file
	pos   uint64 // position of the next record
	off   int64  // where that record begins
	buf   []byte // what was read last
}

// open makes c walk the file of lane id that begins at first. It keeps the buffer of the file before.
func (c *cursor) open(d *Dir, id [16]byte, kind Kind, first uint64) error {
	c.close()
	f, err := os.Open(d.filePath(id, kind, first))
	if err != nil {
		return &Error{Lane: id, Kind: kind, Pos: first, Err: unreadable(err)}
	}
	c.codec = newCodec(id, kind)
	c.file, c.first, c.pos, c.off = f, first, first, fileHeader
	var header [fileHeader]byte
	n, err := f.ReadAt(header[:], 0)
	if err == nil || errors.Is(err, io.EOF) {
		err = c.codec.checkHeader(header[:n], first)
	}
	if err != nil {
		err = &Error{Lane: id, Kind: kind, File: f.Name(), Pos: first, Err: unreadable(err)}
		c.close()
	}
	return err
}

func (c *cursor) close() {
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
}

// rewind goes back to the first record of the file.
func (c *cursor) rewind() { c.pos, c.off = c.first, fileHeader }

// take reads at most limit bytes (more only if one record is larger) and steps over the whole records in
// them, up to position until. It appends them to out if that is not nil; their payloads lie in the buffer
// and are good until the next take. The result is whole if it got any further, or is at until; else what
// there is instead of a record.
func (c *cursor) take(limit int, until uint64, out *[]Message) (check, error) {
	if c.pos >= until {
		return whole, nil
	}
	b, err := c.peek(limit)
	if err != nil {
		return nothing, c.fail(err)
	}
	from := c.pos
	for c.pos < until {
		n, found := c.codec.record(b, c.pos)
		if found != whole {
			if c.pos > from {
				return whole, nil
			}
			return found, nil
		}
		if out != nil {
			*out = append(*out, message(b[:n], c.pos))
		}
		b = b[n:]
		c.pos++
		c.off += int64(n)
	}
	return whole, nil
}

// peek returns up to limit bytes from the cursor on, and more if the first record is larger.
func (c *cursor) peek(limit int) ([]byte, error) {
	b, err := c.read(max(limit, recordHeader))
	if err != nil || len(b) < max(limit, recordHeader) {
		return b, err
	}
	if n, found := c.codec.record(b, c.pos); found == short {
		return c.read(n)
	}
	return b, nil
}

func (c *cursor) read(n int) ([]byte, error) {
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	b := c.buf[:n]
	n, err := c.file.ReadAt(b, c.off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// skip steps over whole records up to position until. The result is as for take.
func (c *cursor) skip(until uint64) (check, error) {
	for {
		found, err := c.take(scanBytes, until, nil)
		if err != nil || found != whole || c.pos >= until {
			return found, err
		}
	}
}

// torn reports whether what there is at the cursor instead of a record, found, can be the end of an
// unfinished write, if this is the last file of a log that was not ended.
func (c *cursor) torn(found check) (bool, error) {
	if found == nothing || found == short {
		return true, nil
	}
	info, err := c.file.Stat()
	if err != nil {
		return false, c.fail(err)
	}
	size := info.Size()
	zero, err := c.zeroTail(size)
	if err != nil {
		return false, c.fail(err)
	}
	if zero > c.off {
		zero = (zero + sector - 1) / sector * sector
	}
	end := c.off + recordHeader
	if found == badMessage {
		var length [4]byte
		if _, err := c.file.ReadAt(length[:], c.off); err != nil {
			return false, c.fail(err)
		}
		end += int64(binary.LittleEndian.Uint32(length[:]))
	}
	return zero < size && zero < end, nil
}

// zeroTail returns where the zero bytes at the end of the file begin, not before the cursor.
func (c *cursor) zeroTail(size int64) (int64, error) {
	var b [4096]byte
	for size > c.off {
		n := min(int64(len(b)), size-c.off)
		if _, err := c.file.ReadAt(b[:n], size-n); err != nil {
			return 0, err
		}
		for i := n - 1; i >= 0; i-- {
			if b[i] != 0 {
				return size - n + i + 1, nil
			}
		}
		size -= n
	}
	return c.off, nil
}

// fail wraps err with the place of the cursor.
func (c *cursor) fail(err error) error {
	return &Error{Lane: c.codec.lane, Kind: c.codec.kind, File: c.file.Name(), Offset: c.off, Pos: c.pos, Err: unreadable(err)}
}
