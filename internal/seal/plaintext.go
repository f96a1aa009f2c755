package seal

import (
	"errors"
	"fmt"
	"iter"
)

// Plaintext is the parsed plaintext of one block. All byte slices lie inside the bytes that were parsed.
type Plaintext struct {
	HasScope                 bool // whether the block has a scope header
	Tenant, Subject, Session []byte
	Records                  []Record // by slot
}

// Record is one record of a block, without its place in the stream, which is in the leaf.
type Record struct {
	CallerID, Trace, Attributes, ContentType, More []byte

	count int
	parts []byte
}

// Parts yields the parts of the body in order. It walks the bytes anew each time: whoever looks up parts by number
// collects them first.
func (r *Record) Parts() iter.Seq[Part] {
	return func(yield func(Part) bool) {
		c := cursor{what: "part", data: r.parts}
		for range r.count {
			if !yield(c.part()) {
				return
			}
		}
	}
}

// Parse reads a plaintext and keeps the memory of earlier calls. Everything is checked here, so the parts of a record
// parse without an error later. It takes time linear in len(data) and at most 32 MiB for the records. After an error,
// which is a [FormatError], p is not to be used.
func (p *Plaintext) Parse(data []byte) error {
	*p = Plaintext{Records: p.Records[:0]}
	c := cursor{what: "plaintext", data: data}
	if len(data) > maxPlaintext {
		c.fail(0, fmt.Errorf("%d bytes, the limit is %d", len(data), maxPlaintext))
	}
	if v := c.u8(); c.err == nil && v != version {
		c.fail(0, fmt.Errorf("%w: %d", ErrVersion, v))
	}
	flags := c.u8()
	if flags&^flagScope != 0 {
		c.fail(1, fmt.Errorf("unknown flags %#02x", flags))
	}
	if flags&flagScope != 0 {
		p.HasScope = true
		p.Tenant, p.Subject, p.Session = c.b16(), c.b16(), c.b16()
	}
	if c.err == nil && !c.more() {
		c.fail(c.off, errors.New("block without a record"))
	}
	for c.more() {
		if len(p.Records) == maxRecords {
			c.fail(c.off, fmt.Errorf("more than %d records", maxRecords))
			break
		}
		p.Records = append(p.Records, c.record())
	}
	return c.err
}

func (c *cursor) record() (r Record) {
	r.CallerID, r.Trace, r.Attributes, r.ContentType, r.More = c.bv(), c.bv(), c.bv(), c.bv(), c.bv()
	start := c.off
	n := c.uv()
	if n > MaxParts {
		c.fail(start, fmt.Errorf("%d parts in a record, at most %d may be", n, MaxParts))
	}
	start = c.off
	for i := uint64(0); i < n && c.err == nil; i++ {
		at := c.off
		if p := c.part(); c.err == nil {
			if err := p.check(); err != nil {
				c.fail(at, err)
			}
		}
	}
	if c.err != nil {
		return Record{}
	}
	r.count = int(n)
	r.parts = c.data[start:c.off:c.off]
	return r
}

// part reads one part. An unknown kind takes no more bytes; check refuses it.
func (c *cursor) part() (p Part) {
	p.Kind = PartKind(c.u8())
	switch p.Kind {
	case Literal:
		p.Data = c.bv()
	case Reference:
		p.Distance, p.Number = c.uv(), c.uv()
	case Outside:
		copy(p.Hash[:], c.take(32))
		p.Size, p.MediaType, p.URI = c.uv(), c.bv(), c.bv()
	case Piece:
		p.Distance = c.uv()
	}
	return p
}
