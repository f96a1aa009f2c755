package keytrie

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/stelelog/stele/merkle"
)

const (
	packMagic  = "STLK"
	packHeader = 32

	// MaxPack is the largest pack in bytes.
	MaxPack = 1 << 30
)

// Writer encrypts nodes and lays them into packs. It is not safe for concurrent use.
type Writer struct {
	archive [16]byte
	next    uint64
	limit   int
	rand    *bufio.Reader
	put     func(number uint64, pack []byte) error
	buf     []byte
	err     error
	tally   Tally
	fresh   [KeySize]byte // key that is being made
	aad     []byte
}

// Tally counts what a Writer has written.
type Tally struct {
	Nodes, Bytes int
}

// NewWriter makes packs from number next on, and begins another when one has limit bytes. Each finished pack goes to
// put, which keeps the bytes. Node keys come from rand, which MUST be unpredictable and never give the same bytes again.
func NewWriter(archive [16]byte, next uint64, limit int, rand io.Reader, put func(number uint64, pack []byte) error) *Writer {
	return &Writer{archive: archive, next: next, limit: min(limit, MaxPack-2*maxNode), rand: bufio.NewReaderSize(rand, 4096), put: put}
}

// Close finishes the last pack. Only then do the roots that were made with w lead anywhere.
func (w *Writer) Close() error {
	if w.err == nil && len(w.buf) > 0 {
		w.err = w.put(w.next, w.buf)
		w.next++
		w.buf = nil
	}
	return w.err
}

// Next is the number of the first pack that w has not begun.
func (w *Writer) Next() uint64 {
	if len(w.buf) > 0 {
		return w.next + 1
	}
	return w.next
}

// Pack is the number of the pack that the next node goes into, unless that one is full by then.
func (w *Writer) Pack() uint64 { return w.next }

// Tally is what was written so far.
func (w *Writer) Tally() Tally { return w.tally }

// key makes a node key.
func (w *Writer) key() ([KeySize]byte, error) {
	if _, err := io.ReadFull(w.rand, w.fresh[:]); err != nil {
		return [KeySize]byte{}, fmt.Errorf("keytrie: random bytes for a node key: %w", err)
	}
	return w.fresh, nil
}

// add writes n under a key, and fills in its commitment.
func (w *Writer) add(n *node, hidden bool, r *Root) error {
	if w.err == nil && len(w.buf) >= w.limit {
		w.err = w.Close()
	}
	if w.err != nil {
		return w.err
	}
	if len(w.buf) == 0 {
		w.buf = appendPackHeader(w.buf, w.archive, w.next)
	}
	if cap(w.buf)-len(w.buf) < 2*maxNode {
		w.buf = slices.Grow(w.buf, max(2*maxNode, len(w.buf))) // twice as much: it would grow by a quarter otherwise
	}
	aead, err := nodeCipher(&r.Key)
	if err != nil {
		return err
	}
	begin := len(w.buf)
	buf := n.appendShape(w.buf, hidden)
	if !hidden {
		r.Hash = commit(buf[begin:])
	}
	buf = n.appendLinks(buf, hidden)
	sealed := begin
	if !hidden {
		sealed = len(buf)
	}
	buf = n.appendSecret(buf, hidden)
	w.aad = appendNodeAAD(w.aad[:0], w.archive, &r.Hash)
	buf = aead.Seal(buf[:sealed], zeroNonce[:], buf[sealed:], w.aad)
	r.Link = Link{Pack: w.next, Offset: uint64(begin), Clear: uint32(sealed - begin), Sealed: uint32(len(buf) - sealed)}
	w.buf = buf
	w.tally.Nodes++
	w.tally.Bytes += len(buf) - begin
	return nil
}

func appendPackHeader(dst []byte, archive [16]byte, number uint64) []byte {
	dst = append(append(dst, packMagic...), 1, 0, 0, 0)
	return binary.LittleEndian.AppendUint64(append(dst, archive[:]...), number)
}

// CheckPack refuses bytes that are no pack of the archive under this number. It does not look at nodes.
func CheckPack(archive [16]byte, number uint64, pack []byte) error {
	if len(pack) < packHeader || string(pack[:packHeader]) != string(appendPackHeader(nil, archive, number)) {
		return fmt.Errorf("keytrie: this is not pack %d of the archive", number)
	}
	return nil
}

// zeroNonce serves keys that encrypt once.
var zeroNonce [12]byte

func nodeCipher(key *[KeySize]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func appendNodeAAD(dst []byte, archive [16]byte, hash *merkle.Hash) []byte {
	return append(append(append(dst, "stele/node/v1"...), archive[:]...), hash[:]...)
}
