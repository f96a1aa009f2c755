package tips

import (
	"crypto/ed25519"
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

type writer struct {
	key  ed25519.PrivateKey
	cert *keyscope.Cert
	next uint64
	head merkle.Hash
}

func newWriter(t rapid.TB, id byte) *writer {
	_, service, _ := ed25519.GenerateKey(nil)
	_, key, _ := ed25519.GenerateKey(nil)
	cert, err := keyscope.SignCert(keyscope.Cert{Archive: [16]byte{1}, Stream: [16]byte{id}, StreamKey: [32]byte(key.Public().(ed25519.PublicKey)),
		Durability: keyscope.Memory, Service: "s", Software: "t"}, service)
	if err != nil {
		t.Fatal(err)
	}
	return &writer{key: key, cert: cert}
}

// frame makes the next frame of n leaves.
func (w *writer) frame(t rapid.TB, n int, last record.Type) []byte {
	d := frame.Draft{Archive: [16]byte{1}, Stream: w.cert.Stream, First: w.next, Prev: w.head}
	for i := range n {
		l := record.Leaf{Type: record.Sampled, Class: "default", Detail: record.SampledDetail{Calls: w.next}.Append(nil)}
		if w.next == 0 && i == 0 {
			l = record.Leaf{Type: record.Open, Class: "default", Detail: w.cert.Bytes()}
		} else if last == record.Close && i == n-1 {
			l = record.Leaf{Type: record.Close, Class: "default", Detail: record.CloseDetail{Reason: 1}.Append(nil)}
		}
		d.Rows = append(d.Rows, frame.Row{Leaf: l, Block: -1})
	}
	raw, head, err := d.Encode(nil, w.key)
	if err != nil {
		t.Fatal(err)
	}
	w.next, w.head = w.next+uint64(n), head
	return raw
}

func newTable(tips []commit.Tip) *Table {
	return New([16]byte{1}, 0, tips, func(ed25519.PublicKey) (string, error) { return "s", nil })
}

func take(t rapid.TB, table *Table, raw []byte) (Verdict, error) {
	var f frame.Frame
	if err := f.Decode(raw); err != nil {
		t.Fatal(err)
	}
	v, _, err := table.Take(&f, "lane")
	return v, err
}

// TestAnyOrder delivers the frames of a stream in any order, any number of times, with commits and restarts between. Each
// is taken once, nothing is called a contradiction, and the gaps are what did not come.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWriter(t, 1)
		var frames [][]byte
		var bounds []uint64
		for range rapid.IntRange(2, 12).Draw(t, "frames") {
			bounds = append(bounds, w.next)
			frames = append(frames, w.frame(t, rapid.IntRange(1, 4).Draw(t, "leaves"), 0))
		}
		bounds = append(bounds, w.next)
		table := newTable(nil)
		if v, err := take(t, table, frames[0]); v != Accept {
			t.Fatalf("first frame: %v %v", v, err)
		}
		taken, high := map[int]bool{0: true}, 0
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				table.Settle()
			case 1:
				table = newTable(append([]commit.Tip(nil), table.Open()...))
			default:
				i := rapid.IntRange(0, len(frames)-1).Draw(t, "frame")
				v, err := take(t, table, frames[i])
				switch {
				case taken[i] && v != Duplicate && v != Old, !taken[i] && i > high && v != Accept, !taken[i] && i < high && v != Late:
					t.Fatalf("frame %d (taken %v, highest %d): %v %v", i, taken[i], high, v, err)
				}
				taken[i], high = true, max(high, i)
			}
		}
		tip, _ := table.Tip([16]byte{1})
		missing := uint64(0)
		for i := range high {
			if !taken[i] {
				missing += bounds[i+1] - bounds[i]
			}
		}
		for _, g := range tip.Gaps {
			missing -= g.To - g.From
		}
		if missing != 0 || tip.Next != bounds[high+1] {
			t.Fatalf("tip %+v", tip)
		}
	})
}

