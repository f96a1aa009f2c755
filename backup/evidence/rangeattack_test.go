package evidence

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/merkle"
)

// rangeAttack is a file that somebody made of the parts of an answer.
type rangeAttack struct {
	name  string
	parts []Part
	other bool // it answers another question, and says so
}

// frames takes part 15 apart.
func (w *rangeWorld) frames(p Part, first uint64) (at []uint64, signed [][]byte) {
	w.t.Helper()
	for in := (cursor{b: p.Data}); len(in.b) > 0; {
		first += in.uv()
		raw := slices.Concat(in.bytes(leavesRoot), make([]byte, wordLen), in.bytes(uint64(frame.SignedLen-leavesRoot-wordLen)))
		h, err := frame.ParseHeader(raw)
		w.must(err)
		at, signed = append(at, first), append(signed, raw)
		first += uint64(h.Count)
	}
	return at, signed
}

// edited are what somebody can make of a whole answer who has it and the archive, and no key.
func (w *rangeWorld) edited(q rangeproof.Query) (all []rangeAttack) {
	whole := w.whole(q)
	put := func(name string, parts ...Part) { all = append(all, rangeAttack{name, parts, false}) }
	for i := range whole {
		put(fmt.Sprintf("without part %d of kind %d", i, whole[i].Kind), slices.Delete(slices.Clone(whole), i, i+1)...)
		put(fmt.Sprintf("part %d of kind %d twice", i, whole[i].Kind), slices.Insert(slices.Clone(whole), i, whole[i])...)
		if i > 0 {
			put(fmt.Sprintf("parts %d and %d exchanged", i-1, i), slices.Concat(whole[:i-1], []Part{whole[i], whole[i-1]}, whole[i+1:])...)
		}
	}
	around := w.keep("compactor ", "writer ")
	shown := func(first, end int) []Part {
		return []Part{w.part(logA, first, end, q), w.signed(logA, first, end, q), whole[2]}
	}
	put("the first log left out", append(slices.Clone(whole[3:6]), around...)...)
	put("the second log left out", append(slices.Clone(whole[:3]), around...)...)
	put("all signatures stripped", append([]Part{whole[0], whole[3]}, w.around()...)...)
	put("cut at its start", slices.Concat(shown(12, 77), whole[3:])...)
	put("cut at its end", slices.Concat(shown(0, 72), whole[3:])...)
	put("cut in the middle", slices.Concat(shown(0, 36), []Part{w.part(logA, 37, 77, q)}, whole[3:])...)
	put("cut in the middle, signed", slices.Concat(shown(0, 36), []Part{w.part(logA, 42, 77, q), w.signed(logA, 42, 77, q)}, whole[3:])...)
	at, signed := w.frames(whole[1], 0)
	for i := range at {
		p := rawFrames(slices.Delete(slices.Clone(at), i, i+1), slices.Delete(slices.Clone(signed), i, i+1))
		put(fmt.Sprintf("without frame %d", i), slices.Concat(whole[:1], []Part{p}, whole[2:])...)
		if i > 0 {
			put(fmt.Sprintf("frame %d in the place of the one before", i), slices.Concat(whole[:1], []Part{rawFrames(at, slices.Replace(slices.Clone(signed), i-1, i, signed[i]))}, whole[2:])...)
		}
	}
	put("a frame that no match needs", slices.Concat(whole[:1], []Part{w.needless(q, at, signed)}, whole[2:])...)
	put("a frame twice", slices.Concat(whole[:1], []Part{rawFrames([]uint64{at[0], at[0]}, [][]byte{signed[0], signed[0]})}, whole[2:])...)
	put("the frames of the other log", slices.Concat(whole[:1], whole[4:5], whole[2:])...)
	put("the other log's certificate", slices.Concat(whole[:2], whole[5:6], whole[3:])...)
	lines := w.lines()
	list := slices.IndexFunc(whole, func(p Part) bool { return p.Kind == rangeproof.KindLogs })
	for name, text := range map[string]string{"one line": lines[0] + "\n", "none": "", "no newline": strings.Join(lines, "\n"), "other order": lines[1] + "\n" + lines[0] + "\n",
		"a line more": strings.Join(append(slices.Clone(lines), lines[1]), "\n") + "\n", "another size": strings.Replace(strings.Join(lines, "\n")+"\n", " 32 ", " 33 ", 1)} {
		put("list of logs: "+name, slices.Replace(slices.Clone(whole), list, list+1, Part{rangeproof.KindLogs, []byte(text)})...)
	}
	for name, other := range map[string]rangeproof.Query{"another kind": {Kind: "input", Model: q.Model}, "all": {}, "an earlier end": {Model: q.Model, Until: time.Unix(0, 20*int64(time.Minute)).UTC()},
		"a later begin": {Model: q.Model, Since: time.Unix(0, 20*int64(time.Minute)).UTC()}} {
		parts := slices.Clone(whole)
		parts[0], parts[3] = w.part(logA, 0, 77, other), w.part(logB, 0, 32, other)
		all = append(all, rangeAttack{"question changed: " + name, parts, true}, rangeAttack{"question changed and answered: " + name, w.whole(other), true})
		parts = slices.Clone(whole)
		parts[3] = w.part(logB, 0, 32, other)
		put("question of one log changed: "+name, parts...)
	}
	return all
}

