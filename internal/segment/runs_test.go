package segment

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// lookUp finds the rows of a scope as a reader does, by ranges of the sections.
func lookUp(t testing.TB, s *Segment, scope [16]byte) (rows []RunRow, runs []Place) {
	t.Helper()
	section := func(number int, p Part) []byte { return cut(s.Proof, s.ProofSpans[number])[p.Off:][:p.Len] }
	d, err := ParseDirectory(cut(s.Proof, s.ProofSpans[SectionScopes]))
	if err != nil {
		t.Fatal(err)
	}
	first, end := d.Find(scope)
	for k := first; k < end; k++ {
		list, group := d.Parts(k)
		if l := section(SectionGroups, list); !d.ListFits(k, l) || !d.GroupFits(k, l, section(SectionGroups, group)) {
			t.Fatalf("run %d: its list or group does not fit", k)
		}
		p, ok := d.Place(k, scope, section(SectionGroups, group))
		if !ok {
			continue
		}
		run, err := ParseRun(section(SectionRuns, p.Part))
		if err != nil {
			t.Fatal(err)
		}
		rows, runs = append(rows, run...), append(runs, p)
	}
	return rows, runs
}

// checkRuns looks up every scope of a run of frames, and compares all with what the index gives.
func checkRuns(t testing.TB, r *run, s *Segment, p Proof) {
	t.Helper()
	x, err := OpenIndex(s.Index)
	if err != nil {
		t.Fatal(err)
	}
	var m RunMaker
	scopes, groups, runs, err := m.Make(x)
	if err != nil || !bytes.Equal(scopes, p[SectionScopes]) || !bytes.Equal(groups, p[SectionGroups]) || !bytes.Equal(runs, p[SectionRuns]) {
		t.Fatalf("the index gives other runs: %v", err)
	}
	leaves := map[[16]byte][]int{}
	for i := range r.leaves {
		if hasBlock(r.leaves[i].Type) {
			leaves[r.leaves[i].Scope] = append(leaves[r.leaves[i].Scope], i)
		}
	}
	for id, want := range leaves {
		rows, places := lookUp(t, s, id)
		if len(rows) != len(want) || len(places) != (len(want)+runRows-1)/runRows {
			t.Fatalf("scope %x has %d rows in %d runs, not %d", id, len(rows), len(places), len(want))
		}
		for k, place := range places {
			from, to := k*runRows, min(k*runRows+runRows, len(want))
			checkRun(t, r, x, id, rows[from:to], want[from:to])
			var rest []byte
			for i, leaf := range want[from:to] {
				if !rows[from+i].SameBlock {
					rest = append(rest, r.leaves[leaf].Digest[:]...)
				}
				rest = append(rest, r.leaves[leaf].Commitment[:]...)
			}
			if RunDigest(id, p[SectionRuns][place.Off:][:place.Len], rest) != place.Digest {
				t.Fatalf("run %d of scope %x has another digest", k, id)
			}
		}
	}
}

func checkRun(t testing.TB, r *run, x *Index, id [16]byte, rows []RunRow, want []int) {
	t.Helper()
	for i, leaf := range want {
		l := &r.leaves[leaf]
		b, k := x.Row(leaf)
		place, _ := b.Block(k)
		same := i > 0 && rows[i-1].Block == place && rows[i-1].Slot+1 == l.Slot
		if diff := cmp.Diff(RunRow{uint32(leaf), l.Type, l.Kind, l.Flags, l.Seq, l.Time, l.ID, l.Slot, place, same}, rows[i]); diff != "" {
			t.Fatalf("scope %x, leaf %d: %s", id, leaf, diff)
		}
	}
}

// manyScopes is a segment with so many scopes that there are several chunks, and one scope with several runs.
func manyScopes(t testing.TB) (*run, *Segment) {
	r := makeRun(t, 5, 2, 4, shape{rows: 700, blockRows: 3, blockLen: 60, models: 2})
	long := makeRun(t, 77, 1, 1, shape{rows: 700, blockRows: 600, blockLen: 60, models: 2, clean: true})
	for _, raw := range long.frames {
		r.add(t, raw)
	}
	return r, r.write(t, NewWriter(testArchive, testLog, merkle.Frontier{}))
}

func TestLookUp(t *testing.T) {
	r, s := manyScopes(t)
	d, err := ParseDirectory(cut(s.Proof, s.ProofSpans[SectionScopes]))
	if err != nil || d.Len() < 2*chunkRuns {
		t.Fatalf("%d runs, too few for this test: %v", d.Len(), err)
	}
	checkSegment(t, r, s)
	// A scope that is not there is hardly ever looked for further than in the directory, and never found.
	rng, candidates := rand.New(rand.NewPCG(1, 2)), 0
	for range 10_000 {
		var id [16]byte
		fill(rng, id[:])
		first, end := d.Find(id)
		candidates += end - first
		if rows, _ := lookUp(t, s, id); rows != nil {
			t.Fatalf("scope %x was found", id)
		}
	}
	if candidates > 100 { // random first bytes are 65,536 days
		t.Errorf("%d candidates for scopes that are not there", candidates)
	}
}

