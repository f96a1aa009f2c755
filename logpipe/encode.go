package logpipe

import (
	"encoding/binary"
	"math"
)

// A record in an arena: a fixed head, then the values one after the other. The layout lives no longer than the arena.
const (
	headLen  = 60
	noParts  = math.MaxUint32
	partHead = 5
	outHead  = 1 + 32 + 8 + 4 + 4

	partLiteral = 0
	partOutside = 1
)

var le = binary.LittleEndian

// sizeOf is the exact length of the encoding of r.
func sizeOf(r *Record) int {
	n := headLen + len(r.Class) + len(r.TraceID) + len(r.SpanID) + len(r.ParentID) + len(r.Tenant) + len(r.Subject) +
		len(r.Session) + len(r.ContentType) + len(r.CallerID) + len(r.Attributes) + len(r.Body)
	for i := range r.Parts {
		p := &r.Parts[i]
		if p.URI == "" {
			n += partHead + len(p.Data)
		} else {
			n += outHead + len(p.MediaType) + len(p.URI)
		}
	}
	return n
}

// stamp is what the pipe adds to a record.
type stamp struct {
	id    ID // zero: to be made when the record is sealed
	time  int64
	zone  uint16 // 0: Z, else minutes + 1,440
	flags uint8
	clock bool // time is to be that of the arena
}

// encodeRecord writes r, which was checked, to dst, which has just the size of it. It returns how many bytes it wrote. If
// the record was changed meanwhile that is another number, or a panic: nothing that decode could stumble over.
func encodeRecord(dst []byte, r *Record, s *stamp) (n int) {
	h := dst[:headLen:headLen]
	le.PutUint32(h[0:], uint32(len(dst)))
	h[4], h[5] = byte(r.Kind), s.flags
	le.PutUint16(h[6:], s.zone)
	le.PutUint64(h[8:], uint64(s.time))
	copy(h[16:32], s.id[:])
	h[32], h[33], h[34], h[35] = byte(len(r.Class)), byte(len(r.TraceID)), byte(len(r.SpanID)), byte(len(r.ParentID))
	le.PutUint16(h[36:], uint16(len(r.Tenant)))
	le.PutUint16(h[38:], uint16(len(r.Subject)))
	le.PutUint16(h[40:], uint16(len(r.Session)))
	le.PutUint16(h[42:], uint16(len(r.ContentType)))
	le.PutUint32(h[44:], uint32(len(r.CallerID)))
	le.PutUint32(h[48:], uint32(len(r.Attributes)))
	le.PutUint32(h[52:], noParts)
	le.PutUint32(h[56:], uint32(len(r.Body)))
	parts := r.Parts
	if len(parts) > 0 {
		le.PutUint32(h[52:], uint32(len(parts)))
	}
	n = headLen
	n += put(dst, n, r.Class)
	n += put(dst, n, r.TraceID)
	n += put(dst, n, r.SpanID)
	n += put(dst, n, r.ParentID)
	n += put(dst, n, r.Tenant)
	n += put(dst, n, r.Subject)
	n += put(dst, n, r.Session)
	n += put(dst, n, r.ContentType)
	n += put(dst, n, r.CallerID)
	if len(r.Attributes) > 0 {
		n += copy(dst[n:], r.Attributes)
	}
	n += copy(dst[n:], r.Body)
	if n != valuesEnd(h) {
		return -1
	}
	if len(parts) > 0 {
		rest := dst[n:n]
		for _, p := range parts {
			rest = appendPart(rest, &p)
		}
		n += len(rest)
	}
	return n
}

// valuesEnd is where the values end that a head announces; the parts follow.
func valuesEnd(h []byte) int {
	return headLen + int(h[32]) + int(h[33]) + int(h[34]) + int(h[35]) + int(le.Uint16(h[36:])) + int(le.Uint16(h[38:])) +
		int(le.Uint16(h[40:])) + int(le.Uint16(h[42:])) + int(le.Uint32(h[44:])) + int(le.Uint32(h[48:])) + int(le.Uint32(h[56:]))
}

// put copies a name to dst[n:]. Most are empty, which is quicker seen than copied.
func put(dst []byte, n int, s string) int {
	if s == "" {
		return 0
	}
	return copy(dst[n:], s)
}

func appendPart(dst []byte, p *Part) []byte {
	if p.URI == "" {
		dst = append(dst, partLiteral)
		dst = le.AppendUint32(dst, uint32(len(p.Data)))
		return append(dst, p.Data...)
	}
	dst = append(dst, partOutside)
	dst = append(dst, p.SHA256[:]...)
	dst = le.AppendUint64(dst, uint64(p.Size))
	dst = le.AppendUint32(dst, uint32(len(p.MediaType)))
	dst = le.AppendUint32(dst, uint32(len(p.URI)))
	dst = append(dst, p.MediaType...)
	return append(dst, p.URI...)
}

// entry is a record as it lies in an arena. All slices point into it.
type entry struct {
	stamp
	kind                               Kind
	class, trace, span, parent         []byte
	tenant, subject, session           []byte
	contentType, callerID, attrs, body []byte
	parts                              []entryPart
}

// entryPart is a part of the body of an entry: literal bytes, or outside.
type entryPart struct {
	data    []byte
	outside bool
	sum     [32]byte
	size    uint64
	media   []byte
	uri     []byte
}

// decode reads the entry at the front of b and returns the rest. The memory of e.parts is used again.
func (e *entry) decode(b []byte) (rest []byte) {
	size := le.Uint32(b)
	rest, b = b[size:], b[:size:size]
	h := b[:headLen]
	*e = entry{parts: e.parts[:0], kind: Kind(h[4])}
	e.flags, e.zone, e.time = h[5], le.Uint16(h[6:]), int64(le.Uint64(h[8:]))
	e.id = ID(h[16:32])
	b = b[headLen:]
	take := func(n uint32) (v []byte) {
		v, b = b[:n:n], b[n:]
		return v
	}
	e.class, e.trace, e.span, e.parent = take(uint32(h[32])), take(uint32(h[33])), take(uint32(h[34])), take(uint32(h[35]))
	e.tenant, e.subject = take(uint32(le.Uint16(h[36:]))), take(uint32(le.Uint16(h[38:])))
	e.session, e.contentType = take(uint32(le.Uint16(h[40:]))), take(uint32(le.Uint16(h[42:])))
	e.callerID, e.attrs = take(le.Uint32(h[44:])), take(le.Uint32(h[48:]))
	e.body = take(le.Uint32(h[56:]))
	if n := le.Uint32(h[52:]); n != noParts {
		for range n {
			e.parts = append(e.parts, decodePart(take))
		}
	}
	return rest
}

func decodePart(take func(uint32) []byte) (p entryPart) {
	if take(1)[0] == partLiteral {
		p.data = take(le.Uint32(take(4)))
		return p
	}
	p.outside = true
	copy(p.sum[:], take(32))
	p.size = le.Uint64(take(8))
	media, uri := le.Uint32(take(4)), le.Uint32(take(4))
	p.media, p.uri = take(media), take(uri)
	return p
}
