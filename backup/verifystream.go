package backup

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/merkle"
)

// streamCheck follows the streams of a log through its frames, from the certificates in the leaves alone, and holds
// what it finds against what each commit says of them.
type streamCheck struct {
	a       *Archive
	log     *openLog
	streams map[commit.Hex16]*followed
	touched map[commit.Hex16]bool // by frames of the present commit
	skipped bool                  // a segment could not be read: what follows it cannot be linked
}

// followed is a stream as its frames show it.
type followed struct {
	tip  commit.Tip             // but for gaps, beat, lane and encapsulations
	ends map[uint64]merkle.Hash // head of the frame that ends at a seq, while no frame is known to follow it
	want map[uint64]merkle.Hash // previous head named by the frame that starts at a seq, while that frame is not known
	beat *commit.Beat           // the newest that it signed
}

func newStreamCheck(a *Archive, l *openLog) *streamCheck {
	return &streamCheck{a: a, log: l, streams: map[commit.Hex16]*followed{}, touched: map[commit.Hex16]bool{}}
}

// believe takes the streams as a commit names them, whose frames have expired.
func (s *streamCheck) believe(c *commit.Commit) error {
	for _, tip := range c.Streams {
		if was := s.streams[tip.ID]; was != nil && !bytes.Equal(was.tip.Key, tip.Key) {
			continue // which compare says
		}
		st := &followed{tip: tip, ends: map[uint64]merkle.Hash{tip.Next: merkle.Hash(tip.Head)}, want: map[uint64]merkle.Hash{}, beat: tip.Beat}
		for _, g := range tip.Gaps {
			st.ends[g.From], st.want[g.To] = merkle.Hash(g.Prev), merkle.Hash(g.Head)
		}
		st.tip.Gaps, st.tip.Beat = nil, nil
		s.streams[tip.ID] = st
	}
	return nil
}

// tips are the streams as their frames show them; where frames could not be read, which is a fault of its own, as the
// commits say.
func (s *streamCheck) tips() map[commit.Hex16]commit.Tip {
	if s.skipped {
		return s.log.chain.Tips
	}
	out := make(map[commit.Hex16]commit.Tip, len(s.streams))
	for id, st := range s.streams {
		tip := st.tip
		tip.Gaps, tip.Beat = st.gaps(), st.beat
		out[id] = tip
	}
	return out
}

// skip says that the frames of a commit could not be read.
func (s *streamCheck) skip(c *commit.Commit) { s.skipped = s.skipped || c.Tree.Size > c.Tree.First }

// take checks the signature of a frame and how it links to the others of its stream, and what its leaves say.
func (s *streamCheck) take(f *segment.FrameAt, said []record.Leaf, control uint64) error {
	st := s.streams[f.Stream]
	if st == nil {
		var err error
		if st, err = s.open(f, said, control); st == nil || err != nil {
			return err
		}
	}
	if f.Archive != s.a.trust.Archive || f.Partition != s.log.partition {
		return errors.New("it is of another archive or partition")
	}
	if !frame.Verify(f.Signed, ed25519.PublicKey(st.tip.Key)) {
		return errors.New("its signature is not by the key of the stream")
	}
	if err := st.link(&f.Header, frame.Head(f.Signed)); err != nil {
		return err
	}
	s.touched[f.Stream] = true
	return st.leaves(said)
}

// open makes a stream from its certificate. The result is nil if its first frame was in a segment that cannot be read.
func (s *streamCheck) open(f *segment.FrameAt, said []record.Leaf, size uint64) (*followed, error) {
	if f.First != 0 || len(said) == 0 || said[0].Type != record.Open || said[0].Seq != 0 {
		if s.skipped {
			return nil, nil
		}
		return nil, errors.New("the stream was never opened")
	}
	c, err := keyscope.ParseCert(said[0].Detail)
	if err != nil {
		return nil, err
	}
	if c.Archive != s.a.trust.Archive || c.Partition != s.log.partition || c.Stream != f.Stream {
		return nil, errors.New("its certificate is of another archive, partition or stream")
	}
	tip := commit.Tip{ID: f.Stream, Key: c.StreamKey[:], Every: c.BeatEvery, Durability: uint8(c.Durability)}
	s.a.control.View(func(st *control.State) { tip.Service, err = st.Service(c.ServiceKey[:], size) })
	if err != nil {
		return nil, err
	}
	if c.Prev.Stream != [16]byte{} {
		tip.Prev = &commit.Prev{Stream: c.Prev.Stream, Seq: c.Prev.Seq, Head: c.Prev.Head}
	}
	st := &followed{tip: tip, ends: map[uint64]merkle.Hash{0: {}}, want: map[uint64]merkle.Hash{}}
	s.streams[f.Stream] = st
	return st, nil
}

// link puts a frame where it belongs: behind the last one, or into a gap.
func (st *followed) link(f *frame.Header, head merkle.Hash) error {
	late := f.First < st.tip.Next
	if late && !slices.ContainsFunc(st.gaps(), func(g commit.Gap) bool { return f.First >= g.From && f.Next() <= g.To }) {
		return errors.New("it repeats what the archive holds")
	}
	if !late && st.tip.Closed {
		return errors.New("its stream was closed before it")
	}
	if prev, ok := st.ends[f.First]; ok && prev != f.Prev {
		return errors.New("it does not name the frame before it")
	}
	if want, ok := st.want[f.Next()]; ok && want != head {
		return errors.New("the frame behind it does not name it")
	}
	if _, ok := st.ends[f.First]; ok {
		delete(st.ends, f.First)
	} else {
		st.want[f.First] = f.Prev
	}
	if _, ok := st.want[f.Next()]; ok {
		delete(st.want, f.Next())
	} else {
		st.ends[f.Next()] = head
	}
	if late {
		st.tip.Late = append(st.tip.Late, [2]uint64{f.First, f.Next()})
		return nil
	}
	st.tip.Next, st.tip.Head = f.Next(), commit.Hex32(head)
	return nil
}

