package rangeproof

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

func hashesOf(leaves []record.Leaf) (hashes []merkle.Hash) {
	for i := range leaves {
		hashes = append(hashes, merkle.LeafHash(leaves[i].Append(nil)))
	}
	return hashes
}

// someLeaves are leaves of all types, of three streams, some in blocks together.
func someLeaves(seed uint64, n int) (leaves []record.Leaf) {
	random := rand.New(rand.NewPCG(seed, 7))
	fill := func(b []byte) {
		for i := range b {
			b[i] = byte(random.Uint32())
		}
	}
	var streams [3][16]byte
	for i := range streams {
		fill(streams[i][:])
	}
	var scope [16]byte
	var digest [32]byte
	slot, seqs := uint16(0), [3]uint64{}
	at := time.Date(2026, 11, 28, 14, 0, 0, 0, time.UTC).UnixNano()
	for i := range n {
		s := random.IntN(3)
		l := record.Leaf{Type: record.Plain, Kind: uint8(1 + random.IntN(4)), Stream: streams[s], Seq: seqs[s], Time: at, Class: "default"}
		seqs[s]++
		at += random.Int64N(int64(time.Minute)) - int64(10*time.Second)
		switch i % 11 {
		case 4:
			l.Type, l.Kind, l.Detail = record.Loss, 0, record.LossDetail{Count: 3, Reason: record.MemoryFull}.Append(nil)
		case 7:
			l.Type = record.Piece
		}
		if l.Type != record.Loss {
			if slot++; random.IntN(3) == 0 || i == 0 {
				fill(digest[:])
				slot = 0
				if random.IntN(2) == 0 || i == 0 {
					fill(scope[:])
				}
			}
			l.Scope, l.Digest, l.Slot = scope, digest, slot
			fill(l.ID[:])
			fill(l.Commitment[:])
			l.Clear[record.Model] = []string{"", "m-1", "m-2", record.Hidden}[random.IntN(4)]
			l.Clear[record.Operation] = "chat"
			fill(l.Buckets[:])
		}
		leaves = append(leaves, l)
	}
	return leaves
}

// log is a log of some leaves, and its head.
type log struct {
	leaves []record.Leaf
	hashes []merkle.Hash
	head   []byte
}

