package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"sort"

	"github.com/stelelog/stele/internal/record"
)

// Directory is section 4 of a proof: it finds the runs of a scope without the index.
type Directory struct {
	tops   []byte   // digest of each chunk's list of digests
	prints []uint64 // fingerprint of each run's scope
	shift  int
}

// ParseDirectory reads section 4.
func ParseDirectory(b []byte) (*Directory, error) {
	if len(b) < 4 {
		return nil, bad(objProof, len(b), "the directory of scopes ends early")
	}
	n := int(le.Uint32(b))
	chunks := (n + chunkRuns - 1) / chunkRuns
	if len(b) < 4+cutDigest*chunks+n {
		return nil, bad(objProof, len(b), "a directory of %d runs ends early", n)
	}
	d := &Directory{tops: b[4:][:cutDigest*chunks], prints: make([]uint64, n), shift: printShift(n)}
	at, last := 4+cutDigest*chunks, uint64(0)
	for i := range d.prints {
		v, size := uvarint(b[at:])
		if size == 0 || v > ^uint64(0)>>d.shift-last {
			return nil, bad(objProof, at, "run %d has no fingerprint", i)
		}
		last += v
		d.prints[i] = last
		at += size
	}
	if at != len(b) {
		return nil, bad(objProof, at, "bytes after the directory of scopes")
	}
	return d, nil
}

// uvarint reads a number in its shortest form; size is 0 if there is none.
func uvarint(b []byte) (v uint64, size int) {
	v, size = binary.Uvarint(b)
	if size <= 0 || size > 1 && b[size-1] == 0 {
		return 0, 0
	}
	return v, size
}

// Len is the number of runs.
func (d *Directory) Len() int { return len(d.prints) }

// Find returns the runs that may be of a scope: first up to, and without, end. What it does not return is not.
func (d *Directory) Find(scope [16]byte) (first, end int) {
	p := be.Uint64(scope[:]) >> d.shift
	first = sort.Search(len(d.prints), func(i int) bool { return d.prints[i] >= p })
	for end = first; end < len(d.prints) && d.prints[end] == p; end++ {
	}
	return first, end
}

// Part is a range of a section.
type Part struct{ Off, Len int64 }

// Parts says where in section 6 the group of a run lies, and the list with the digest of that group.
func (d *Directory) Parts(run int) (list, group Part) {
	runs := min(len(d.prints)-run/chunkRuns*chunkRuns, chunkRuns)
	g := run % chunkRuns / groupRuns
	list = Part{int64(run / chunkRuns * chunkSize), int64(cutDigest * groupsOf(runs))}
	group = Part{list.Off + list.Len + int64(g*groupSize), int64(groupHeader + groupItem*min(runs-g*groupRuns, groupRuns))}
	return list, group
}

// Place says where the group of a run says that it is.
type Place struct {
	Part   // in section 7
	Digest [cutDigest]byte
}

// ListFits reports whether list is the one of a run, GroupFits whether group is, if list is.
func (d *Directory) ListFits(run int, list []byte) bool {
	return cutEqual(list, d.tops[run/chunkRuns*cutDigest:][:cutDigest])
}

// GroupFits is described at [Directory.ListFits].
func (d *Directory) GroupFits(run int, list, group []byte) bool {
	return cutEqual(group, list[run%chunkRuns/groupRuns*cutDigest:][:cutDigest])
}

// Place is what a group that fits says of a run. ok is false if the run is of another scope.
func (d *Directory) Place(run int, scope [16]byte, group []byte) (p Place, ok bool) {
	p.Off = int64(le.Uint32(group))
	items := group[groupHeader:]
	for range run % groupRuns {
		p.Off += int64(le.Uint16(items[4:]))
		items = items[groupItem:]
	}
	p.Len = int64(le.Uint16(items[4:]))
	copy(p.Digest[:], items[6:])
	return p, bytes.Equal(items[:4], scope[checkFrom:checkTo])
}

func cutEqual(data, digest []byte) bool {
	sum := sha256.Sum256(data)
	return bytes.Equal(sum[:cutDigest], digest)
}

// RunRow is what a run says of a leaf.
type RunRow struct {
	Leaf      uint32 // counted from the segment's first
	Type      record.Type
	Kind      uint8
	Flags     uint8
	Seq       uint64
	Time      int64
	ID        [16]byte
	Slot      uint16
	Block     Block
	SameBlock bool // as the row before
}

