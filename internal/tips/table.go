// Package tips keeps how far each stream of a log has come, and decides for every message whether it extends a stream,
// repeats it, comes late, contradicts it, or belongs to none. Pure: no I/O, no clock.
package tips

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// Verdict on a message.
type Verdict int

// The verdicts.
const (
	Accept    Verdict = iota + 1 // extends its stream, perhaps behind a new gap
	Late                         // fills a gap, or a part of one
	Duplicate                    // archived already
	Old                          // at or below the tip, too old to be remembered here: ask the archive
	Reject                       // unauthentic or contradictory; see the error
)

// Why a frame is rejected, where it matters.
var (
	// ErrEquivocation says that a stream has signed two different things for one sequence number.
	ErrEquivocation = errors.New("the stream signed two different frames for one sequence number")
	// ErrService says that the service key of a certificate may not open a stream.
	ErrService = errors.New("the writer may not open a stream")
)

// Table is the streams of one log. Not safe for concurrent use.
type Table struct {
	archive   [16]byte
	partition uint32
	service   func(key ed25519.PublicKey) (name string, err error)
	streams   map[[16]byte]*stream
}

type stream struct {
	commit.Tip
	changed bool
	recent  []span // frames taken by this process, by seq: all since Settle, and some before
	encaps  []Encap
}

type span struct {
	first, next uint64
	head        merkle.Hash
}

// Encap is an encapsulation of a stream.
type Encap struct {
	ID        [16]byte
	Day, Year uint16
	Enc       []byte
}

// remembered is how many committed frames of a stream a table keeps to recognise repeats without the archive.
const remembered = 256

// New returns the table of a log that has the given tips. service says whether a service key may open a stream.
func New(archive [16]byte, partition uint32, tips []commit.Tip, service func(ed25519.PublicKey) (string, error)) *Table {
	t := &Table{archive, partition, service, make(map[[16]byte]*stream, len(tips))}
	for _, tip := range tips {
		tip.From, tip.Late, tip.Gaps = tip.Next, nil, slices.Clone(tip.Gaps)
		t.streams[tip.ID] = &stream{Tip: tip}
	}
	return t
}

// Take judges a decoded frame that came through lane, verifies its signature and rows, and takes it into the table if
// it is Accept or Late. The leaf hashes are returned then.
func (t *Table) Take(f *frame.Frame, lane string) (Verdict, []merkle.Hash, error) {
	if f.Archive != t.archive || f.Partition != t.partition {
		return Reject, nil, fmt.Errorf("frame is for archive %x partition %d", f.Archive, f.Partition)
	}
	s := t.streams[f.Stream]
	if s == nil {
		var err error
		if s, err = t.open(f, lane); err != nil {
			return Reject, nil, err
		}
	}
	if !frame.Verify(f.Raw, ed25519.PublicKey(s.Key)) {
		return Reject, nil, errors.New("signature is not by the key of the stream")
	}
	head := frame.Head(f.Raw)
	verdict, err := s.place(&f.Header, head)
	if verdict != Accept && verdict != Late {
		return verdict, nil, err
	}
	leaves, err := f.LeafHashes()
	if err != nil {
		return Reject, nil, err
	}
	encaps, err := f.Encaps()
	if err != nil {
		return Reject, nil, err
	}
	if s.Closed && verdict == Accept {
		return Reject, nil, errors.New("frame after the close of its stream")
	}
	if i := bytes.IndexByte(f.Columns.Type, byte(record.Close)); i >= 0 && (verdict == Late || i < int(f.Count)-1) {
		return Reject, nil, errors.New("the stream goes on after its close")
	}
	t.streams[f.Stream] = s
	s.take(f, head, verdict)
	for _, e := range encaps {
		s.encaps = newest(append(s.encaps, Encap{frame.EncapID(e.Enc), e.Day, e.Year, bytes.Clone(e.Enc)}))
	}
	s.leaves(f)
	return verdict, leaves, nil
}

