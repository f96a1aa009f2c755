package logpipe

import (
	"bytes"
	"crypto/ed25519"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stelelog/stele/internal/chatjson"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/merkle"
)

const (
	targetFrame = 440 << 10 // estimated bytes at which a frame is closed
	maxPlain    = 3 << 20   // plaintext in a frame, so that no block passes its own limit
	maxUnits    = 60_000
	maxStrings  = 240
	unitBytes   = 100 // of a row and its share of a block
	scopeBytes  = 320 // of an entry and a block
	frameBytes  = 2 << 10
)

// unit is one leaf in the making.
type unit struct {
	leaf     record.Leaf
	scope    *scope // nil: a leaf of the stream itself
	fields   seal.Fields
	parts    []seal.Part
	captured int // 1 for a captured record

	trace, more []byte
	attrs       bytes.Buffer
}

// sealer turns captured records into signed frames. It belongs to the sealing goroutine of its stream.
type sealer struct {
	at      seal.Place
	key     ed25519.PrivateKey
	cert    *keyscope.Cert
	packing seal.Packing
	codec   *seal.Codec
	scopes  *scopes
	redact  func(*Record) error
	now     func() time.Time
	emit    func(*item)                               // takes what was sealed, in order
	lost    func(class string, when int64, err error) // a record that could not be sealed
	undo    func(*unit)                               // a leaf of the stream itself that could not be sealed
	flushed func()                                    // nothing that was added is referred to any more

	ids  *rand.ChaCha8 // for records that came without one
	next uint64        // seq of the first unit
	head merkle.Hash

	units   []*unit
	free    []*unit
	plain   int
	size    float64
	ratio   float64 // of sealed to plain bytes, from earlier frames
	strings map[string]struct{}
	epoch   uint64 // counts frames that failed
	drafts  uint64 // counts frames

	entry   entry
	layout  layout
	classes map[string]string
	draft   frame.Draft
	blocks  []*seal.Block
	sealed  []byte
}

func (w *sealer) init() {
	w.size = frameBytes
	w.layout.w = w
	w.ratio = 1
	w.strings = map[string]struct{}{}
	w.classes = map[string]string{}
	var seed [32]byte
	crand.Read(seed[:])
	w.ids = rand.NewChaCha8(seed)
}

// unit returns an empty unit.
func (w *sealer) unit() *unit {
	if n := len(w.free) - 1; n >= 0 {
		u := w.free[n]
		w.free = w.free[:n]
		return u
	}
	return &unit{}
}

// A unit is kept with its buffers if these are small.
const (
	keepUnits = 4096
	keepBytes = 2 << 10
	keepParts = 64
)

// drop gives a unit back.
func (w *sealer) drop(u *unit) {
	if len(w.free) >= keepUnits || u.attrs.Cap() > keepBytes || cap(u.parts) > keepParts || cap(u.fields.Body) > keepParts {
		return
	}
	u.attrs.Reset()
	clear(u.parts)
	clear(u.fields.Body)
	*u = unit{fields: seal.Fields{Body: u.fields.Body[:0]}, parts: u.parts[:0], trace: u.trace[:0], more: u.more[:0], attrs: u.attrs}
	w.free = append(w.free, u)
}

var errFrameLost = errors.New("the frame could not be sealed")

// add gives u the next seq, after closing the frame if u does not fit into it any more. The bytes that u refers to must
// stay until flush returns. An error says that the frame before, and with it whatever u refers to, was lost.
func (w *sealer) add(u *unit, plain int) (seq uint64, err error) {
	if w.full(u, plain) {
		epoch := w.epoch
		w.flush()
		if w.epoch != epoch {
			w.drop(u)
			return 0, errFrameLost
		}
	}
	seq = w.next + uint64(len(w.units))
	if u.scope != nil {
		u.leaf.Commitment = u.scope.keys.Commit(seq, &u.fields)
	}
	w.units = append(w.units, u)
	w.note(u.leaf.Class)
	for _, s := range u.leaf.Clear {
		w.note(s)
	}
	w.plain += plain
	w.size += w.estimate(u, plain)
	if u.scope != nil {
		u.scope.draft = w.drafts
	}
	return seq, nil
}

func (w *sealer) note(s string) {
	if _, ok := w.strings[s]; !ok {
		w.strings[s] = struct{}{}
	}
}

func (w *sealer) estimate(u *unit, plain int) float64 {
	n := unitBytes + float64(len(u.leaf.Detail)) + w.ratio*float64(plain)
	if u.scope != nil && u.scope.draft != w.drafts {
		n += scopeBytes
	}
	return n
}

func (w *sealer) full(u *unit, plain int) bool {
	return len(w.units) > 0 && (w.size+w.estimate(u, plain) > targetFrame || w.plain+plain > maxPlain ||
		len(w.units) >= maxUnits || len(w.strings) >= maxStrings)
}