func TestManyFramesInOneSegment(t *testing.T) {
	w := newWriter(t, 1)
	table := newTable(nil)
	var frames [][]byte
	for i := range 3 * remembered {
		frames = append(frames, w.frame(t, 1, 0))
		if v, err := take(t, table, frames[i]); v != Accept {
			t.Fatal(v, err)
		}
	}
	for i := range frames {
		if v, err := take(t, table, frames[i]); v != Duplicate {
			t.Fatalf("frame %d before the commit: %v %v", i, v, err)
		}
	}
	table.Settle()
	for i := range frames {
		want := Duplicate
		if i < len(frames)-remembered {
			want = Old
		}
		if v, err := take(t, table, frames[i]); v != want {
			t.Fatalf("frame %d after the commit: %v %v", i, v, err)
		}
	}
}

func TestContradictions(t *testing.T) {
	w := newWriter(t, 1)
	table := newTable(nil)
	first := w.frame(t, 2, 0)
	fork := *w
	a, b := w.frame(t, 2, 0), fork.frame(t, 3, 0)
	lost := *w
	late := lost.frame(t, 2, 0)
	w.frame(t, 2, 0)
	for _, step := range []struct {
		raw  []byte
		want Verdict
		err  error
	}{
		{a, Reject, nil}, {first, Accept, nil}, {a, Accept, nil}, {b, Reject, ErrEquivocation}, {a, Duplicate, nil},
		{fork.frame(t, 1, 0), Accept, nil}, // behind a gap of one leaf, though of the other history
		{late, Reject, ErrEquivocation},
	} {
		v, err := take(t, table, step.raw)
		if v != step.want || step.err != nil && !errors.Is(err, step.err) {
			t.Errorf("%v %v, want %v %v", v, err, step.want, step.err)
		}
	}
}

func TestClose(t *testing.T) {
	w := newWriter(t, 1)
	table := newTable(nil)
	frames := [][]byte{w.frame(t, 1, 0), w.frame(t, 1, 0), w.frame(t, 2, record.Close), w.frame(t, 1, 0)}
	for i, want := range map[int]Verdict{0: Accept} {
		if v, err := take(t, table, frames[i]); v != want {
			t.Fatal(v, err)
		}
	}
	for _, step := range []struct {
		i    int
		want Verdict
	}{{2, Accept}, {1, Late}, {3, Reject}} {
		if v, err := take(t, table, frames[step.i]); v != step.want {
			t.Errorf("frame %d: %v %v", step.i, v, err)
		}
	}
	tip, _ := table.Tip([16]byte{1})
	if !tip.Closed || len(tip.Gaps) > 0 {
		t.Errorf("%+v", tip)
	}
}

func TestBeats(t *testing.T) {
	w := newWriter(t, 1)
	table := newTable(nil)
	take(t, table, w.frame(t, 3, 0))
	now := time.Unix(1000, 0)
	beat := func(seq uint64, head merkle.Hash, at int64, key ed25519.PrivateKey) []byte {
		return (&frame.Beat{Archive: [16]byte{1}, Stream: [16]byte{1}, Seq: seq, Head: head, Time: at}).Append(nil, key)
	}
	_, stranger, _ := ed25519.GenerateKey(nil)
	for i, step := range []struct {
		raw   []byte
		newer bool
		err   bool
	}{
		{beat(record.None, merkle.Hash{}, 5, w.key), true, false},
		{beat(1, merkle.Hash{}, 10, w.key), true, false},
		{beat(1, merkle.Hash{}, 10, w.key), false, false},
		{beat(1, merkle.Hash{}, 9, w.key), false, false},
		{beat(2, merkle.Hash{9}, 11, w.key), false, true},
		{beat(2, w.head, 1, w.key), true, false}, // a clock that was set back, but more was sent
		{beat(record.None, merkle.Hash{}, 99, w.key), false, false},
		{beat(2, w.head, 12, stranger), false, true},
		{beat(2, w.head, 12, w.key), true, false},
		{beat(7, merkle.Hash{}, 13, w.key), true, false}, // what has not come yet
	} {
		now = now.Add(time.Second)
		err := table.Beat(step.raw, now)
		tip, _ := table.Tip([16]byte{1})
		if (err != nil) != step.err || step.newer != (tip.Beat != nil && tip.Beat.Time.Equal(now)) {
			t.Errorf("step %d: %v, beat %+v", i, err, tip.Beat)
		}
		table = newTable(table.Open()) // a restart changes nothing
	}
}

