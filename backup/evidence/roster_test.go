package evidence

import (
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

// rosterWorld is a control log that is made entry by entry, and a record.
type rosterWorld struct{ *rangeWorld }

const honest, eve = "acme/compactor/c1", "acme/compactor/eve"

// newRosterWorld begins with a policy.
func newRosterWorld(t testing.TB) rosterWorld {
	w := rosterWorld{newRangeWorld(t)}
	w.enrol(eve)
	w.entries = w.entries[:1]
	return w
}

// roster signs a roster by somebody, which names a compactor beside the writer.
func (w rosterWorld) roster(by, compactor string) (entry string, names []string) {
	p := w.policy
	p.Compactors = []control.Named{{Name: "c", Key: w.vkeys[compactor]}}
	entry, err := control.Sign(w.archive, control.TypeRoster, w.at, control.NewRoster(&p), w.signers[by])
	w.must(err)
	return entry, p.Names()
}

func (w rosterWorld) put(entry string) int {
	w.entries = append(w.entries, entry)
	return len(w.entries) - 1
}

// heads logs the heads of the logs under a roster.
func (w rosterWorld) heads(by, roster string) int {
	w.logHeadsUnder(by, roster)
	return len(w.entries) - 1
}

// record are the parts of a record, under the head that was signed last.
func (w rosterWorld) record() []Part {
	const at = 8
	hashes := hashesOf(w.logs[logA])
	first, signed := w.frame(logA, at)
	proof, err := merkle.TLogProof{Index: at, Path: w.path(hashes, at), Checkpoint: w.rangeWorld.heads[logA]}.MarshalText()
	w.must(err)
	return []Part{RecordPart(w.logs[logA][at].Append(nil), signed, w.path(hashes[first:first+frameLeaves], at-first)), {KindLog, proof}, {KindStream, w.certs[logA].Bytes()}}
}

// bare is an entry without its proof, with the names of a roster that a record needs.
func (w rosterWorld) bare(entry string, names []string) []Part {
	return append([]Part{{KindEntry, []byte(entry)}}, namesOf(names, func(line string) bool { return line[:6] == "compac" || line[:6] == "writer" })...)
}

// proven is an entry with its proof.
func (w rosterWorld) proven(i int, names []string) []Part {
	hashes := make([]merkle.Hash, len(w.entries))
	for k, e := range w.entries {
		hashes[k] = control.LeafHash(e)
	}
	head, err := merkle.Checkpoint{Origin: "acme/control", Size: uint64(len(hashes)), Root: merkle.Root(hashes)}.Sign(w.signers["acme/control"])
	w.must(err)
	proof, err := merkle.TLogProof{Index: uint64(i), Path: w.path(hashes, i), Checkpoint: head}.MarshalText()
	w.must(err)
	return slices.Insert(w.bare(w.entries[i], names), 1, Part{KindControl, proof})
}

// rosterCases are files about a record whose heads name a roster, or do not. want is "whole", "weaker" or "failed".
func rosterCases(t testing.TB) (cases []struct {
	name, want string
	m          *mutant
}) {
	add := func(name, want string, w rosterWorld, parts ...[]Part) {
		cases = append(cases, struct {
			name, want string
			m          *mutant
		}{name, want, &mutant{name: name, trust: w.trust(), file: w.file(slices.Concat(append([][]Part{w.record()}, parts...)...))}})
	}
	w := newRosterWorld(t)
	r, names := w.roster("acme/root", honest)
	w.put(r)
	h := w.heads(honest, r)
	add("named", "whole", w, w.bare(r, names), w.proven(h, nil))
	add("with its place, which it does not need", "failed", w, w.proven(1, names), w.proven(h, nil))
	add("without names", "failed", w, w.bare(r, nil), w.proven(h, nil))
	add("a name too many", "failed", w, []Part{{KindEntry, []byte(r)}, NamesPart(names, []int{0, len(names) - 2, len(names) - 1})}, w.proven(h, nil))
	add("behind the heads", "weaker", w, w.proven(h, nil), w.bare(r, names))
	add("the policy between", "failed", w, w.bare(r, names), w.bare(w.entries[0], nil), w.proven(h, nil))
	add("heads without their place", "weaker", w, w.bare(r, names), w.bare(w.entries[h], nil))
	forged, theirs := w.roster("acme/approver/anna", honest)
	add("another roster", "failed", w, w.bare(forged, theirs), w.proven(h, nil))

	w = newRosterWorld(t)
	r, names = w.roster("acme/root", honest)
	w.put(r)
	h = w.heads(honest, "")
	add("not named", "weaker", w, w.bare(r, names), w.proven(h, nil))
	add("not named, with its place", "whole", w, w.proven(1, names), w.proven(h, nil))

	w = newRosterWorld(t)
	h = w.heads(honest, forged)
	add("by who is not the policy root", "failed", w, w.bare(forged, theirs), w.proven(h, nil))
	afterwards(t, add)
	return cases
}

// afterwards are files of a policy root that names a compactor whose heads are in the log already.
func afterwards(t testing.TB, add func(name, want string, w rosterWorld, parts ...[]Part)) {
	w := newRosterWorld(t)
	r, names := w.roster("acme/root", honest)
	w.put(r)
	h := w.heads(eve, r)
	later, theirs := w.roster("acme/root", eve)
	add("eve is not in the roster that she names", "failed", w, w.bare(r, names), w.proven(h, nil))
	add("a roster of eve that nobody names", "failed", w, w.bare(later, theirs), w.proven(h, nil))
	record := w.record()
	at := w.put(later)
	add("a roster behind the heads, with its place", "failed", w, w.proven(h, nil), w.proven(at, theirs))
	more := w.heads(honest, later)
	w.rangeWorld.heads[logA] = record[1].Data[strings.Index(string(record[1].Data), "\n\n")+2:]
	add("a roster that later heads name", "failed", w, w.proven(h, nil), w.bare(later, theirs), w.proven(more, nil))
	add("rosters exchanged", "failed", w, w.bare(later, theirs), w.proven(h, nil), w.bare(r, names), w.proven(more, nil))
}

// A roster counts that is named by heads in the log, from these on, and no other; and it does so for both verifiers.
func TestNamedRoster(t *testing.T) {
	cases := rosterCases(t)
	var all []*mutant
	for _, c := range cases {
		all = append(all, c.m)
		v, r := judge(t, c.m.trust, c.m.file)
		got := v.Err
		if got == "" && r.Whole() {
			got = "whole"
		} else if got == "" {
			got = "weaker"
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s: %+v", c.name, got, c.want, v)
		}
		logged := slices.ContainsFunc(v.Holds, func(s Statement) bool { return s.What == whatLog || s.What == whatHead })
		if logged != (c.want == "whole") {
			t.Errorf("%s: it is in a log: %v", c.name, logged)
		}
		if c.name != "named" {
			continue
		}
		for _, want := range []string{"roster of version 1, before entry 2", "writer gateway before entry 2"} {
			if !slices.ContainsFunc(v.Holds, func(s Statement) bool { return s.Detail == want }) {
				t.Errorf("nothing says %q: %+v", want, v.Holds)
			}
		}
		if !slices.ContainsFunc(r.Limits, func(s string) bool { return strings.HasPrefix(s, "that the roster is in the control log") }) {
			t.Errorf("whose word it is that the roster is in the log is not said: %q", r.Limits)
		}
	}
	for i, got := range askPython(t, all) {
		want, _ := judge(t, all[i].trust, all[i].file)
		if got.Err != want.Err || !slices.Equal(got.Holds, want.Holds) || !slices.Equal(got.Missing, want.Missing) {
			t.Errorf("%s:\nGo     %s\nPython %s (%s)", all[i].name, want, got.verdict, got.why)
		}
	}
}

// All lines of a roster lead to its root, whichever are shown, and no change of the part does.
func TestNamesLeadToTheRoster(t *testing.T) {
	for size := 1; size <= 9; size++ {
		var names []string
		var leaves []merkle.Hash
		for i := range size {
			names = append(names, strings.Repeat("x", i+1))
			leaves = append(leaves, merkle.LeafHash([]byte(names[i])))
		}
		for set := 1; set < 1<<size; set++ {
			var shown []int
			for i := range size {
				if set>>i&1 == 1 {
					shown = append(shown, i)
				}
			}
			data := NamesPart(names, shown).Data
			p, err := parseNames(data)
			if err != nil {
				t.Fatal(err)
			}
			if root, ok := p.root(uint64(size)); !ok || root != merkle.Root(leaves) || len(p.lines) != len(shown) {
				t.Fatalf("%d of %d: %v, %v", shown, size, root, ok)
			}
			for at := range data {
				changed := slices.Clone(data)
				changed[at] ^= 1
				if p, err := parseNames(changed); err == nil {
					if root, ok := p.root(uint64(size)); ok && root == merkle.Root(leaves) {
						t.Fatalf("%d of %d: byte %d changed, and it leads to the root", shown, size, at)
					}
				}
			}
		}
	}
}