// open makes the stream that f opens.
func (t *Table) open(f *frame.Frame, lane string) (*stream, error) {
	if f.First != 0 {
		return nil, errors.New("stream is unknown: its first frame did not come")
	}
	c, err := keyscope.ParseCert(f.Detail(0))
	if err != nil {
		return nil, err
	}
	if c.Archive != t.archive || c.Partition != t.partition || c.Stream != f.Stream {
		return nil, errors.New("certificate is for another archive, partition or stream")
	}
	name, err := t.service(c.ServiceKey[:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrService, err)
	}
	tip := commit.Tip{ID: f.Stream, Service: name, Key: c.StreamKey[:], Every: c.BeatEvery,
		Durability: uint8(c.Durability), Lane: lane}
	if c.Prev.Stream != [16]byte{} {
		tip.Prev = &commit.Prev{Stream: c.Prev.Stream, Seq: c.Prev.Seq, Head: c.Prev.Head}
	}
	return &stream{Tip: tip}, nil
}

// place says where a frame belongs.
func (s *stream) place(h *frame.Header, head merkle.Hash) (Verdict, error) {
	switch {
	case h.First == s.Next && h.Prev == merkle.Hash(s.Head):
		return Accept, nil
	case h.First > s.Next:
		return Accept, nil
	case h.First == s.Next:
		return Reject, fmt.Errorf("%w: previous head differs at %d", ErrEquivocation, h.First)
	}
	for _, g := range s.Gaps {
		if h.First < g.From || h.Next() > g.To {
			continue
		}
		if h.First == g.From && h.Prev != merkle.Hash(g.Prev) || h.Next() == g.To && head != merkle.Hash(g.Head) {
			return Reject, fmt.Errorf("%w: late frame at %d does not fit its gap", ErrEquivocation, h.First)
		}
		return Late, nil
	}
	// The last one that starts before the end of h is the only one that can be the same frame.
	if i := s.after(h.Next() - 1); i > 0 {
		if r := s.recent[i-1]; h.First < r.next {
			if r.head == head { // which is over first and count too
				return Duplicate, nil
			}
			return Reject, fmt.Errorf("%w: at %d", ErrEquivocation, h.First)
		}
	}
	return Old, nil
}

// after is the place in recent of the first frame that starts after seq.
func (s *stream) after(seq uint64) int {
	i, _ := slices.BinarySearchFunc(s.recent, seq, func(r span, seq uint64) int {
		if r.first <= seq {
			return -1
		}
		return 1
	})
	return i
}

func (s *stream) take(f *frame.Frame, head merkle.Hash, v Verdict) {
	s.changed = true
	s.recent = slices.Insert(s.recent, s.after(f.First), span{f.First, f.Next(), head})
	if v == Late {
		s.fill(f, head)
		return
	}
	if f.First > s.Next {
		s.Gaps = append(s.Gaps, commit.Gap{From: s.Next, To: f.First, Head: commit.Hex32(f.Prev), Prev: s.Head})
	}
	s.Next, s.Head = f.Next(), commit.Hex32(head)
}

// fill splits the gap that a late frame lies in.
func (s *stream) fill(f *frame.Frame, head merkle.Hash) {
	s.Late = append(s.Late, [2]uint64{f.First, f.Next()})
	i := slices.IndexFunc(s.Gaps, func(g commit.Gap) bool { return f.First >= g.From && f.Next() <= g.To })
	g := s.Gaps[i]
	var parts []commit.Gap
	if f.First > g.From {
		parts = append(parts, commit.Gap{From: g.From, To: f.First, Head: commit.Hex32(f.Prev), Prev: g.Prev})
	}
	if f.Next() < g.To {
		parts = append(parts, commit.Gap{From: f.Next(), To: g.To, Head: g.Head, Prev: commit.Hex32(head)})
	}
	s.Gaps = slices.Replace(s.Gaps, i, i+1, parts...)
}

// leaves takes what the leaves of f say about their stream and its predecessor.
func (s *stream) leaves(f *frame.Frame) {
	types := f.Columns.Type
	for i := range types {
		switch record.Type(types[i]) {
		case record.Loss:
			if d, err := record.ParseLoss(f.Detail(i)); err == nil {
				s.Lost += d.Count
				s.LostSeq = max(s.LostSeq, f.First+uint64(i))
			}
		case record.Close:
			s.Closed = true
		case record.Recovered:
			d, err := record.ParseRecovered(f.Detail(i))
			if err == nil && s.Recovered == nil && s.Prev != nil && s.Prev.Stream == commit.Hex16(d.Stream) {
				s.Recovered = &commit.Recovered{Seq: d.Seq, Head: d.Head}
			}
		}
	}
}