// TestWhatAStreamRecovered: it stands in the tip of the successor, whatever has come of the predecessor, and a restart of
// the compactor changes nothing. The first word about the predecessor of the certificate counts.
func TestWhatAStreamRecovered(t *testing.T) {
	word := func(stream byte, seq uint64) record.Leaf {
		d := record.RecoveredDetail{Stream: [16]byte{stream}, Seq: seq, Head: merkle.Hash{byte(seq)}}
		return record.Leaf{Type: record.Recovered, Class: "default", Detail: d.Append(nil)}
	}
	for _, test := range []struct {
		name  string
		first []record.Leaf // behind the certificate
		then  []record.Leaf // in the next frame
		want  *commit.Recovered
	}{
		{"at once", []record.Leaf{word(1, 2)}, nil, &commit.Recovered{Seq: 2, Head: commit.Hex32{2}}},
		{"later", nil, []record.Leaf{word(1, 2)}, &commit.Recovered{Seq: 2, Head: commit.Hex32{2}}},
		{"twice", []record.Leaf{word(1, 2), word(1, 3)}, []record.Leaf{word(1, 4)}, &commit.Recovered{Seq: 2, Head: commit.Hex32{2}}},
		{"nothing found", []record.Leaf{word(1, record.None)}, nil, &commit.Recovered{Seq: record.None, Head: commit.Hex32{0xff}}},
		{"not its predecessor", []record.Leaf{word(3, 2)}, []record.Leaf{word(3, 2)}, nil},
		{"its predecessor, behind another", []record.Leaf{word(3, 9)}, []record.Leaf{word(1, 2)}, &commit.Recovered{Seq: 2, Head: commit.Hex32{2}}},
		{"no word", nil, nil, nil},
	} {
		for _, order := range []string{"predecessor first", "successor first", "no predecessor"} {
			t.Run(test.name+", "+order, func(t *testing.T) {
				old, next := newWriter(t, 1), newWriter(t, 2)
				next.link(t, keyscope.Link{Stream: [16]byte{1}, Seq: 2})
				predecessor, table := old.frame(t, 3, 0), newTable(nil)
				step := func(raw []byte) {
					if v, err := take(t, table, raw); v != Accept {
						t.Fatal(v, err)
					}
					table = newTable(append([]commit.Tip(nil), table.Open()...)) // a restart
				}
				if order == "predecessor first" {
					step(predecessor)
				}
				step(next.leaves(t, test.first...))
				if order == "successor first" {
					step(predecessor)
				}
				if len(test.then) > 0 {
					step(next.leaves(t, test.then...))
				}
				if tip, _ := table.Tip([16]byte{2}); !reflect.DeepEqual(tip.Recovered, test.want) {
					t.Errorf("it recovered %+v, want %+v", tip.Recovered, test.want)
				}
				if tip, _ := table.Tip([16]byte{1}); tip.Recovered != nil {
					t.Errorf("the predecessor recovered %+v", tip.Recovered)
				}
			})
		}
	}
}

// link makes a stream that has sent nothing the successor of another.
func (w *writer) link(t rapid.TB, prev keyscope.Link) {
	c := *w.cert
	c.Prev = prev
	_, service, _ := ed25519.GenerateKey(nil)
	cert, err := keyscope.SignCert(c, service)
	if err != nil {
		t.Fatal(err)
	}
	w.cert = cert
}

// leaves makes the next frame of given leaves; the first frame opens the stream.
func (w *writer) leaves(t rapid.TB, leaves ...record.Leaf) []byte {
	d := frame.Draft{Archive: [16]byte{1}, Stream: w.cert.Stream, First: w.next, Prev: w.head}
	if w.next == 0 {
		leaves = append([]record.Leaf{{Type: record.Open, Class: "default", Detail: w.cert.Bytes()}}, leaves...)
	}
	for _, l := range leaves {
		d.Rows = append(d.Rows, frame.Row{Leaf: l, Block: -1})
	}
	raw, head, err := d.Encode(nil, w.key)
	if err != nil {
		t.Fatal(err)
	}
	w.next, w.head = w.next+uint64(len(leaves)), head
	return raw
}