// rawFrames is a part 15 of what may be no frames of this range.
func rawFrames(at []uint64, signed [][]byte) Part {
	var data []byte
	next := uint64(0)
	for i, s := range signed {
		data = binary.AppendUvarint(data, max(at[i], next)-next)
		data = append(append(data, s[:leavesRoot]...), s[leavesRoot+wordLen:]...)
		h, _ := frame.ParseHeader(s)
		next = at[i] + uint64(h.Count)
	}
	return Part{rangeproof.KindSigned, data}
}

// needless adds a frame to others that is there and holds no match.
func (w *rangeWorld) needless(q rangeproof.Query, at []uint64, signed [][]byte) Part {
	for first := 0; first < len(w.logs[logA]); first += frameLeaves {
		if i, found := slices.BinarySearch(at, uint64(first)); !found {
			_, raw := w.frame(logA, first)
			return rawFrames(slices.Insert(slices.Clone(at), i, uint64(first)), slices.Insert(slices.Clone(signed), i, raw))
		}
	}
	w.t.Fatal("each frame holds a match")
	return Part{}
}

// operator are what the compactor and whoever holds the key of the control log can make besides: lies that they sign, about the same leaves.
func operator(t *testing.T, q rangeproof.Query) (all []rangeAttack) {
	// Two heads of one log: an older one, which is logged, too.
	w := newRangeWorld(t)
	older := &rangeWorld{world: w.world, logs: map[string][]record.Leaf{logA: w.logs[logA][:42], logB: w.logs[logB]}, heads: map[string][]byte{}, certs: w.certs, streams: w.streams}
	w.entries = w.entries[:2]
	older.logHeads("acme/compactor/c1")
	older.list()
	w.logHeads("acme/compactor/c1")
	w.list()
	around := w.keep("compactor ", "writer ")
	whole := w.whole(q)
	put := func(name string, parts ...Part) { all = append(all, rangeAttack{name, parts, false}) }
	olderA := []Part{older.part(logA, 0, 42, q), older.signed(logA, 0, 42, q), whole[2]}
	put("two heads of one log", slices.Concat(olderA, []Part{w.part(logA, 42, 77, q)}, whole[3:])...)
	put("two heads of one log, in other order", slices.Concat([]Part{w.part(logA, 0, 42, q), w.signed(logA, 0, 42, q), whole[2], older.part(logA, 36, 42, q)}, whole[3:])...)
	put("an older head", slices.Concat(olderA, whole[3:])...)
	// With the older list, the newer head is one that the list does not have.
	without := slices.Clone(around)
	last := slices.IndexFunc(without, func(p Part) bool { return p.Kind == rangeproof.KindLogs })
	newest := len(without) - 3
	if last == newest {
		t.Fatal("one list")
	}
	oldList := slices.Delete(slices.Clone(without), newest, newest+3)
	oldList[last].Data = []byte(strings.Join(older.lines(), "\n") + "\n")
	put("a newer head than that of the list", slices.Concat(whole[:6], oldList)...)
	both := slices.Clone(without)
	both[last].Data = oldList[last].Data
	put("two lists", slices.Concat(whole[:6], both)...)

	// A list that lacks a log, or has another root.
	for name, lines := range map[string][]string{"a log left out": w.lines()[:1], "the other log left out": w.lines()[1:],
		"another root": {w.lines()[0], control.LogLine(merkle.Checkpoint{Origin: logB, Size: 32})}} {
		x := newRangeWorld(t)
		x.entries = x.entries[:3]
		x.say(control.TypeLogs, "acme/compactor/c1", control.NewLogs(3, lines))
		parts := x.whole(q)
		at := slices.IndexFunc(parts, func(p Part) bool { return p.Kind == rangeproof.KindLogs })
		parts[at].Data = []byte(strings.Join(lines, "\n") + "\n")
		put("a false list: "+name, parts...)
	}
	// A list by somebody else, and one about what is not there yet.
	x := newRangeWorld(t)
	x.entries = x.entries[:3]
	x.say(control.TypeLogs, "acme/keyservice/keys", control.NewLogs(3, x.lines()))
	put("a list by the key service", x.whole(q)...)
	x = newRangeWorld(t)
	x.entries = x.entries[:3]
	x.say(control.TypeLogs, "acme/compactor/c1", control.NewLogs(4, x.lines()))
	put("a list of what comes", x.whole(q)...)
	put("an old list of today", oldToday(t, q)...)
	// Leaves in another order than their writer signed, under a head that is signed and logged.
	x = newRangeWorld(t)
	x.entries = x.entries[:2]
	x.logs[logA] = slices.Clone(x.logs[logA])
	x.logs[logA][30], x.logs[logA][31] = x.logs[logA][31], x.logs[logA][30]
	x.logHeads("acme/compactor/c1")
	x.list()
	n := len(x.logs[logA])
	put("leaves exchanged, old frames", slices.Concat([]Part{x.part(logA, 0, n, q), w.signed(logA, 0, n, q), whole[2]}, x.whole(q)[3:])...)
	put("a record that nobody wrote", newRangeWorld(t).forged(q)...)
	return all
}

