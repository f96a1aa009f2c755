package tips

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// TestGaps: what is missing, with the heads on both sides, after frames that came late and behind further gaps.
func TestGaps(t *testing.T) {
	gap := func(from, to uint64, head, prev merkle.Hash) commit.Gap {
		return commit.Gap{From: from, To: to, Head: commit.Hex32(head), Prev: commit.Hex32(prev)}
	}
	type spans = [][2]uint64
	for _, x := range []struct {
		name  string
		takes func(g *gapped) []frame.Draft
		late  spans
		gaps  func(g *gapped, heads []merkle.Hash) []commit.Gap
	}{
		{"nothing", func(*gapped) []frame.Draft { return nil }, nil,
			func(g *gapped, _ []merkle.Hash) []commit.Gap { return []commit.Gap{gap(2, 6, g.heads[2], g.heads[0])} }},
		{"the first of two", func(g *gapped) []frame.Draft { return g.frames[1:2] }, spans{{2, 4}},
			func(g *gapped, _ []merkle.Hash) []commit.Gap { return []commit.Gap{gap(4, 6, g.heads[2], g.heads[1])} }},
		{"the second", func(g *gapped) []frame.Draft { return g.frames[2:3] }, spans{{4, 6}},
			func(g *gapped, _ []merkle.Hash) []commit.Gap { return []commit.Gap{gap(2, 4, g.heads[1], g.heads[0])} }},
		{"both", func(g *gapped) []frame.Draft { return g.frames[1:3] }, spans{{2, 4}, {4, 6}},
			func(*gapped, []merkle.Hash) []commit.Gap { return []commit.Gap{} }},
		{"one between", func(g *gapped) []frame.Draft { return []frame.Draft{g.at(3, 2)} }, spans{{3, 5}},
			func(g *gapped, heads []merkle.Hash) []commit.Gap {
				return []commit.Gap{gap(2, 3, merkle.Hash{7}, g.heads[0]), gap(5, 6, g.heads[2], heads[0])}
			}},
		{"in the second of two gaps", func(g *gapped) []frame.Draft { return []frame.Draft{g.at(12, 2), g.at(9, 1)} }, spans{{9, 10}},
			func(g *gapped, heads []merkle.Hash) []commit.Gap {
				return []commit.Gap{gap(2, 6, g.heads[2], g.heads[0]), gap(8, 9, merkle.Hash{7}, g.heads[3]), gap(10, 12, merkle.Hash{7}, heads[1])}
			}},
	} {
		t.Run(x.name, func(t *testing.T) {
			g := newGapped(t)
			var heads []merkle.Hash
			for _, d := range x.takes(g) {
				raw := g.signed(t, d)
				heads = append(heads, frame.Head(raw))
				if v, err := take(t, g.table, raw); v != Accept && v != Late {
					t.Fatal(v, err)
				}
			}
			tip, gaps := g.tip(t), x.gaps(g, heads)
			if !reflect.DeepEqual(tip.Gaps, gaps) || !reflect.DeepEqual(tip.Late, x.late) {
				t.Errorf("late %v, gaps\n%+v, want\n%+v", tip.Late, tip.Gaps, gaps)
			}
			next, head := uint64(8), g.heads[3]
			if x.name == "in the second of two gaps" {
				next, head = 14, heads[0]
			}
			if tip.From != 0 || tip.Next != next || tip.Head != commit.Hex32(head) {
				t.Errorf("from %d next %d head %x", tip.From, tip.Next, tip.Head)
			}
			// What a commit has is not said again by the next one, in this process or another.
			tip.From, tip.Late = next, nil
			if again := newTable(g.table.All()).All(); !reflect.DeepEqual(again, []commit.Tip{tip}) {
				t.Errorf("read again: %+v", again)
			}
			g.table.Settle()
			if again := g.tip(t); !reflect.DeepEqual(again, tip) {
				t.Errorf("settled: %+v", again)
			}
		})
	}
}

// TestGapsAreItsOwn: a table that comes of tips does not change them.
func TestGapsAreItsOwn(t *testing.T) {
	g := newGapped(t)
	had := g.table.All()
	copied := commit.Tip{Gaps: append([]commit.Gap(nil), had[0].Gaps...)}
	g.table = newTable(had)
	g.take(t, g.signed(t, g.frames[1]), Late)
	if !reflect.DeepEqual(had[0].Gaps, copied.Gaps) {
		t.Errorf("%+v, were %+v", had[0].Gaps, copied.Gaps)
	}
}

// TestLost: what a stream declares lost adds up, whenever it comes; a detail that cannot be read adds nothing.
func TestLost(t *testing.T) {
	g := newGapped(t)
	step := func(first uint64, rows ...frame.Row) {
		t.Helper()
		d := g.at(first, 0)
		if first >= 8 {
			d.Prev = merkle.Hash(g.tip(t).Head)
		}
		d.Rows = rows
		if v, err := take(t, g.table, g.signed(t, d)); v != Accept && v != Late {
			t.Fatal(v, err)
		}
	}
	want := func(lost, seq uint64) {
		t.Helper()
		if tip := g.tip(t); tip.Lost != lost || tip.LostSeq != seq || tip.Recovered != nil {
			t.Errorf("lost %d, the last at %d, recovered %v", tip.Lost, tip.LostSeq, tip.Recovered)
		}
	}
	step(8, own(record.Loss, "short"))
	want(0, 0)
	step(9, loss(5), sampled(1), loss(7), sampled(1))
	want(12, 11)
	step(3, loss(100), sampled(1)) // late
	want(112, 11)
	step(13, own(record.Recovered, string(record.RecoveredDetail{Stream: [16]byte{9}}.Append(nil))), own(record.Recovered, "short"))
	want(112, 11) // there is nothing that it could have recovered
}

