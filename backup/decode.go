package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/logpipe"
)

// maxBody bounds a restored body: references can name a large part many times.
const maxBody = 1 << 30

// record opens the record of row i. The error is errErased if its key is gone.
func (r *Reader) record(ctx context.Context, l *openLog, blocks *blockReader, b *segment.Batch, i int, leaf *record.Leaf) (Found, error) {
	f := clearFields(leaf)
	scope := r.scopes[leaf.Scope]
	if scope == nil {
		return f, errors.New("the key service said nothing about its key")
	}
	if scope.state == "erased" {
		return f, errErased
	}
	if scope.scope == nil {
		return f, scope.err
	}
	p, err := r.plaintext(ctx, l, blocks, b, i, leaf, scope.scope)
	if err != nil {
		return f, err
	}
	r.bodies.note(leaf.Stream, leaf.Seq, b, i)
	rec := &p.Records[leaf.Slot]
	body, outside, err := r.body(ctx, l, leaf, rec)
	if err != nil {
		return f, err
	}
	got := scope.scope.Commit(leaf.Seq, &seal.Fields{Body: body, CallerID: rec.CallerID, Trace: rec.Trace,
		Attributes: rec.Attributes, ContentType: rec.ContentType, More: rec.More})
	if got != leaf.Commitment {
		return f, errors.New("the plaintext is not what the writer committed to")
	}
	return f, fill(&f, p, rec, body, outside)
}

// clearFields are what a leaf tells without a key.
func clearFields(leaf *record.Leaf) Found {
	f := Found{Stream: hexID(leaf.Stream), Seq: leaf.Seq, Withheld: leaf.Flags&record.Withheld != 0}
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

// plaintext opens the block of row i.
func (r *Reader) plaintext(ctx context.Context, l *openLog, blocks *blockReader, b *segment.Batch, i int, leaf *record.Leaf, scope *seal.Scope) (*seal.Plaintext, error) {
	at, ok := b.Block(i)
	if !ok {
		return nil, errors.New("the row has no block")
	}
	if p := r.bodies.block(leaf.Stream, at.First); p != nil && int(leaf.Slot) < len(p.Records) {
		return p, nil
	}
	block, err := blocks.read(ctx, leaf, at)
	if err != nil {
		return nil, err
	}
	place := seal.Place{Archive: r.id.Archive, Partition: l.partition, Stream: leaf.Stream, Scope: leaf.Scope, Class: leaf.Class}
	plain, err := r.codec.Open(nil, scope, &place, at.First, block)
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
	r.bodies.keep(leaf.Stream, at.First, p, len(plain))
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

// literal finds part number of the record at seq of the same stream and scope.
func (r *Reader) literal(ctx context.Context, l *openLog, leaf *record.Leaf, seq, number uint64) ([]byte, error) {
	if seq >= leaf.Seq {
		return nil, errors.New("a part refers forward")
	}
	p, slot, err := r.blockAt(ctx, l, leaf, seq)
	if err != nil {
		return nil, fmt.Errorf("part at seq %d: %w", seq, err)
	}
	n := uint64(0)
	for part := range p.Records[slot].Parts() {
		if n == number {
			if part.Kind != seal.Literal {
				return nil, fmt.Errorf("part %d at seq %d is not literal", number, seq)
			}
			return part.Data, nil
		}
		n++
	}
	return nil, fmt.Errorf("no part %d at seq %d", number, seq)
}

// blockAt finds the block that holds the record at seq of a stream, and its slot.
func (r *Reader) blockAt(ctx context.Context, l *openLog, leaf *record.Leaf, seq uint64) (*seal.Plaintext, uint16, error) {
	if p, slot, ok := r.bodies.at(leaf.Stream, seq); ok {
		return p, slot, nil
	}
	for _, n := range l.chain.holding(leaf.Stream, seq, seq+1) {
		c, err := l.commitAt(n)
		if err != nil {
			return nil, 0, err
		}
		data, _, err := fetch(ctx, r.a.store, c.Object(commit.KindIndex, ""))
		if err != nil {
			return nil, 0, err
		}
		index, err := segment.OpenIndex(data)
		if err != nil {
			return nil, 0, err
		}
		for _, b := range index.Batches {
			for i := range b.Len() {
				if b.Seq(i) != seq || b.Stream(i) != leaf.Stream {
					continue
				}
				var target record.Leaf
				b.Leaf(i, &target)
				if target.Scope != leaf.Scope {
					return nil, 0, errors.New("it is of another scope")
				}
				p, err := r.plaintext(ctx, l, &blockReader{r: r, c: &c}, b, i, &target, r.scopes[leaf.Scope].scope)
				if err != nil {
					return nil, 0, err
				}
				r.bodies.note(leaf.Stream, seq, b, i)
				return p, target.Slot, nil
			}
		}
	}
	return nil, 0, errors.New("it is not in the archive")
}

// verify opens every record of a segment and checks it against its commitment.
func (r *Reader) verify(ctx context.Context, l *openLog, c *logCommit, seg *wholeSegment, report *Report) error {
	if err := r.open(ctx, seg.index.Scopes()); err != nil {
		return err
	}
	blocks := blockReader{r: r, c: c, whole: true, data: seg.data}
	at := c.Tree.First
	for _, b := range seg.index.Batches {
		for i := range b.Len() {
			if b.Type(i) != record.Plain {
				continue
			}
			var leaf record.Leaf
			b.Leaf(i, &leaf)
			_, err := r.record(ctx, l, &blocks, b, i, &leaf)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			switch {
			case errors.Is(err, errErased):
				report.Erased++
			case err != nil:
				report.fault(readability, fmt.Sprintf("%s leaf %d", l.chain.origin, at+uint64(i)), "%v", err)
			default:
				report.Opened++
			}
		}
		at += uint64(b.Len())
	}
	return nil
}
