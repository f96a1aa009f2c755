package logpipe

import (
	"crypto/sha256"

	"github.com/stelelog/stele/internal/chatjson"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
)

const (
	minShared = 64        // bytes from which a part is worth a reference
	maxInline = 256 << 10 // literal bytes of a body in one record; what is more goes into pieces
	minSplit  = 256       // bytes from which a body is looked at for messages
)

// place is where a literal part of a scope lies.
type place struct {
	seq    uint64
	number uint32
}

// partTable knows the literal parts of a scope that were sealed, by their SHA-256.
type partTable struct {
	places map[[32]byte]place
	room   *int // entries that all tables of a stream may still take
}

func (t *partTable) find(sum [32]byte) (place, bool) {
	p, ok := t.places[sum]
	return p, ok
}

// add notes a part, unless there is no room: then it will be literal again.
func (t *partTable) add(sum [32]byte, p place) {
	if *t.room == 0 {
		return
	}
	if t.places == nil {
		t.places = map[[32]byte]place{}
	}
	if _, ok := t.places[sum]; !ok {
		*t.room--
	}
	t.places[sum] = p
}

// forget gives the room back.
func (t *partTable) forget() {
	*t.room += len(t.places)
	t.places = nil
}

// splitBody cuts a chat request at its messages, because the client sends them again with the next one, and an answer
// around its content, because it comes back as one of them.
func (e *entry) splitBody() {
	if len(e.parts) > 0 || len(e.body) == 0 {
		return
	}
	parts := [][]byte{e.body}
	if len(e.body) >= minSplit && e.body[0] <= '{' {
		switch e.kind {
		case Input:
			parts = chatjson.ParseRequest(e.body).Parts
		case Output:
			parts = chatjson.ResponseParts(e.body)
		}
	}
	for _, p := range parts {
		e.parts = append(e.parts, entryPart{data: p})
	}
}

// layout turns the parts of a body into what is stored: literals, references to earlier literals, and pieces for what
// does not fit into one record.
type layout struct {
	w       *sealer
	e       *entry
	scope   *scope
	inline  int
	shared  bool   // parts are worth remembering
	run     []byte // literals that will be stored together
	stored  []seal.Part
	targets []uint64 // seq of what each reference and piece in stored refers to
	fresh   []freshPart
	err     error
}

// freshPart is a literal that can be referred to once the record has its seq.
type freshPart struct {
	sum    [32]byte
	number uint32
}

// reset keeps the memory of an earlier record.
func (l *layout) reset(e *entry, s *scope) {
	*l = layout{w: l.w, e: e, scope: s, shared: len(e.parts) > 1, stored: l.stored[:0], targets: l.targets[:0], fresh: l.fresh[:0]}
}

// place fills l.stored. Pieces become items of their own as they are met.
func (l *layout) place() error {
	for i := range l.e.parts {
		p := &l.e.parts[i]
		if p.outside {
			l.flushRun()
			l.add(seal.Part{Kind: seal.Outside, Hash: p.sum, Size: p.size, MediaType: p.media, URI: p.uri}, 0)
		} else if len(p.data) > 0 {
			l.literal(p.data)
		}
	}
	l.flushRun()
	return l.err
}

func (l *layout) add(p seal.Part, target uint64) {
	l.stored = append(l.stored, p)
	l.targets = append(l.targets, target)
}

func (l *layout) literal(data []byte) {
	shared := l.shared && len(data) >= minShared && len(data) <= maxInline
	var sum [32]byte
	if shared {
		sum = sha256.Sum256(data)
		if at, ok := l.scope.parts.find(sum); ok {
			l.flushRun()
			l.add(seal.Part{Kind: seal.Reference, Number: uint64(at.number)}, at.seq)
			return
		}
	}
	switch {
	case l.inline+len(data) <= maxInline && len(l.run) == 0:
		if shared {
			l.fresh = append(l.fresh, freshPart{sum, uint32(len(l.stored))})
		}
		l.add(seal.Part{Kind: seal.Literal, Data: data}, 0)
		l.inline += len(data)
	case shared && len(data) >= minAlone:
		l.flushRun()
		if seq := l.piece(data); l.err == nil {
			l.scope.parts.add(sum, place{seq, 0})
		}
	default:
		l.join(data)
	}
}

// minAlone is the size in bytes from which a part that does not fit into its record is a piece of its own, so that it
// can be referred to.
const minAlone = 16 << 10

// join adds data to the run, and makes pieces of what is whole.
func (l *layout) join(data []byte) {
	for len(l.run) == 0 && len(data) >= maxInline {
		l.piece(data[:maxInline])
		data = data[maxInline:]
	}
	l.run = append(l.run, data...)
	for len(l.run) >= maxInline {
		l.piece(l.run[:maxInline])
		l.run = l.run[maxInline:]
	}
}

// flushRun ends a run.
func (l *layout) flushRun() {
	if len(l.run) > 0 {
		l.piece(l.run)
		l.run = nil
	}
}

// piece makes a leaf of its own of data and refers to it.
func (l *layout) piece(data []byte) (seq uint64) {
	if l.err != nil {
		return 0
	}
	u := l.w.unit()
	u.scope = l.scope
	u.parts = append(u.parts, seal.Part{Kind: seal.Literal, Data: data})
	u.fields.Body = append(u.fields.Body, data)
	u.leaf = record.Leaf{Type: record.Piece, Kind: uint8(l.e.kind), Flags: l.e.flags &^ (record.ClosesCall | record.NamedClass), ID: l.e.id,
		Time: l.e.time, Scope: l.scope.id, Class: l.scope.class}
	u.leaf.Buckets[0] = record.Bucket(uint64(len(data)))
	seq, l.err = l.w.add(u, len(data))
	l.add(seal.Part{Kind: seal.Piece}, seq)
	return seq
}
