package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/sha256mb"
	"github.com/stelelog/stele/merkle"
)

// Where a segment is full. Each limit leaves room for one more frame, whatever is in it.
const (
	maxStreams = math.MaxInt16 - 1
	maxTexts   = math.MaxInt16 - 256
	maxScopes  = math.MaxInt32 - 1<<17
	maxBytes   = 1 << 30 // of all objects, and so of each; offsets have 31 bits
)

const noNumber = 0xffff // no scope or no block, in a frame

// Writer makes the segment of a run of frames. Not safe for concurrent use.
type Writer struct {
	archive [16]byte
	log     string
	first   uint64

	after  merkle.Frontier
	levels [][]merkle.Hash // nodes that this segment completes, AppendLevels

	rows    int
	columns [indexWidth][]byte // of the index, but for what Finish fills in
	ends    []byte             // of the details, 4 bytes each
	streams dictionary[[16]byte]
	scopes  scopeList
	order   scopeOrder
	runs    runWriter
	groups  []byte // section 6
	texts   [texts]dictionary[string]
	index   file

	files   map[string]*classFile
	spare   []*classFile
	places  []uint32 // of the blocks in their data objects, by number
	blocks  int64    // bytes
	frames  []byte   // section 0 of the proof
	entries []byte   // section 1
	encaps  map[[16]byte]Encap
	proof   []byte

	records, pieces uint64
	from, until     int64

	numbers  [texts]numbers // of the frame that is being added
	scopeMap []uint32
	messages [][]byte
	hashes   []commit.Hex32
	failed   error
	done     *Segment
}

// NewWriter returns a writer of the segment that continues a log, named by its origin, at the frontier before.
func NewWriter(archive [16]byte, log string, before merkle.Frontier) *Writer {
	w := &Writer{files: map[string]*classFile{}, encaps: map[[16]byte]Encap{}}
	w.Reset(archive, log, before)
	return w
}

// Reset starts another segment. It reuses all memory, that of the last [Segment] too.
func (w *Writer) Reset(archive [16]byte, log string, before merkle.Frontier) {
	w.archive, w.log, w.first, w.after = archive, log, before.Size(), before
	for i := range w.levels {
		w.levels[i] = w.levels[i][:0]
	}
	w.rows = 0
	for i := range w.columns {
		w.columns[i] = w.columns[i][:0]
	}
	w.ends = append(w.ends[:0], 0, 0, 0, 0)
	w.streams.reset()
	w.scopes.reset()
	for i := range w.texts {
		w.texts[i].reset()
	}
	for _, f := range w.files {
		w.spare = append(w.spare, f)
	}
	clear(w.files)
	w.places, w.blocks = w.places[:0], 0
	w.frames, w.entries, w.proof = w.frames[:0], w.entries[:0], w.proof[:0]
	clear(w.encaps)
	w.records, w.pieces, w.from, w.until = 0, 0, 0, 0
	w.failed, w.done = nil, nil
}

// Leaves is the number of leaves so far.
func (w *Writer) Leaves() int { return w.rows }

// Bytes is about the size of all objects together so far.
func (w *Writer) Bytes() int64 {
	return w.blocks + int64(rowBytes*w.rows+len(w.columns[colDetail])+len(w.frames)+len(w.entries)+12*len(w.places))
}

// Full reports whether the segment takes no further frame, because a dictionary or an offset is near its limit.
func (w *Writer) Full() bool {
	full := w.Bytes() >= maxBytes || len(w.streams.keys) >= maxStreams || len(w.scopes.seen) >= maxScopes
	for i := range w.texts {
		full = full || len(w.texts[i].keys) >= maxTexts
	}
	return full
}

// Add appends the leaves of a frame whose LeafHashes returned leaves. It copies what it keeps. It fails with [ErrFull]
// where [Writer.Full] would have said so, and then changes nothing; after any other error the writer can only be reset.
func (w *Writer) Add(f *frame.Frame, leaves []merkle.Hash) error {
	switch {
	case w.failed != nil:
		return w.failed
	case w.done != nil:
		return errors.New("segment: finished")
	case w.Full():
		return ErrFull
	case f.Archive != w.archive:
		return fmt.Errorf("segment: frame of archive %x, not %x", f.Archive, w.archive)
	case len(leaves) != int(f.Count):
		return fmt.Errorf("segment: %d hashes for %d leaves", len(leaves), f.Count)
	}
	w.addFrame(f)
	w.addRows(f)
	w.count(f)
	w.rows += len(leaves)
	w.failed = w.addBlocks(f, uint32(w.rows)-f.Count)
	w.levels = w.after.AppendLevels(w.levels, leaves...)
	return w.failed
}