// oldToday is an answer under a list that is true of an earlier size, and signed today: it lacks the leaves that came since.
func oldToday(t *testing.T, q rangeproof.Query) []Part {
	w := newRangeWorld(t)
	w.entries = w.entries[:2]
	now := w.logs[logA]
	w.logs[logA] = now[:42]
	w.logHeads("acme/compactor/c1")
	lines, heads := w.lines(), maps.Clone(w.heads)
	w.logs[logA] = now
	w.logHeads("acme/compactor/c1")
	w.say(control.TypeLogs, "acme/compactor/c1", control.NewLogs(3, lines))
	w.logs[logA], w.heads = now[:42], heads
	parts := w.whole(q)
	isHeads := func(p Part) bool { return p.Kind == KindEntry && bytes.Contains(p.Data, []byte(`"type":"heads"`)) }
	first := slices.IndexFunc(parts, isHeads)
	second := first + 1 + slices.IndexFunc(parts[first+1:], isHeads)
	return slices.Delete(parts, second, second+2)
}

// forged are the parts of an answer with a record that the compactor made up, in the place of one that was written.
func (w *rangeWorld) forged(q rangeproof.Query) []Part {
	w.entries = w.entries[:2]
	n := len(w.logs[logA])
	honest := w.signed(logA, 0, n, q)
	for i := range w.logs[logA] {
		if l := &w.logs[logA][i]; l.Type == record.Plain && l.Clear[record.Model] == q.Model {
			l.ID[5] = 7
			break
		}
	}
	w.logHeads("acme/compactor/c1")
	w.list()
	return slices.Concat([]Part{w.part(logA, 0, n, q), honest, {KindStream, w.certs[logA].Bytes()}}, w.whole(q)[3:])
}