// TestClosed: a stream ends with its close. Gaps can be filled still, and a table of open streams has it once more.
func TestClosed(t *testing.T) {
	g := newGapped(t)
	d := g.at(8, 1)
	d.Rows = append(d.Rows, closing())
	g.take(t, g.signed(t, d), Accept)
	next := g.at(10, 1)
	next.Prev = merkle.Hash(g.tip(t).Head)
	g.table.Settle()
	for _, after := range []frame.Draft{next, g.at(11, 1)} {
		if v, err := take(t, g.table, g.signed(t, after)); v != Reject || err == nil || err.Error() != "frame after the close of its stream" {
			t.Errorf("at %d: %d %v", after.First, v, err)
		}
	}
	count := func(open, changed int) {
		t.Helper()
		if all := len(g.table.All()); all != 1 || len(g.table.Open()) != open || len(g.table.Changed()) != changed {
			t.Errorf("%d, open %d, changed %d", all, len(g.table.Open()), len(g.table.Changed()))
		}
	}
	count(0, 0)
	g.take(t, g.signed(t, g.frames[1]), Late)
	count(1, 1)
	g.table.Settle()
	count(0, 0)
}

// TestChanged: what a commit must name is what changed since the one before, in the order of the ids.
func TestChanged(t *testing.T) {
	table := newTable(nil)
	ids := func(tips []commit.Tip) (out []byte) {
		for _, tip := range tips {
			out = append(out, tip.ID[0])
		}
		return out
	}
	writers := map[byte]*writer{}
	step := func(id byte) {
		t.Helper()
		if v, err := take(t, table, writers[id].frame(t, 1, 0)); v != Accept {
			t.Fatal(v, err)
		}
	}
	for _, id := range []byte{9, 3, 7, 1, 5, 8, 2} {
		writers[id] = newWriter(t, id)
		step(id)
	}
	sorted := []byte{1, 2, 3, 5, 7, 8, 9}
	if !bytes.Equal(ids(table.Changed()), sorted) {
		t.Errorf("changed: %v", ids(table.Changed()))
	}
	table.Settle()
	step(8)
	step(3)
	if !bytes.Equal(ids(table.Changed()), []byte{3, 8}) || !bytes.Equal(ids(table.Open()), sorted) || !bytes.Equal(ids(table.All()), sorted) {
		t.Errorf("changed %v, open %v, all %v", ids(table.Changed()), ids(table.Open()), ids(table.All()))
	}
}

// TestEncaps: of a stream the last two different encapsulations are remembered, oldest first, and a commit says where it
// repeats them.
func TestEncaps(t *testing.T) {
	g := newGapped(t)
	other := newTable(g.table.All())
	numbers := func(encaps []Encap) (out []byte) {
		for _, e := range encaps {
			n := e.Enc[0]
			if e.ID != frame.EncapID(e.Enc) || e.Day != uint16(n) || e.Year != 2026 || len(e.Enc) != frame.EncapLen {
				t.Errorf("encapsulation %d is not what came: %x of day %d", n, e.ID, e.Day)
			}
			out = append(out, n)
		}
		return out
	}
	first := uint64(8)
	for _, x := range []struct{ come, want []byte }{
		{nil, nil}, {[]byte{1}, []byte{1}}, {[]byte{1}, []byte{1}}, {[]byte{2}, []byte{1, 2}}, {[]byte{1}, []byte{2, 1}},
		{[]byte{3, 4, 5}, []byte{4, 5}}, {nil, []byte{4, 5}}, {[]byte{5, 5}, []byte{4, 5}},
	} {
		d := g.at(first, 1)
		d.Prev = merkle.Hash(g.tip(t).Head)
		for _, n := range x.come {
			d.Entries = append(d.Entries, encap(n))
		}
		d.Entries = append(d.Entries, (&frame.ScopeEntry{Class: "default"}).Append(nil))
		raw := g.signed(t, d)
		g.take(t, raw, Accept)
		clear(raw) // the table has a copy
		if have := numbers(g.table.Encaps([16]byte{1})); !bytes.Equal(have, x.want) {
			t.Errorf("%d came, have %d, want %d", x.come, have, x.want)
		}
		first++
	}
	if e := g.table.Encaps([16]byte{2}); e != nil {
		t.Errorf("of an unknown stream: %v", e)
	}

	other.TakeEncaps(g.table)
	if have := numbers(other.Encaps([16]byte{1})); !bytes.Equal(have, []byte{4, 5}) {
		t.Errorf("taken over: %d", have)
	}
	d := g.at(8, 1)
	d.Entries = [][]byte{encap(6)}
	if v, err := take(t, other, g.signed(t, d)); v != Accept {
		t.Fatal(v, err)
	}
	other.TakeEncaps(g.table) // what the table itself knows is newer
	if have := numbers(other.Encaps([16]byte{1})); !bytes.Equal(have, []byte{5, 6}) {
		t.Errorf("taken over behind what there is: %d", have)
	}
	for n := range uint64(2) {
		other.Repeated([16]byte{1}, n)
		tip, _ := other.Tip([16]byte{1})
		id := func(n byte) commit.Hex16 { return frame.EncapID(encap(n)[5:]) }
		if want := []commit.EncapAt{{ID: id(5), Commit: n}, {ID: id(6), Commit: n}}; !reflect.DeepEqual(tip.Encaps, want) {
			t.Errorf("repeated: %+v, want %+v", tip.Encaps, want)
		}
	}
}