// gaps are the runs of leaves that have not come. Each starts where a frame ends that none follows, and ends where a
// frame starts that none precedes.
func (st *followed) gaps() (gaps []commit.Gap) {
	if len(st.want) == 0 {
		return nil
	}
	from, to := slices.Sorted(maps.Keys(st.ends)), slices.Sorted(maps.Keys(st.want))
	for i := range to {
		gaps = append(gaps, commit.Gap{From: from[i], To: to[i], Head: commit.Hex32(st.want[to[i]]), Prev: commit.Hex32(st.ends[from[i]])})
	}
	return gaps
}

// leaves takes what leaves say of their stream and its predecessor.
func (st *followed) leaves(said []record.Leaf) error {
	for i := range said {
		l := &said[i]
		switch l.Type {
		case record.Loss:
			d, err := record.ParseLoss(l.Detail)
			if err != nil {
				return err
			}
			st.tip.Lost += d.Count
			st.tip.LostSeq = max(st.tip.LostSeq, l.Seq)
		case record.Close:
			if l.Seq != st.tip.Next-1 {
				return errors.New("the stream goes on after its close")
			}
			st.tip.Closed = true
		case record.Recovered:
			d, err := record.ParseRecovered(l.Detail)
			if err != nil {
				return err
			}
			if t := &st.tip; t.Recovered == nil && t.Prev != nil && t.Prev.Stream == commit.Hex16(d.Stream) {
				t.Recovered = &commit.Recovered{Seq: d.Seq, Head: d.Head}
			}
		}
	}
	return nil
}

// compare holds what the frames up to and including a commit show against what it says of streams: it must not promise
// more or less.
func (s *streamCheck) compare(c *commit.Commit, bad func(stream commit.Hex16, err error)) {
	if s.skipped {
		return // the segment that cannot be read is a fault already
	}
	for i := range c.Streams {
		tip := &c.Streams[i]
		st := s.streams[tip.ID]
		if st == nil {
			bad(tip.ID, errors.New("a commit names it, but the archive holds no frame of it"))
			continue
		}
		if err := st.equal(tip); err != nil {
			bad(tip.ID, err)
		}
		if err := st.heard(tip.Beat, c, s.log.partition); err != nil {
			bad(tip.ID, err)
		}
		delete(s.touched, tip.ID)
	}
	for id := range s.touched {
		bad(id, errors.New("frames of it are archived, but the commit does not name it"))
	}
	clear(s.touched)
	for _, st := range s.streams {
		st.tip.From, st.tip.Late = st.tip.Next, nil
	}
}

// equal compares a tip with what the frames show.
func (st *followed) equal(tip *commit.Tip) error {
	want := st.tip
	want.Gaps = st.gaps()
	for _, f := range []struct {
		name      string
		said, are any
	}{
		{"its end", [2]uint64{tip.From, tip.Next}, [2]uint64{want.From, want.Next}}, {"its head", tip.Head, want.Head},
		{"its gaps", orNone(tip.Gaps), orNone(want.Gaps)}, {"its late frames", orNone(tip.Late), orNone(want.Late)},
		{"its close", tip.Closed, want.Closed}, {"its loss", [2]uint64{tip.Lost, tip.LostSeq}, [2]uint64{want.Lost, want.LostSeq}},
		{"what it recovered", tip.Recovered, want.Recovered}, {"its predecessor", tip.Prev, want.Prev},
		{"its service", tip.Service, want.Service}, {"its durability", tip.Durability, want.Durability},
		{"its beat interval", tip.Every, want.Every},
	} {
		if !reflect.DeepEqual(f.said, f.are) {
			return fmt.Errorf("%s is not what a commit says: %v, its frames show %v", f.name, f.said, f.are)
		}
	}
	if !bytes.Equal(tip.Key, want.Key) {
		return errors.New("its key is not what a commit says")
	}
	return nil
}

func orNone[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

// heard checks the beat that a commit gives for the stream.
func (st *followed) heard(b *commit.Beat, c *commit.Commit, partition uint32) error {
	last := st.beat
	if b == nil {
		if last != nil {
			return errors.New("its beat was forgotten")
		}
		return nil
	}
	beat, err := frame.ParseBeat(b.Note)
	if err != nil {
		return err
	}
	if !frame.VerifyBeat(b.Note, ed25519.PublicKey(st.tip.Key)) || beat.Archive != c.Archive || beat.Partition != partition ||
		beat.Stream != st.tip.ID || beat.Seq != b.Seq || beat.Head != merkle.Hash(b.Head) || b.Time.After(c.SourceTime) {
		return errors.New("its beat is not one that it signed")
	}
	if last != nil && bytes.Equal(last.Note, b.Note) && !last.Time.Equal(b.Time) {
		return errors.New("its old beat is given for a new one")
	}
	st.beat = b
	return nil
}