func newLog(t testing.TB, seed uint64, n int) *log {
	t.Helper()
	x := &log{leaves: someLeaves(seed, n)}
	x.hashes = hashesOf(x.leaves)
	signer, err := merkle.NewSigner("acme/compactor/c1", ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err == nil {
		x.head, err = merkle.Checkpoint{Origin: "acme/0/2026Q4", Size: uint64(n), Root: merkle.Root(x.hashes)}.Sign(signer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *log) nodes(nodes []merkle.Node, out []merkle.Hash) error {
	for i, n := range nodes {
		out[i] = merkle.Root(x.hashes[n.Index<<n.Level:][:1<<n.Level])
	}
	return nil
}

func (x *log) run(first, end int, q Query) ([]byte, error) {
	l, err := NewLeaves(x.head, q, uint64(first))
	if err != nil {
		return nil, err
	}
	for i := first; i < end; i++ {
		if err := l.Add(x.leaves[i].Append(nil)); err != nil {
			return nil, err
		}
	}
	return l.Marshal(x.nodes)
}

// Any run of leaves of any tree, and any query: whoever reads it finds what the log holds.
func TestRun(t *testing.T) {
	logs := []*log{newLog(t, 1, 77), newLog(t, 2, 64), newLog(t, 3, 1)}
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SampledFrom(logs).Draw(t, "log")
		n := len(x.leaves)
		q := Query{Kind: rapid.SampledFrom([]string{"", "input", "error"}).Draw(t, "kind"), Model: rapid.SampledFrom([]string{"", "m-1", "~"}).Draw(t, "model")}
		if rapid.Bool().Draw(t, "timed") {
			q.Since = time.Unix(0, x.leaves[rapid.IntRange(0, n-1).Draw(t, "since")].Time).UTC()
			q.Until = q.Since.Add(10*time.Minute + time.Nanosecond)
		}
		first := rapid.IntRange(0, n-1).Draw(t, "first")
		end := rapid.IntRange(first+1, n).Draw(t, "end")
		raw, err := x.run(first, end, q)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Parse(raw)
		if err != nil || r.First != uint64(first) || r.Leaves != uint64(end-first) || r.Query != q || r.At.Size != uint64(n) {
			t.Fatalf("%+v, %v", r, err)
		}
		at := 0
		for i, l := range x.leaves[first:end] {
			if l.Type != record.Plain || q.Kind != "" && q.Kind != record.KindNames()[l.Kind] || q.Model != "" && q.Model != l.Clear[record.Model] ||
				!q.Since.IsZero() && l.Time < q.Since.UnixNano() || !q.Until.IsZero() && l.Time >= q.Until.UnixNano() {
				continue
			}
			if at == len(r.Matches) || r.Matches[at].Index != uint64(first+i) || r.Matches[at].ID != fmt.Sprintf("%x", l.ID) || r.Matches[at].Hash != x.hashes[first+i] {
				t.Fatalf("leaf %d is not match %d of %+v", first+i, at, r.Matches)
			}
			at++
		}
		if at != len(r.Matches) {
			t.Fatalf("%d matches, want %d", len(r.Matches), at)
		}
	})
}

func TestQuery(t *testing.T) {
	at := time.Date(2026, 11, 28, 14, 0, 0, 5, time.UTC)
	for text, q := range map[string]Query{
		`{}`: {}, `{"kind":"error","model":"gpt-4o/x:1"}`: {Kind: "error", Model: "gpt-4o/x:1"},
		`{"model":"~","since":"2026-11-28T14:00:00.000000005Z","until":"2026-11-28T15:00:00.000000005Z"}`: {Model: "~", Since: at, Until: at.Add(time.Hour).In(time.FixedZone("", 3600))},
	} {
		got, err := q.text()
		if err != nil || string(got) != text {
			t.Errorf("%s, %v; want %s", got, err, text)
		}
		if again, err := parseQuery(got); err != nil || again.Kind != q.Kind || again.Model != q.Model || !again.Since.Equal(q.Since) || !again.Until.Equal(q.Until) {
			t.Errorf("%+v, %v", again, err)
		}
	}
	for _, bad := range []string{"", "{", `{"kind":"thought"}`, `{"model":"gpt 4"}`, `{"model":""}`, `{ }`, `{"scope":"x"}`, `{"since":"2026-11-28T14:00:00+00:00"}`, `{"Kind":"error"}`,
		`{"since":"0001-01-02T00:00:00Z"}`, `{"until":"9999-01-01T00:00:00Z"}`, `{"kind":"error","kind":"error"}`, `{}x`} {
		if q, err := parseQuery([]byte(bad)); err == nil {
			t.Errorf("%s: taken for %+v", bad, q)
		}
	}
}

// edit writes a run of other leaves than those of the log, with all else as it should be.
func (x *log) edit(t *testing.T, first uint64, q Query, change func([]record.Leaf) []record.Leaf) []byte {
	t.Helper()
	const from, end = 5, 70
	leaves := change(slices.Clone(x.leaves[from:end]))
	text, err := q.text()
	if err != nil {
		t.Fatal(err)
	}
	around := append(leftNodes(first), rightNodes(end, uint64(len(x.leaves)))...)
	hashes := make([]merkle.Hash, len(around))
	if err := x.nodes(around, hashes); err != nil {
		t.Fatal(err)
	}
	data := append(binary.AppendUvarint(nil, uint64(len(x.head))), x.head...)
	data = append(binary.AppendUvarint(data, uint64(len(text))), text...)
	data = binary.AppendUvarint(binary.AppendUvarint(data, first), uint64(len(leaves)))
	for _, h := range hashes {
		data = append(data, h[:]...)
	}
	rows := newLeafRows()
	for i := range leaves {
		rows.add(&leaves[i])
	}
	return rows.append(data)
}

// What could be done to hide a match from whoever checks.
func TestRunLies(t *testing.T) {
	x, q := newLog(t, 1, 77), Query{Model: "m-1"}
	same := func(l []record.Leaf) []record.Leaf { return l }
	raw := x.edit(t, 5, q, same)
	if honest, err := x.run(5, 70, q); err != nil || !bytes.Equal(raw, honest) {
		t.Fatalf("unchanged: %v", err)
	}
	find := func(model string) int {
		return slices.IndexFunc(x.leaves[5:], func(l record.Leaf) bool { return l.Type == record.Plain && l.Clear[record.Model] == model })
	}
	match, other := find("m-1"), find("m-2")
	for name, change := range map[string]func(l []record.Leaf) []record.Leaf{
		"a match is left out":          func(l []record.Leaf) []record.Leaf { return slices.Delete(l, match, match+1) },
		"another leaf is left out":     func(l []record.Leaf) []record.Leaf { return slices.Delete(l, other, other+1) },
		"the last leaf is left out":    func(l []record.Leaf) []record.Leaf { return l[:len(l)-1] },
		"a leaf is there twice":        func(l []record.Leaf) []record.Leaf { return slices.Insert(l, match, l[match]) },
		"a match has another model":    func(l []record.Leaf) []record.Leaf { l[match].Clear[record.Model] = "m-2"; return l },
		"a match is of another time":   func(l []record.Leaf) []record.Leaf { l[match].Time++; return l },
		"a match is of another kind":   func(l []record.Leaf) []record.Leaf { l[match].Kind = l[match].Kind%4 + 1; return l },
		"a match becomes a piece":      func(l []record.Leaf) []record.Leaf { l[match].Type = record.Piece; return l },
		"another leaf becomes a match": func(l []record.Leaf) []record.Leaf { l[other].Clear[record.Model] = "m-1"; return l },
		"leaves are exchanged":         func(l []record.Leaf) []record.Leaf { l[match], l[other] = l[other], l[match]; return l },
		"no leaves":                    func([]record.Leaf) []record.Leaf { return nil },
	} {
		if r, err := Parse(x.edit(t, 5, q, change)); err == nil {
			t.Errorf("%s: accepted with %d matches", name, len(r.Matches))
		}
	}
	for name, data := range map[string][]byte{
		"shifted down":          x.edit(t, 4, q, same),
		"shifted up":            x.edit(t, 6, q, same),
		"shifted to the front":  x.edit(t, 0, q, same),
		"something behind it":   append(bytes.Clone(raw), 0),
		"half of it":            raw[:len(raw)/2],
		"the head of another":   bytes.Replace(raw, x.head, newLog(t, 8, 77).head, 1),
		"a member nobody knows": bytes.Replace(raw, []byte(`{"model":"m-1"}`), []byte(`{"scope":"m-1"}`), 1),
		"written otherwise":     bytes.Replace(raw, []byte(`{"model":"m-1"}`), []byte(`{"Model":"m-1"}`), 1),
		"nothing":               nil,
	} {
		if r, err := Parse(data); err == nil {
			t.Errorf("%s: accepted with %d matches", name, len(r.Matches))
		}
	}
	if _, err := x.run(70, 70, q); err == nil {
		t.Error("a run of no leaves is made")
	}
	x.leaves[20].Time++
	if _, err := x.run(5, 70, q); err == nil {
		t.Error("a run that does not give the root is made")
	}
}

// There is one way to write rows.
func TestRowsAreCanonical(t *testing.T) {
	leaves := someLeaves(5, 60)
	rows := newLeafRows()
	for i := range leaves {
		rows.add(&leaves[i])
	}
	raw := rows.append(nil)
	n := 0
	if err := eachLeaf(raw, 60, func(i uint64, l *record.Leaf, data []byte) {
		if n++; !bytes.Equal(data, leaves[i].Append(nil)) {
			t.Errorf("leaf %d is another one", i)
		}
	}); err != nil || n != 60 {
		t.Fatalf("%d leaves, %v", n, err)
	}
	t.Logf("%d leaves take %d bytes", n, len(raw))
	for name, change := range map[string]func(*leafRows){
		"a run in two":        func(r *leafRows) { r.run.n = 0; r.col[colRuns] = []byte{0, 0, 1, 0, 1, 1} },
		"a stream of nobody":  func(r *leafRows) { r.col[colStreams] = append(r.col[colStreams], make([]byte, 16)...) },
		"a text of nobody":    func(r *leafRows) { r.col[colTexts] = append(r.col[colTexts], 1, 'x') },
		"half a digest more":  func(r *leafRows) { r.col[colDigests] = append(r.col[colDigests], 1, 2, 3) },
		"a long number":       func(r *leafRows) { r.col[colSlots] = append([]byte{0x80, 0x00}, r.col[colSlots][1:]...) },
		"a detail too many":   func(r *leafRows) { r.col[colDetails] = append(r.col[colDetails], 0, 0) },
		"a block from before": func(r *leafRows) { r.col[colBlocks][0] = 1 },
		"a scope from before": func(r *leafRows) { r.col[colBlockScopes][0] = 1 },
	} {
		r := newLeafRows()
		for i := range leaves {
			r.add(&leaves[i])
		}
		r.endRun()
		change(r)
		if err := eachLeaf(r.append(nil), 60, func(uint64, *record.Leaf, []byte) {}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzRows(f *testing.F) {
	rows := newLeafRows()
	for _, l := range someLeaves(6, 20) {
		rows.add(&l)
	}
	f.Add(rows.append(nil), uint64(20))
	f.Fuzz(func(t *testing.T, raw []byte, count uint64) {
		again := newLeafRows()
		if eachLeaf(raw, count, func(_ uint64, l *record.Leaf, _ []byte) { again.add(l) }) == nil && !bytes.Equal(again.append(nil), raw) {
			t.Error("rows are written in two ways")
		}
	})
}

func FuzzParse(f *testing.F) {
	x := newLog(f, 4, 20)
	raw, err := x.run(3, 17, Query{Kind: "input"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := Parse(raw); err == nil && (r.Leaves == 0 || uint64(len(r.Matches)) > r.Records || r.Records > r.Leaves) {
			t.Errorf("%+v", r)
		}
	})
}