// newest keeps the last two different encapsulations: a scope lives an hour, so it can only be of today or yesterday.
func newest(e []Encap) []Encap {
	var out []Encap
	for i := len(e) - 1; i >= 0 && len(out) < 2; i-- {
		if !slices.ContainsFunc(out, func(o Encap) bool { return o.ID == e[i].ID }) {
			out = append(out, e[i])
		}
	}
	slices.Reverse(out)
	return out
}

// Beat takes a beat that the transport received at the given time. One that is not newer than the last is passed over.
func (t *Table) Beat(raw []byte, at time.Time) error {
	b, err := frame.ParseBeat(raw)
	if err != nil {
		return err
	}
	s := t.streams[b.Stream]
	if b.Archive != t.archive || b.Partition != t.partition || s == nil {
		return errors.New("beat of an unknown stream")
	}
	if !frame.VerifyBeat(raw, ed25519.PublicKey(s.Key)) {
		return errors.New("beat is not signed by the key of its stream")
	}
	if b.Seq+1 == s.Next && b.Head != merkle.Hash(s.Head) {
		return fmt.Errorf("%w: the beat at %d names another head", ErrEquivocation, b.Seq)
	}
	if old := s.Tip.Beat; old != nil {
		have, err := frame.ParseBeat(old.Note)
		// seq + 1, so that record.None, nothing sent, is the least
		if err == nil && (b.Seq+1 < have.Seq+1 || b.Seq == have.Seq && b.Time <= have.Time) {
			return nil // repeated, by the transport or by somebody who wants the stream to look alive
		}
	}
	s.Tip.Beat = &commit.Beat{Seq: b.Seq, Head: commit.Hex32(b.Head), Time: at.UTC(), Note: bytes.Clone(raw)}
	s.changed = true
	return nil
}

// All returns the tips of all streams, sorted by id.
func (t *Table) All() []commit.Tip { return t.tips(func(*stream) bool { return true }) }

// Open returns the tips that are not closed, or changed since Settle, sorted by id.
func (t *Table) Open() []commit.Tip {
	return t.tips(func(s *stream) bool { return s.changed || !s.Closed })
}

// Changed returns the tips that changed since Settle, sorted by id.
func (t *Table) Changed() []commit.Tip { return t.tips(func(s *stream) bool { return s.changed }) }

func (t *Table) tips(wanted func(*stream) bool) (out []commit.Tip) {
	for _, s := range t.streams {
		if wanted(s) {
			out = append(out, s.Tip)
		}
	}
	slices.SortFunc(out, func(a, b commit.Tip) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return out
}

// Settle marks the present state as committed in commit n, whose proof object repeats the encapsulations.
func (t *Table) Settle() {
	for _, s := range t.streams {
		s.changed, s.From, s.Late = false, s.Next, nil
		if n := len(s.recent); n > remembered {
			s.recent = slices.Delete(s.recent, 0, n-remembered)
		}
	}
}

// Encaps are the encapsulations of a stream that are known here, oldest first.
func (t *Table) Encaps(stream [16]byte) []Encap {
	if s := t.streams[stream]; s != nil {
		return s.encaps
	}
	return nil
}

// TakeEncaps takes over the encapsulations that another table of the same log, or of the one before, knows of streams.
func (t *Table) TakeEncaps(from *Table) {
	for id, s := range t.streams {
		s.encaps = newest(append(from.Encaps(id), s.encaps...))
	}
}

// Repeated notes that commit n repeats the encapsulations of a stream.
func (t *Table) Repeated(stream [16]byte, n uint64) {
	s := t.streams[stream]
	s.Tip.Encaps = nil
	for _, e := range s.encaps {
		s.Tip.Encaps = append(s.Tip.Encaps, commit.EncapAt{ID: e.ID, Commit: n})
	}
}