// AddEncap adds an encapsulation of a stream of this segment to the proof. One that is there already is left out; one
// of a wrong length lets Finish fail.
func (w *Writer) AddEncap(e Encap) {
	if len(e.Enc) != frame.EncapLen {
		w.failed = fmt.Errorf("segment: encapsulation of %d bytes", len(e.Enc))
		return
	}
	id := frame.EncapID(e.Enc)
	if _, ok := w.encaps[id]; !ok {
		e.Enc = bytes.Clone(e.Enc)
		w.encaps[id] = e
	}
}

// addFrame notes the frame itself for the proof.
func (w *Writer) addFrame(f *frame.Frame) {
	w.frames = append(grow(w.frames, frameEntry), f.Raw[:frame.SignedLen]...)
	w.frames = le.AppendUint64(w.frames, w.after.Size())
	w.frames = le.AppendUint32(w.frames, uint32(len(w.entries)))
	w.frames = le.AppendUint32(w.frames, uint32(len(f.EntryBytes)))
	w.entries = append(grow(w.entries, len(f.EntryBytes)), f.EntryBytes...)
}

// count counts records and pieces and notes between which times they lie.
func (w *Writer) count(f *frame.Frame) {
	for i, t := range f.Columns.Type {
		switch record.Type(t) {
		case record.Plain:
			w.records++
		case record.Piece:
			w.pieces++
		default:
			continue
		}
		at := int64(le.Uint64(f.Columns.Time[8*i:]))
		if w.records+w.pieces == 1 {
			w.from, w.until = at, at
		}
		w.from, w.until = min(w.from, at), max(w.until, at)
	}
}

// addBlocks appends the blocks of a frame that starts at row first to the data objects of their classes.
func (w *Writer) addBlocks(f *frame.Frame, first uint32) error {
	for i := range f.Blocks {
		b := &f.Blocks[i]
		c := w.files[b.Class]
		if c == nil {
			c = &classFile{}
			if n := len(w.spare); n > 0 {
				c, w.spare = w.spare[n-1], w.spare[:n-1]
			}
			class := strings.Clone(b.Class)
			if err := c.open(class); err != nil {
				return err
			}
			w.files[class] = c
		}
		c.add(b, first, uint32(len(w.places)))
		w.places = append(w.places, 0)
		w.blocks += int64(len(b.Data))
		if c.full() {
			if err := c.flush(w.places); err != nil {
				return err
			}
		}
	}
	return nil
}

// Finish completes the objects. Add and AddEncap must not be called after it, until Reset.
func (w *Writer) Finish() (*Segment, error) {
	if w.done != nil || w.failed != nil {
		return w.done, w.failed
	}
	w.scopes.finish()
	s := &Segment{First: w.first, Size: w.after.Size(), After: w.after,
		Records: w.records, Pieces: w.pieces, From: w.from, Until: w.until}
	if w.rows > 0 {
		w.failed = w.finish(s)
	}
	if w.failed != nil {
		return nil, w.failed
	}
	w.done = s
	return s, nil
}

func (w *Writer) finish(s *Segment) error {
	for class, c := range w.files {
		if err := c.flush(w.places); err != nil {
			return err
		}
		data, err := c.file.close()
		if err != nil {
			return err
		}
		s.Data = append(s.Data, ClassData{Class: class, Bytes: data})
	}
	slices.SortFunc(s.Data, func(a, b ClassData) int { return strings.Compare(a.Class, b.Class) })
	w.placeRows()
	if err := w.writeIndex(s); err != nil {
		return err
	}
	w.makeRuns()
	w.writeProof(s)
	w.hash(s)
	return nil
}

// hash computes the digests of all objects, and of the ranges that the commit names, together: the long ones first.
func (w *Writer) hash(s *Segment) {
	var sums []*commit.Hex32
	w.messages = w.messages[:0]
	add := func(sum *commit.Hex32, data []byte) {
		sums, w.messages = append(sums, sum), append(w.messages, data)
	}
	for i := range s.Data {
		add(&s.Data[i].Hash, s.Data[i].Bytes)
	}
	add(&s.ProofHash, s.Proof)
	add(&s.IndexHash, s.Index)
	for i := range s.ProofSpans {
		p := &s.ProofSpans[i]
		add(&p.SHA256, s.Proof[p.Off:][:p.Len])
	}
	head := &s.IndexSpans.Head
	add(&head.SHA256, s.Index[head.Off:][:head.Len])
	for i := range s.IndexSpans.Batches {
		b := &s.IndexSpans.Batches[i]
		add(&b.SHA256, s.Index[b.Off:][:b.Len])
	}
	w.hashes = grow(w.hashes[:0], len(sums))[:len(sums)]
	sha256mb.Sums(w.hashes, w.messages)
	for i, sum := range sums {
		*sum = w.hashes[i]
	}
}