// ParseRun reads a run. Whether it is true shows [RunDigest].
func ParseRun(b []byte) (rows []RunRow, err error) {
	c := runCursor{b: b}
	for c.at < len(b) && !c.broken {
		start, row := c.at, RunRow{}
		leaf := c.uint(1<<32 - 1)
		if len(rows) > 0 {
			c.broken = c.broken || leaf == 0
			leaf += uint64(rows[len(rows)-1].Leaf)
		}
		row.Leaf, row.Seq = uint32(leaf), c.uint(1<<64-1)
		two := c.bytes(2)
		tag := two[0]
		row.Type, row.Kind, row.SameBlock, row.Flags = record.Type(tag&3), tag>>2&7, tag&sameBlock != 0, two[1]
		row.Time = int64(le.Uint64(c.bytes(8)))
		row.ID = [16]byte(c.bytes(16))
		c.place(&row, rows)
		if c.broken || leaf >= 1<<32 || tag >= 2*sameBlock || !hasBlock(row.Type) || len(rows) == runRows {
			return nil, bad(objProof, start, "row %d of a run is damaged", len(rows))
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, bad(objProof, 0, "a run without rows")
	}
	return rows, nil
}

// place reads where the block of a row lies.
func (c *runCursor) place(row *RunRow, before []RunRow) {
	if !row.SameBlock {
		row.Slot = uint16(c.uint(1<<16 - 1))
		row.Block.First = row.Seq - c.uint(1<<16-1)
		row.Block.Offset = le.Uint32(c.bytes(4))
		row.Block.Length = uint32(c.uint(1<<32 - 1))
		return
	}
	if len(before) == 0 {
		c.broken = true
		return
	}
	last := &before[len(before)-1]
	row.Slot, row.Block = last.Slot+1, last.Block
}

// runCursor reads a run. What lies outside is zero and sets broken.
type runCursor struct {
	b      []byte
	at     int
	broken bool
}

func (c *runCursor) uint(most uint64) uint64 {
	v, size := uvarint(c.b[c.at:])
	c.at += size
	c.broken = c.broken || size == 0 || v > most
	return v
}

func (c *runCursor) bytes(n int) []byte {
	if n > len(c.b)-c.at {
		c.broken = true
		return make([]byte, n)
	}
	c.at += n
	return c.b[c.at-n : c.at]
}

// RunDigest is the digest of a run. rest is, for each row, the digest of its block, but for rows in the block of the row
// before, and the commitment.
func RunDigest(scope [16]byte, run, rest []byte) (digest [cutDigest]byte) {
	h := sha256.New()
	h.Write(scope[:])
	h.Write(run)
	h.Write(rest)
	copy(digest[:], h.Sum(nil))
	return digest
}

// RunMaker makes anew what sections 4, 6 and 7 of a proof have to be. It reuses its memory; the zero RunMaker is ready.
type RunMaker struct {
	list           scopeList
	order          scopeOrder
	runs           runWriter
	scopes, groups []byte
}

// Make returns the sections that belong to an index. They are valid until the next call. It fails if the index names a
// scope twice.
func (m *RunMaker) Make(x *Index) (scopes, groups, runs []byte, err error) {
	m.list.reset()
	keys := x.ids[colScope]
	for _, id := range keys {
		m.list.add(id)
	}
	m.list.finish()
	if len(m.list.keys) != len(keys) {
		return nil, nil, nil, bad(objIndex, 0, "a scope is in the dictionary twice")
	}
	m.order.start(m.list.sorted)
	for _, b := range x.Batches {
		m.order.count(b.column[colType], b.column[colScope])
	}
	for _, b := range x.Batches {
		m.order.place(b.column[colType], b.column[colScope])
	}
	m.order.write(&m.runs, m.list.sorted, keys, func(row uint32) ([][]byte, int) {
		b, i := x.Row(int(row))
		return b.column, i
	})
	m.groups = m.runs.appendGroups(grow(m.groups[:0], m.runs.size()))
	m.scopes = m.runs.appendScopes(m.scopes[:0], m.groups)
	return m.scopes, m.groups, m.runs.runs, nil
}
