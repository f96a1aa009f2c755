package backup

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/logpipe"
)

// maxBody bounds a restored body: references can name a large part many times.
const maxBody = 1 << 30

// record opens the record of row i. The error is errErased if its key is gone.
func (r *Reader) record(ctx context.Context, l *openLog, blocks *blockReader, b *segment.Batch, i int, leaf *record.Leaf) (Found, error) {
	at, ok := b.Block(i)
	if !ok {
		return clearFields(leaf), errors.New("the row has no block")
	}
	return r.opened(ctx, l, leaf, at.First, func() ([]byte, error) { return blocks.read(ctx, leaf, at) })
}

// opened opens a record and checks it against its commitment. read gets its block, if that is not known already.
func (r *Reader) opened(ctx context.Context, l *openLog, leaf *record.Leaf, first uint64, read func() ([]byte, error)) (Found, error) {
	f := clearFields(leaf)
	scope, err := r.keyOf(ctx, leaf)
	if err != nil {
		return f, err
	}
	if scope == nil {
		return f, errors.New("the key service said nothing about its key")
	}
	if scope.state == stateErased {
		return f, errErased
	}
	if scope.scope == nil {
		return f, scope.err
	}
	if scope.stream != leaf.Stream {
		return f, fmt.Errorf("no key of its own stream: what lies under the id of its scope was granted by stream %x", scope.stream)
	}
	p := r.bodies.block(leaf.Stream, first)
	if p == nil || int(leaf.Slot) >= len(p.Records) {
		block, err := read()
		if err != nil {
			return f, err
		}
		if p, err = r.openBlock(l, leaf, first, block); err != nil {
			return f, err
		}
	}
	got, err := r.restore(ctx, l, leaf, first, p, &f)
	if err == nil && got != leaf.Commitment {
		err = errors.New("the plaintext is not what the writer committed to")
	}
	return f, err
}

// restore makes a record of its opened block, and the commitment to it; f has the clear fields.
func (r *Reader) restore(ctx context.Context, l *openLog, leaf *record.Leaf, first uint64, p *seal.Plaintext, f *Found) (commitment [32]byte, err error) {
	r.bodies.note(leaf.Stream, leaf.Seq, first, leaf.Slot)
	rec := &p.Records[leaf.Slot]
	body, outside, err := r.body(ctx, l, leaf, rec)
	if err != nil {
		return commitment, err
	}
	commitment = r.scopes[leaf.Scope].of(leaf.Stream).scope.Commit(leaf.Seq, &seal.Fields{Body: body, CallerID: rec.CallerID, Trace: rec.Trace,
		Attributes: rec.Attributes, ContentType: rec.ContentType, More: rec.More})
	return commitment, fill(f, p, rec, body, outside)
}

// clearFields are what a leaf tells without a key.
func clearFields(leaf *record.Leaf) Found {
	f := Found{Stream: hex.EncodeToString(leaf.Stream[:]), Seq: leaf.Seq, Withheld: leaf.Flags&record.Withheld != 0}
	f.ID, f.Kind, f.Time, f.Class = leaf.ID, logpipe.Kind(leaf.Kind), time.Unix(0, leaf.Time).UTC(), leaf.Class
	if f.Class == "default" && leaf.Flags&record.NamedClass == 0 {
		f.Class = ""
	}
	for bit, name := range map[uint8]string{record.Withheld: "withheld", record.BeforeEpoch: "before-1970",
		record.CutAtSource: "cut-at-source"} {
		if leaf.Flags&bit != 0 {
			f.Flags = append(f.Flags, name)
		}
	}
	return f
}

// fill sets the sealed fields.
func fill(f *Found, p *seal.Plaintext, rec *seal.Record, body [][]byte, outside []outsidePart) error {
	f.Tenant, f.Subject, f.Session = string(p.Tenant), string(p.Subject), string(p.Session)
	f.CallerID, f.ContentType = string(rec.CallerID), string(rec.ContentType)
	trace, span, parent, err := seal.ParseTrace(rec.Trace)
	if err != nil {
		return err
	}
	f.TraceID, f.SpanID, f.ParentID = string(trace), string(span), string(parent)
	if len(rec.Attributes) > 0 {
		f.Attributes = bytes.Clone(rec.Attributes)
	}
	minutes, ok, err := seal.ParseZone(rec.More)
	if err != nil {
		return err
	}
	if ok {
		f.Time = f.Time.In(time.FixedZone("", 60*minutes))
	}
	if len(outside) == 0 {
		f.Body = bytes.Join(body, nil)
		return nil
	}
	at := 0
	for _, o := range outside {
		if o.after > at {
			f.Parts = append(f.Parts, logpipe.Part{Data: bytes.Join(body[at:o.after], nil)})
			at = o.after
		}
		f.Parts = append(f.Parts, o.Part)
	}
	if at < len(body) {
		f.Parts = append(f.Parts, logpipe.Part{Data: bytes.Join(body[at:], nil)})
	}
	return nil
}

// outsidePart is a part that is kept elsewhere, and how many pieces of the body stand before it.
type outsidePart struct {
	logpipe.Part
	after int
}

// openBlock opens the block of a leaf, whose slot 0 is at seq first, and keeps it.
func (r *Reader) openBlock(l *openLog, leaf *record.Leaf, first uint64, block []byte) (*seal.Plaintext, error) {
	place := seal.Place{Archive: r.id.Archive, Partition: l.partition, Stream: leaf.Stream, Scope: leaf.Scope, Class: leaf.Class}
	plain, err := r.codec.Open(nil, r.scopes[leaf.Scope].of(leaf.Stream).scope, &place, first, block)
	if err != nil {
		return nil, err
	}
	p := new(seal.Plaintext)
	if err := p.Parse(plain); err != nil {
		return nil, err
	}
	if int(leaf.Slot) >= len(p.Records) || !p.HasScope {
		return nil, fmt.Errorf("the block has no slot %d, or does not say whose it is", leaf.Slot)
	}
	r.bodies.keep(leaf.Stream, first, p, len(plain))
	return p, nil
}

// body joins the parts of a record.
func (r *Reader) body(ctx context.Context, l *openLog, leaf *record.Leaf, rec *seal.Record) (body [][]byte, outside []outsidePart, err error) {
	total := 0
	for part := range rec.Parts() {
		data := part.Data
		switch part.Kind {
		case seal.Outside:
			outside = append(outside, outsidePart{logpipe.Part{URI: string(part.URI), SHA256: part.Hash, Size: int64(part.Size), MediaType: string(part.MediaType)}, len(body)})
			continue
		case seal.Reference, seal.Piece:
			number := part.Number
			if part.Kind == seal.Piece {
				number = 0
			}
			if data, err = r.literal(ctx, l, leaf, leaf.Seq-part.Distance, number); err != nil {
				return nil, nil, err
			}
		}
		if total += len(data); total > maxBody {
			return nil, nil, fmt.Errorf("the body is larger than %d bytes", maxBody)
		}
		body = append(body, data)
	}
	return body, outside, nil
}
