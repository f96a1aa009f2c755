package segment

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

var testArchive = [16]byte{0xa1, 2, 3, 4}

const testLog = "acme/0/2026Q4"

// shape says what random frames look like.
type shape struct {
	rows, blockRows, blockLen int
	models                    int
	clean                     bool // only records, as a benchmark wants them
}

// writer makes the frames of one stream.
type streamWriter struct {
	draft frame.Draft
	key   ed25519.PrivateKey
	rng   *rand.Rand
}

func newStreamWriter(seed uint64) *streamWriter {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := &streamWriter{rng: rng, key: ed25519.NewKeyFromSeed(fill(rng, make([]byte, 32)))}
	w.draft.Archive = testArchive
	fill(rng, w.draft.Stream[:])
	return w
}

func fill(rng *rand.Rand, b []byte) []byte {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// next makes a frame of the stream.
func (w *streamWriter) next(t testing.TB, s shape) []byte {
	t.Helper()
	d, rng := &w.draft, w.rng
	d.Rows, d.Blocks, d.Entries = d.Rows[:0], nil, nil
	if d.First == 0 {
		d.Rows = append(d.Rows, frame.Row{Leaf: record.Leaf{Type: record.Open, Class: "default", Time: 1,
			Detail: fill(rng, make([]byte, 300))}, Block: -1})
	}
	for len(d.Rows) < s.rows {
		if !s.clean && rng.IntN(10) == 0 {
			types := []record.Type{record.Loss, record.Close, record.Sampled, record.Recovered}
			d.Rows = append(d.Rows, frame.Row{Leaf: record.Leaf{Type: types[rng.IntN(len(types))], Class: "state",
				Time: rng.Int64N(1 << 60), Detail: fill(rng, make([]byte, rng.IntN(60)))}, Block: -1})
			continue
		}
		w.block(s)
	}
	raw, head, err := d.Encode(nil, w.key)
	if err != nil {
		t.Fatal(err)
	}
	d.First, d.Prev = d.First+uint64(len(d.Rows)), head
	return raw
}

// block adds a block of one scope with its rows and, at random, entries.
func (w *streamWriter) block(s shape) {
	d, rng := &w.draft, w.rng
	var scope [16]byte
	fill(rng, scope[:])
	class := []string{"default", "state", "audit"}[rng.IntN(3)]
	if s.clean {
		class = "default"
	}
	e := frame.ScopeEntry{ID: scope, Class: class}
	d.Entries = append(d.Entries, e.Append(nil))
	for slot := range min(s.blockRows, s.rows-len(d.Rows)) {
		l := record.Leaf{Type: record.Plain, Kind: uint8(1 + rng.IntN(4)), Flags: uint8(rng.IntN(32)), Scope: scope,
			Time: 1_760_000_000_000_000_000 + rng.Int64N(1e15), Slot: uint16(slot), Class: class}
		if rng.IntN(8) == 0 {
			l.Type = record.Piece
		}
		fill(rng, l.ID[:])
		fill(rng, l.Commitment[:])
		fill(rng, l.Buckets[:])
		l.Clear = record.Clear{"chat", "openai", fmt.Sprintf("model-%d", rng.IntN(s.models)), "stop", "", "1.2.3"}
		if l.Kind == 4 {
			l.Clear[record.ErrorType] = "timeout"
		}
		d.Rows = append(d.Rows, frame.Row{Leaf: l, Block: len(d.Blocks)})
	}
	d.Blocks = append(d.Blocks, fill(rng, make([]byte, 28+rng.IntN(s.blockLen))))
}

// run is a run of frames with what they say, decoded one by one.
type run struct {
	frames [][]byte
	leaves []record.Leaf
	blocks [][]byte // of each leaf, nil if it has none
	hashes []merkle.Hash
}

func makeRun(t testing.TB, seed uint64, streams, frames int, s shape) *run {
	t.Helper()
	r := &run{}
	var writers []*streamWriter
	for i := range streams {
		writers = append(writers, newStreamWriter(seed+uint64(i)*1000))
	}
	for i := range frames {
		r.add(t, writers[i%streams].next(t, s))
	}
	return r
}

// add appends a frame to the run.
func (r *run) add(t testing.TB, raw []byte) {
	t.Helper()
	f, hashes := decode(t, raw)
	r.frames, r.hashes = append(r.frames, raw), append(r.hashes, hashes...)
	for i := range int(f.Count) {
		var l record.Leaf
		f.Leaf(i, &l)
		var block []byte
		if b := f.BlockOf(i); b >= 0 {
			block = f.Blocks[b].Data
		}
		r.leaves, r.blocks = append(r.leaves, l), append(r.blocks, block)
	}
}

func decode(t testing.TB, raw []byte) (*frame.Frame, []merkle.Hash) {
	t.Helper()
	var f frame.Frame
	if err := f.Decode(raw); err != nil {
		t.Fatal(err)
	}
	hashes, err := f.LeafHashes()
	if err != nil {
		t.Fatal(err)
	}
	return &f, hashes
}

// write puts a run into w and finishes it.
func (r *run) write(t testing.TB, w *Writer) *Segment {
	t.Helper()
	for _, raw := range r.frames {
		f, hashes := decode(t, raw)
		if err := w.Add(f, hashes); err != nil {
			t.Fatal(err)
		}
	}
	s, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