// Of 10,000 other scopes of the same day, a sixteenth at most looks as if it were there.
func TestFingerprints(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	day := func() (id [16]byte) {
		fill(rng, id[:])
		id[0], id[1] = 0x50, 0x11
		return id
	}
	var w runWriter
	for range 5000 {
		id := day()
		w.high = append(w.high, be.Uint64(id[:]))
	}
	slices.Sort(w.high)
	w.items = make([]byte, groupItem*len(w.high))
	section := w.appendScopes(nil, w.appendGroups(nil))
	if limit := 5000 + 5000*13/10; len(section) > limit {
		t.Errorf("%d bytes for 5,000 runs, more than %d", len(section), limit)
	}
	d, err := ParseDirectory(section)
	if err != nil {
		t.Fatal(err)
	}
	hits := 0
	for range 10_000 {
		if first, end := d.Find(day()); first < end {
			hits++
		}
	}
	if hits > 10_000/16 {
		t.Errorf("%d of 10,000 fingerprints collide", hits)
	}
	for _, high := range w.high {
		var id [16]byte
		be.PutUint64(id[:], high)
		if first, end := d.Find(id); first == end {
			t.Fatalf("scope %x is there and was not found", id)
		}
	}
}

// Whatever is changed in a list or a group, the directory tells.
func TestLookUpDamaged(t *testing.T) {
	r, s := manyScopes(t)
	d, err := ParseDirectory(cut(s.Proof, s.ProofSpans[SectionScopes]))
	if err != nil {
		t.Fatal(err)
	}
	groups, id := slices.Clone(cut(s.Proof, s.ProofSpans[SectionGroups])), r.leaves[5].Scope
	k, _ := d.Find(id)
	inList, inGroup := d.Parts(k)
	list, group := groups[inList.Off:][:inList.Len], groups[inGroup.Off:][:inGroup.Len]
	if !d.ListFits(k, list) || !d.GroupFits(k, list, group) || d.ListFits(k, list[1:]) || d.GroupFits(k, list, group[1:]) {
		t.Fatal("list and group must fit, and not be cut short")
	}
	for i := range list {
		list[i] ^= 4
		if d.ListFits(k, list) {
			t.Fatalf("byte %d of a list changed, and nobody saw it", i)
		}
		list[i] ^= 4
	}
	for i := range group {
		group[i] ^= 4
		if d.GroupFits(k, list, group) {
			t.Fatalf("byte %d of a group changed, and nobody saw it", i)
		}
		group[i] ^= 4
	}
	if _, ok := d.Place(k, id, group); !ok {
		t.Fatal("the run is not taken for what it is")
	}
	other := id
	other[checkFrom]++
	if _, ok := d.Place(k, other, group); ok {
		t.Fatal("the run is taken for that of another scope")
	}
}

// FuzzRun: a run that is accepted has rows in order, and whatever else it says fits into what was given.
func FuzzRun(f *testing.F) {
	_, s := manyScopes(f)
	f.Add(slices.Clone(cut(s.Proof, s.ProofSpans[SectionRuns])[:40]))
	f.Add([]byte{0, 0, byte(record.Plain) | sameBlock})
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := ParseRun(b)
		checkError(t, err)
		for i := range rows {
			if i > 0 && rows[i].Leaf <= rows[i-1].Leaf || len(b) < 20*len(rows) {
				t.Fatalf("row %d of %d bytes: %+v", i, len(b), rows[i])
			}
		}
	})
}

func FuzzDirectory(f *testing.F) {
	_, s := manyScopes(f)
	f.Add(slices.Clone(cut(s.Proof, s.ProofSpans[SectionScopes])), []byte("0123456789abcdef"))
	f.Add([]byte{1, 0, 0, 0}, []byte("0123456789abcdef"))
	f.Fuzz(func(t *testing.T, b, scope []byte) {
		d, err := ParseDirectory(b)
		checkError(t, err)
		if err != nil || len(scope) != 16 {
			return
		}
		first, end := d.Find([16]byte(scope))
		if first > end || end > d.Len() || d.Len() > len(b) {
			t.Fatalf("runs %d to %d of %d", first, end, d.Len())
		}
		for k := range d.Len() {
			list, group := d.Parts(k)
			if list.Off+list.Len > group.Off || group.Len < groupHeader+groupItem {
				t.Fatalf("run %d: list at %v, group at %v", k, list, group)
			}
		}
	})
}