// commitLeaves are how many leaves a commit has in these logs.
const commitLeaves = 12

// commitOf is a commit at the end of a log, and of what times it and those before it are; lie may change what the compactor says.
func (w *rangeWorld) commitOf(origin, by string, lie func([]commit.Times)) (file []byte, all []commit.Times) {
	leaves := w.logs[origin]
	for at := 0; at < len(leaves); at += commitLeaves {
		t := commit.Times{First: uint64(at), End: uint64(min(at+commitLeaves, len(leaves))), From: commit.NoFrom, Until: commit.NoUntil}
		for _, l := range leaves[at:t.End] {
			if l.Type == record.Plain || l.Type == record.Piece {
				t.From, t.Until = min(t.From, l.Time), max(t.Until, l.Time)
			}
		}
		all = append(all, t)
	}
	if lie != nil {
		lie(all)
	}
	var spans commit.Hex32
	for _, t := range all {
		spans = t.Chain(spans)
	}
	c := commit.Commit{Archive: w.archive, Log: origin, N: 3, By: by, Time: time.Unix(1_790_000_000, 0).UTC(), SourceTime: time.Unix(1_790_000_000, 0).UTC(),
		Tree: commit.Tree{Size: uint64(len(leaves)), Root: merkle.Root(hashesOf(leaves)), Before: []merkle.Hash{}, After: []merkle.Hash{}}, Spans: &spans, Source: commit.Source{}}
	file, err := c.Sign(w.signers[c.By])
	w.must(err)
	if x := w.files[origin]; x != nil && lie == nil {
		file = x
	}
	return file, all
}

// times is the part that says of what times the commits of a log are.
func (w *rangeWorld) times(origin string, lie func([]commit.Times)) Part {
	file, all := w.commitOf(origin, "acme/compactor/c1", lie)
	return Part{rangeproof.KindTimes, rangeproof.MarshalTimes(file, all)}
}

// timed are the parts of an answer about minutes 30 to 40, which does not show the rest, but of what times that is.
func (w *rangeWorld) timed() (q rangeproof.Query, parts []Part) {
	q = rangeproof.Query{Since: time.Unix(0, 30*int64(time.Minute)).UTC(), Until: time.Unix(0, 40*int64(time.Minute)).UTC()}
	parts = []Part{w.part(logA, 24, 48, q), w.signed(logA, 24, 48, q), {KindStream, w.certs[logA].Bytes()}, w.part(logB, 24, 32, q), w.signed(logB, 24, 32, q), {KindStream, w.certs[logB].Bytes()},
		w.times(logA, nil), w.times(logB, nil)}
	return q, append(parts, w.keep("compactor ", "writer ")...)
}