// record seals the record at the front of b and returns the rest. What fails, or panics, is declared as lost.
func (w *sealer) record(b []byte) (rest []byte) {
	rest = w.entry.decode(b)
	if w.entry.id == (ID{}) {
		w.ids.Read(w.entry.id[:])
	}
	class := w.class(w.entry.class)
	defer func() {
		if v := recover(); v != nil {
			w.lost(class, w.entry.time, fmt.Errorf("panic: %v", v))
		}
	}()
	if err := w.prepare(&w.entry, class); err != nil {
		w.lost(class, w.entry.time, err)
	}
	return rest
}

// class returns the name as a string, made once.
func (w *sealer) class(name []byte) string {
	if len(name) == 0 {
		return defaultClass
	}
	s, ok := w.classes[string(name)]
	if !ok {
		if len(w.classes) >= 1024 {
			clear(w.classes)
		}
		s = string(name)
		w.classes[s] = s
	}
	return s
}

// prepare makes the unit of an entry, and units for its pieces.
func (w *sealer) prepare(e *entry, class string) error {
	if w.redact != nil {
		redactEntry(e, w.redact)
		class = w.class(e.class)
	}
	if len(e.class) > 0 && class == defaultClass {
		e.flags |= record.NamedClass
	}
	e.class = []byte(class)
	sc, err := w.scopes.get(e, class, w.now())
	if err != nil {
		return err
	}
	e.splitBody()
	l := &w.layout
	l.reset(e, sc)
	if err := l.place(); err != nil {
		return err
	}
	u := w.unit()
	if err := u.fill(e, sc, l); err != nil {
		w.drop(u)
		return err
	}
	plain := len(u.fields.CallerID) + len(u.fields.Attributes) + len(u.fields.ContentType) + len(u.trace) + 8*len(u.parts) + l.inline
	return w.finish(u, l, plain)
}

// finish adds the unit of a record, whose seq the distances of its parts depend on.
func (w *sealer) finish(u *unit, l *layout, plain int) error {
	seq, err := w.add(u, plain)
	if err != nil {
		return err
	}
	for i, target := range l.targets {
		if k := u.parts[i].Kind; k == seal.Reference || k == seal.Piece {
			u.parts[i].Distance = seq - target
		}
	}
	for _, f := range l.fresh {
		l.scope.parts.add(f.sum, place{seq, f.number})
	}
	return nil
}

// fill makes the leaf and the sealed fields of a captured record.
func (u *unit) fill(e *entry, sc *scope, l *layout) error {
	u.scope, u.captured = sc, 1
	u.parts = append(u.parts, l.stored...)
	size := 0
	for i := range e.parts {
		if !e.parts[i].outside && len(e.parts[i].data) > 0 {
			u.fields.Body = append(u.fields.Body, e.parts[i].data)
			size += len(e.parts[i].data)
		}
	}
	var facts record.Facts
	if len(e.attrs) > 0 {
		u.fields.Attributes = e.attrs
		if !chatjson.IsPlain(e.attrs) { // what is plain is compact
			if err := record.CompactAttributes(&u.attrs, e.attrs); err != nil {
				return err
			}
			u.fields.Attributes = u.attrs.Bytes()
		}
		facts = record.ReadFacts(u.fields.Attributes)
		if bytes.Contains(u.fields.Attributes, []byte(`"stele.body.truncated":true`)) {
			e.flags |= record.CutAtSource
		}
	}
	u.trace = seal.AppendTrace(u.trace, e.trace, e.span, e.parent)
	if e.zone != 0 {
		u.more = seal.AppendZone(u.more, int(e.zone)-1440)
	}
	u.fields.CallerID, u.fields.ContentType, u.fields.Trace, u.fields.More = e.callerID, e.contentType, u.trace, u.more
	if e.time < 0 {
		e.flags |= record.BeforeEpoch
	}
	u.leaf = record.Leaf{Type: record.Plain, Kind: uint8(e.kind), Flags: e.flags, ID: e.id, Time: e.time,
		Scope: sc.id, Class: sc.class, Clear: facts.Clear}
	u.leaf.Buckets = [4]uint8{record.Bucket(uint64(size)), record.Bucket(facts.InputTokens),
		record.Bucket(facts.OutputTokens), record.Bucket(facts.DurationUS)}
	return nil
}

// own adds a leaf of the stream itself.
func (w *sealer) own(t record.Type, class string, detail []byte) error {
	u := w.unit()
	u.leaf = record.Leaf{Type: t, Time: w.now().UnixNano(), Class: class, Detail: detail}
	_, err := w.add(u, 0)
	return err
}

// seq is the next seq to be given.
func (w *sealer) seq() uint64 { return w.next + uint64(len(w.units)) }
