package logpipe

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/stelelog/stele/internal/durable"
	"github.com/stelelog/stele/internal/flock"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/merkle"
)

// The tip file of a slot holds two copies of 512 bytes, written in turn, of which the newer whole one counts:
//
//	"STLT" ‖ u8 1 ‖ u8 closed ‖ u8 durability ‖ zero ‖ u64 generation ‖ archive id (16) ‖ stream (16) ‖ u64 last seq ‖ its head (32) ‖ CRC-32C
//
// It is local state, written before the frame that it names is sent: where the stream really ends is for the transport
// and the archive to say.
const (
	tipMagic  = "STLT"
	tipLen    = 8 + 8 + 16 + 16 + 8 + 32 + 4
	tipStride = 512
	maxSlots  = 1024
)

// tip is how far a stream got.
type tip struct {
	archive, stream [16]byte
	seq             uint64
	head            merkle.Hash
	closed          bool
	durability      keyscope.Durability // weakest that the stream promised
}

// slot is the place of one stream in the state directory, held by flock until close.
type slot struct {
	path string
	lock *os.File
	file *os.File
	gen  uint64
	last tip
	have bool // last is the tip of an earlier stream of the archive
}

// openSlot takes the first free slot of a state directory.
func openSlot(dir string, archive [16]byte) (*slot, error) {
	for n := range maxSlots {
		path := filepath.Join(dir, fmt.Sprintf("slot-%d", n))
		if err := durable.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
		lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		held, err := flock.Try(lock)
		if held {
			s := &slot{path: path, lock: lock}
			if err = s.open(archive); err == nil {
				return s, nil
			}
		}
		lock.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("all %d slots are taken", maxSlots)
}

// open reads the tip of the stream before. A tip that is damaged, or of another archive, is none.
func (s *slot) open(archive [16]byte) (err error) {
	s.file, err = os.OpenFile(filepath.Join(s.path, "tip"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	data := make([]byte, 2*tipStride)
	n, err := s.file.ReadAt(data, 0)
	if err != nil && err != io.EOF {
		s.file.Close()
		return err
	}
	for at := 0; at+tipLen <= n; at += tipStride {
		if t, gen, ok := parseTip(data[at : at+tipLen]); ok && gen > s.gen {
			s.gen, s.last, s.have = gen, t, t.archive == archive
		}
	}
	return nil
}

func parseTip(b []byte) (t tip, gen uint64, ok bool) {
	body := b[:tipLen-4]
	if string(b[:4]) != tipMagic || b[4] != 1 || le.Uint32(b[tipLen-4:]) != crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) {
		return t, 0, false
	}
	t.closed, t.durability = b[5] == 1, keyscope.Durability(b[6])
	copy(t.archive[:], b[16:])
	copy(t.stream[:], b[32:])
	t.seq = le.Uint64(b[48:])
	copy(t.head[:], b[56:])
	return t, le.Uint64(b[8:]), true
}

// write notes how far the stream got. It does not sync: what a power failure takes, the transport knows better.
func (s *slot) write(t *tip) error {
	if s == nil {
		return nil
	}
	s.gen++
	b := append(make([]byte, 0, tipLen), tipMagic...)
	closed := byte(0)
	if t.closed {
		closed = 1
	}
	b = append(b, 1, closed, byte(t.durability), 0)
	b = le.AppendUint64(b, s.gen)
	b = append(b, t.archive[:]...)
	b = append(b, t.stream[:]...)
	b = le.AppendUint64(b, t.seq)
	b = append(b, t.head[:]...)
	b = le.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	_, err := s.file.WriteAt(b, int64(s.gen%2)*tipStride)
	return err
}

func (s *slot) close() {
	if s != nil {
		s.file.Sync()
		s.file.Close()
		s.lock.Close()
	}
}