// timedAttacks are what can be made of such an answer.
func timedAttacks(t testing.TB) (all []rangeAttack) {
	w := newRangeWorld(t)
	q, whole := w.timed()
	put := func(name string, parts ...Part) { all = append(all, rangeAttack{name, parts, false}) }
	for i := range whole {
		put(fmt.Sprintf("timed: without part %d of kind %d", i, whole[i].Kind), slices.Delete(slices.Clone(whole), i, i+1)...)
	}
	put("timed: cut", slices.Concat([]Part{w.part(logA, 36, 48, q), w.signed(logA, 36, 48, q)}, whole[2:])...)
	put("timed: cut in a commit", slices.Concat([]Part{w.part(logA, 36, 42, q), w.signed(logA, 36, 42, q)}, whole[2:])...)
	put("timed: a log left out", slices.Concat(whole[:3], whole[6:])...)
	put("timed: times exchanged", slices.Concat(whole[:6], []Part{whole[7], whole[6]}, whole[8:])...)
	put("timed: times twice", slices.Concat(whole[:7], whole[6:])...)
	put("timed: times in front", slices.Concat(whole[6:7], whole[:6], whole[7:])...)
	put("timed: times of a whole log", slices.Concat([]Part{w.part(logA, 0, 77, q), w.signed(logA, 0, 77, q)}, whole[2:])...)
	for i, edit := range [][2]int{{1, 200}, {2, 3}, {len(whole[6].Data), 1}} {
		x := bytes.Clone(whole[6].Data)
		x[len(x)-edit[0]] ^= byte(edit[1])
		put(fmt.Sprintf("timed: another time %d", i), slices.Replace(slices.Clone(whole), 6, 7, Part{rangeproof.KindTimes, x})...)
	}
	put("timed: a time less", slices.Replace(slices.Clone(whole), 6, 7, Part{rangeproof.KindTimes, whole[6].Data[:len(whole[6].Data)-8]})...)
	other := newRangeWorld(t)
	other.logs[logA] = other.logs[logA][:60]
	put("timed: an older commit", slices.Replace(slices.Clone(whole), 6, 7, other.times(logA, nil))...)
	other.enrol("acme/compactor/eve")
	other.signers["acme/compactor/c1"] = other.signers["acme/compactor/eve"]
	other.logs[logA] = w.logs[logA]
	put("timed: by another", slices.Replace(slices.Clone(whole), 6, 7, other.times(logA, nil))...)
	// A compactor signs another commit than the one in the archive, so as to hide leaves 24 to 35.
	lie := w.times(logA, func(all []commit.Times) { all[2].From, all[2].Until = 0, 1 })
	put("timed: a commit that is in no head", slices.Concat([]Part{w.part(logA, 36, 48, q), w.signed(logA, 36, 48, q)}, whole[2:6], []Part{lie}, whole[7:])...)
	put("timed: a commit that is in no head, where nothing is missing", slices.Concat([]Part{w.part(logA, 0, 77, q), w.signed(logA, 0, 77, q)}, whole[2:6], []Part{lie}, whole[7:])...)
	earlier := rangeproof.Query{Since: q.Since.Add(-20 * time.Minute), Until: q.Until}
	put("timed: an earlier begin", slices.Concat([]Part{w.part(logA, 24, 48, earlier), w.signed(logA, 24, 48, earlier), whole[2], w.part(logB, 24, 32, earlier), w.signed(logB, 24, 32, earlier)}, whole[5:])...)
	return all
}

// Whatever is made of an answer is refused, or shows less and says so in its exit code, or answers another question truly.
func TestRangeAttacks(t *testing.T) {
	w := newRangeWorld(t)
	q := rangeproof.Query{Model: "m-1"}
	v, was := w.judge(w.whole(q)...)
	if v.Err != "" || !was.Whole() || was.Answer.Signed != was.Answer.Matches || was.Answer.Matches == 0 || len(was.Answer.Logs) != 2 || was.Answer.AsOf.IsZero() {
		t.Fatalf("an honest answer: %+v, %+v", v, was)
	}
	outcomes := map[string]int{}
	_, timed := w.timed()
	if v, r := w.judge(timed...); v.Err != "" || !r.Whole() {
		t.Fatalf("an honest answer about a time: %+v", v)
	} else {
		w.true(t, "about a time", r)
	}
	for _, a := range slices.Concat(w.edited(q), operator(t, q), timedAttacks(t)) {
		file := w.file(a.parts)
		v, r := judge(t, w.trust(), file)
		switch {
		case v.Err != "":
			outcomes[v.Err]++
		case a.other && r.Answer.Query != q:
			outcomes["another question"]++
			w.true(t, a.name, r)
			if r.Whole() && r.Answer.Signed != r.Answer.Matches {
				t.Errorf("%s: whole without signatures", a.name)
			}
		case r.Whole() || v.Err == "" && slices.Contains([]string{"two heads of one log", "two lists", "a newer head than that of the list", "a record that nobody wrote", "an old list of today", "timed: a commit that is in no head, where nothing is missing"}, a.name):
			t.Errorf("%s: accepted: %+v", a.name, v)
		default:
			outcomes["weaker"]++
		}
	}
	// What only the archive can tell: a list without a log, and a file without that log. The list says whose word it is.
	x := newRangeWorld(t)
	x.entries = x.entries[:3]
	x.say(control.TypeLogs, "acme/compactor/c1", control.NewLogs(3, x.lines()[:1]))
	parts := x.whole(q)
	at := slices.IndexFunc(parts, func(p Part) bool { return p.Kind == rangeproof.KindLogs })
	parts[at].Data = []byte(x.lines()[0] + "\n")
	if v, r := x.judge(slices.Delete(parts, 3, 6)...); v.Err != "" || !slices.ContainsFunc(r.Holds, func(s Statement) bool {
		return s.What == whatLogs && s.By == keyName(x.signers["acme/compactor/c1"].(note.Verifier)) && strings.HasPrefix(s.Detail, "1 log at size 3")
	}) {
		t.Errorf("a list that lacks a log: %+v", v)
	}
	t.Logf("%v", outcomes)
	if outcomes["weaker"] < 20 || outcomes["failed"] < 40 {
		t.Errorf("the attacks do not reach what they should: %v", outcomes)
	}
}

