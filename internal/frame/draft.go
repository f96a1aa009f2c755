package frame

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/sha256mb"
	"github.com/stelelog/stele/merkle"
)

// Row is a leaf to be framed. Stream, Seq and Digest of the leaf are set by Encode.
type Row struct {
	record.Leaf
	Block int // number in Draft.Blocks, -1 for none
}

// Draft is a frame in the making. It may be reused.
type Draft struct {
	Archive   [16]byte
	Partition uint32
	Stream    [16]byte
	First     uint64
	Prev      merkle.Hash
	Entries   [][]byte
	Rows      []Row
	Blocks    [][]byte // sealed blocks

	strings map[string]uint8
	table   []byte
	scopes  map[[16]byte]uint16
	scopeID [][16]byte
	scratch []byte
	hashes  []merkle.Hash
	digests []merkle.Hash
	batch   batch
	first   []int // of each block, its row of slot 0
}

// Encode appends the frame, signed with the stream key, to dst, and returns it with its head.
func (d *Draft) Encode(dst []byte, key ed25519.PrivateKey) ([]byte, merkle.Hash, error) {
	if err := d.number(); err != nil {
		return dst, merkle.Hash{}, err
	}
	h := Header{Archive: d.Archive, Partition: d.Partition, Count: uint32(len(d.Rows)), Stream: d.Stream,
		First: d.First, Prev: d.Prev, Leaves: d.hashRows(), Entries: entriesRoot(d.Entries)}
	start := len(dst)
	dst = h.append(dst)
	head := merkle.Hash(sha256.Sum256(dst[start:]))
	d.scratch = append(append(d.scratch[:0], context...), dst[start:]...)
	dst = append(dst, ed25519.Sign(key, d.scratch)...)

	lengths := len(dst)
	dst = append(dst, make([]byte, sectionsLen)...)
	for i, section := range [...]func([]byte) []byte{d.putStrings, d.putEntries, d.putRows, d.putDetails, d.putBlocks} {
		at := len(dst)
		dst = section(dst)
		le.PutUint32(dst[lengths+4*i:], uint32(len(dst)-at))
	}
	if n := len(dst) - start; n > MaxLen {
		return dst[:start], head, bad(n, "a frame has at most %d bytes", MaxLen)
	}
	return dst, head, nil
}

// number gives strings and scopes their numbers and finds the first row of each block.
func (d *Draft) number() error {
	if len(d.Rows) == 0 || len(d.Rows) > maxCount {
		return bad(28, "%d leaves, not 1 to %d", len(d.Rows), maxCount)
	}
	if d.strings == nil {
		d.strings, d.scopes = map[string]uint8{}, map[[16]byte]uint16{}
	}
	clear(d.strings)
	clear(d.scopes)
	d.table, d.scopeID, d.first = d.table[:0], d.scopeID[:0], d.first[:0]
	d.strings[""] = 0
	for range d.Blocks {
		d.first = append(d.first, -1)
	}
	for i := range d.Rows {
		r := &d.Rows[i]
		r.Stream, r.Seq = d.Stream, d.First+uint64(i)
		if !d.intern(r.Class) {
			return bad(SignedLen, "more than 255 different strings")
		}
		for _, s := range r.Clear {
			if !d.intern(s) {
				return bad(SignedLen, "more than 255 different strings")
			}
		}
		if r.Block < 0 {
			continue
		}
		if _, ok := d.scopes[r.Scope]; !ok {
			d.scopes[r.Scope] = uint16(len(d.scopeID))
			d.scopeID = append(d.scopeID, r.Scope)
		}
		if r.Slot == 0 {
			d.first[r.Block] = i
		}
	}
	return nil
}

func (d *Draft) intern(s string) bool {
	if _, ok := d.strings[s]; ok {
		return true
	}
	if len(d.strings) > 255 || len(s) > 255 {
		return false
	}
	d.strings[s] = uint8(len(d.strings))
	d.table = append(append(d.table, byte(len(s))), s...)
	return true
}

// hashRows sets the digests and returns the root over the leaves.
func (d *Draft) hashRows() merkle.Hash {
	d.hashes = d.hashes[:0]
	d.digests = slices.Grow(d.digests[:0], len(d.Blocks))[:len(d.Blocks)]
	sha256mb.Sums(d.digests, d.Blocks)
	d.batch.reset()
	for i := range d.Rows {
		r := &d.Rows[i]
		if r.Block >= 0 {
			r.Digest = d.digests[r.Block]
		}
		d.batch.data = r.Append(append(d.batch.data, leafPrefix))
		d.batch.end()
		d.hashes = d.batch.full(d.hashes)
	}
	d.hashes = d.batch.flush(d.hashes)
	return merkle.Root(d.hashes)
}

func (d *Draft) putStrings(dst []byte) []byte {
	return append(append(dst, byte(len(d.strings)-1)), d.table...)
}

func (d *Draft) putEntries(dst []byte) []byte {
	dst = le.AppendUint16(dst, uint16(len(d.Entries)))
	for _, e := range d.Entries {
		dst = append(le.AppendUint16(dst, uint16(len(e))), e...)
	}
	return dst
}

func (d *Draft) putRows(dst []byte) []byte {
	dst = le.AppendUint16(dst, uint16(len(d.scopeID)))
	for i := range d.scopeID {
		dst = append(dst, d.scopeID[i][:]...)
	}
	dst = le.AppendUint16(dst, uint16(len(d.Blocks)))
	for i, b := range d.Blocks {
		dst = le.AppendUint32(dst, uint32(len(b)))
		dst = le.AppendUint16(dst, uint16(d.first[i]))
		dst = le.AppendUint16(dst, d.scopes[d.Rows[d.first[i]].Scope])
	}
	rows := d.Rows
	for _, column := range [...]func([]byte, *Row) []byte{
		func(b []byte, r *Row) []byte { return append(b, byte(r.Type)) },
		func(b []byte, r *Row) []byte { return append(b, r.Kind) },
		func(b []byte, r *Row) []byte { return append(b, r.Flags) },
		func(b []byte, r *Row) []byte { return append(b, d.strings[r.Class]) },
		d.putScope,
		func(b []byte, r *Row) []byte { return append(b, r.ID[:]...) },
		func(b []byte, r *Row) []byte { return le.AppendUint64(b, uint64(r.Time)) },
		func(b []byte, r *Row) []byte { return le.AppendUint16(b, uint16(r.Block)) },
		func(b []byte, r *Row) []byte { return le.AppendUint16(b, r.Slot) },
		func(b []byte, r *Row) []byte { return append(b, r.Commitment[:]...) },
	} {
		for i := range rows {
			dst = column(dst, &rows[i])
		}
	}
	for k := range rows[0].Buckets {
		for i := range rows {
			dst = append(dst, rows[i].Buckets[k])
		}
	}
	for k := range rows[0].Clear {
		for i := range rows {
			dst = append(dst, d.strings[rows[i].Clear[k]])
		}
	}
	for i := range rows {
		dst = le.AppendUint16(dst, uint16(len(rows[i].Detail)))
	}
	return dst
}

func (d *Draft) putScope(dst []byte, r *Row) []byte {
	if r.Block < 0 {
		return le.AppendUint16(dst, noNumber)
	}
	return le.AppendUint16(dst, d.scopes[r.Scope])
}

func (d *Draft) putDetails(dst []byte) []byte {
	for i := range d.Rows {
		dst = append(dst, d.Rows[i].Detail...)
	}
	return dst
}

func (d *Draft) putBlocks(dst []byte) []byte {
	for _, b := range d.Blocks {
		dst = append(dst, b...)
	}
	return dst
}