// The second verifier finds the same matches, and refuses the same files. 300 changed bytes; 12,000 with STELE_LONG.
func TestPythonAgreesOnRanges(t *testing.T) {
	w := newRangeWorld(t)
	q := rangeproof.Query{Model: "m-1", Since: time.Unix(0, 5).UTC(), Until: time.Unix(0, 60*int64(time.Minute)).UTC()}
	parts := w.whole(q)
	all := []*mutant{{name: "whole", trust: w.trust(), file: w.file(parts)}, {name: "cut", trust: w.trust(), file: w.file(append([]Part{w.part(logA, 5, 70, q), w.part(logB, 0, 32, q)}, w.around()...))}}
	_, timed := w.timed()
	all = append(all, &mutant{name: "about a time", trust: w.trust(), file: w.file(timed)})
	for _, a := range slices.Concat(w.edited(q), operator(t, q), timedAttacks(t), rangeSpellings(t)) {
		all = append(all, &mutant{name: a.name, trust: w.trust(), file: w.file(a.parts)})
	}
	for _, other := range []rangeproof.Query{{}, {Kind: "input"}, {Model: "~"}, {Until: q.Since}} {
		all = append(all, &mutant{name: "another question", trust: w.trust(), file: w.file(append([]Part{w.part(logA, 0, 77, other)}, w.around()...))},
			&mutant{name: "two questions", trust: w.trust(), file: w.file(append([]Part{w.part(logA, 0, 77, other), w.part(logB, 0, 32, q)}, w.around()...))})
	}
	random := rand.New(rand.NewPCG(8, 9))
	n := 300
	if testbed.Long() {
		n = 12_000
	}
	for range n {
		changed := slices.Clone(parts)
		k := random.IntN(len(parts))
		if random.IntN(2) == 0 {
			k = random.IntN(6)
		}
		at := random.IntN(len(parts[k].Data))
		changed[k].Data = bytes.Clone(parts[k].Data)
		changed[k].Data[at] ^= byte(1 + random.IntN(255))
		all = append(all, &mutant{name: fmt.Sprintf("part %d, byte %d", k, at), trust: w.trust(), file: w.file(changed)})
	}
	answers, outcomes := askPython(t, all), map[string]int{}
	for i, m := range all {
		want, _ := judge(t, m.trust, m.file)
		got := answers[i]
		outcomes[want.Err]++
		if got.Err != want.Err || !slices.Equal(got.Holds, want.Holds) || !slices.Equal(got.Missing, want.Missing) {
			t.Errorf("%s:\nGo     %s\nPython %s (%s)", m.name, want, got.verdict, got.why)
		}
	}
	t.Logf("%d files: %v", len(all), outcomes)
}
