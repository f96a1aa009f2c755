package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

// rangeWorld is an archive with two logs, and the heads of both in its control log.
type rangeWorld struct {
	*world
	logs    map[string][]record.Leaf
	heads   map[string][]byte
	certs   map[string]*keyscope.Cert
	streams map[string]ed25519.PrivateKey

	files    map[string][]byte   // commits that are not as they should be
	editHead func(string) string // changes heads before they are signed
}

const logA, logB = "acme/0/2026Q4", "acme/1/2026Q4"

func (w *world) enrol(name string) {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	var err error
	w.signers[name], err = merkle.NewSigner(name, key)
	w.must(err)
	w.vkeys[name], err = note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	w.must(err)
}

func newRangeWorld(t testing.TB) *rangeWorld {
	w := &rangeWorld{world: newWorld(t), logs: map[string][]record.Leaf{logA: someLeaves(1, 77), logB: someLeaves(2, 32)}, heads: map[string][]byte{},
		certs: map[string]*keyscope.Cert{}, streams: map[string]ed25519.PrivateKey{}}
	w.enrol("acme/compactor/c1")
	w.enrolStreams()
	w.policy.Compactors = []control.Named{{Name: "c1", Key: w.vkeys["acme/compactor/c1"]}}
	w.say(control.TypePolicy, "acme/root", w.policy)
	w.say(control.TypeRoster, "acme/root", control.NewRoster(&w.policy))
	w.logHeads("acme/compactor/c1")
	w.list()
	return w
}

// enrolStreams gives the stream of each log a key, under the key of a service that the policy names.
func (w *rangeWorld) enrolStreams() {
	seed := sha256.Sum256([]byte("service"))
	service := ed25519.NewKeyFromSeed(seed[:])
	w.policy.Writers = []control.Writer{{Name: "gateway", Key: []byte(service.Public().(ed25519.PublicKey))}}
	for i, origin := range []string{logA, logB} {
		seed := sha256.Sum256([]byte(origin))
		w.streams[origin] = ed25519.NewKeyFromSeed(seed[:])
		c := keyscope.Cert{Archive: w.archive, Partition: uint32(i), Stream: w.logs[origin][0].Stream, Durability: keyscope.Spooled, Service: "gateway"}
		copy(c.StreamKey[:], w.streams[origin].Public().(ed25519.PublicKey))
		var err error
		w.certs[origin], err = keyscope.SignCert(c, service)
		w.must(err)
	}
}

// list signs the list of logs.
func (w *rangeWorld) list() {
	w.say(control.TypeLogs, "acme/compactor/c1", control.NewLogs(uint64(len(w.entries)), w.lines()))
}

func (w *rangeWorld) lines() (lines []string) {
	for _, origin := range []string{logA, logB} {
		lines = append(lines, control.LogLine(merkle.Checkpoint{Origin: origin, Size: uint64(len(w.logs[origin])), Root: merkle.Root(hashesOf(w.logs[origin]))}))
	}
	return lines
}

// frameLeaves are how many leaves a frame has in these logs.
const frameLeaves = 6

// frame is the frame of leaf at of a log, and its first leaf.
func (w *rangeWorld) frame(origin string, at int) (first int, signed []byte) {
	first = at / frameLeaves * frameLeaves
	leaves := w.logs[origin][first:min(first+frameLeaves, len(w.logs[origin]))]
	cert := w.certs[origin]
	signed = append([]byte("STLF\x01\x00\x00\x00"), w.archive[:]...)
	signed = le.AppendUint32(le.AppendUint32(signed, cert.Partition), uint32(len(leaves)))
	signed = le.AppendUint64(append(signed, cert.Stream[:]...), leaves[0].Seq)
	root := merkle.Root(hashesOf(leaves))
	signed = append(append(append(signed, make([]byte, 32)...), root[:]...), make([]byte, 32)...)
	return first, append(signed, ed25519.Sign(w.streams[origin], append([]byte("stele/frame/v1\n"), signed...))...)
}

// signed is the part of the frames of the matches of leaves [first, end).
func (w *rangeWorld) signed(origin string, first, end int, q rangeproof.Query) Part {
	w.t.Helper()
	run, err := rangeproof.Parse(w.part(origin, first, end, q).Data)
	w.must(err)
	var at []uint64
	var frames [][]byte
	for _, m := range run.Matches {
		from, signed := w.frame(origin, int(m.Index))
		if from < first || from+frameLeaves > end && end < len(w.logs[origin]) || len(at) > 0 && at[len(at)-1] == uint64(from) {
			continue
		}
		at, frames = append(at, uint64(from)), append(frames, signed)
	}
	data, err := rangeproof.Frames(uint64(first), at, frames)
	w.must(err)
	return Part{rangeproof.KindSigned, data}
}

// whole are the parts of an answer over both logs, with all that belongs to it.
func (w *rangeWorld) whole(q rangeproof.Query) (parts []Part) {
	for _, origin := range []string{logA, logB} {
		n := len(w.logs[origin])
		parts = append(parts, w.part(origin, 0, n, q), w.signed(origin, 0, n, q), Part{KindStream, w.certs[origin].Bytes()})
	}
	return append(parts, w.keep("compactor ", "writer ")...)
}

// logHeads signs the heads of both logs, and logs them.
func (w *rangeWorld) logHeads(by string) { w.logHeadsUnder(by, "") }

// logHeadsUnder is logHeads of a compactor that names a roster.
func (w *rangeWorld) logHeadsUnder(by, roster string) {
	var entry control.Heads
	if roster != "" {
		entry.Roster = commit.Hash([]byte(roster))
	}
	for _, origin := range []string{logA, logB} {
		leaves := w.logs[origin]
		head, err := merkle.Checkpoint{Origin: origin, Size: uint64(len(leaves)), Root: merkle.Root(hashesOf(leaves))}.Sign(w.signers[by])
		w.must(err)
		if text, _, _ := strings.Cut(string(head), "\n\n"); w.editHead != nil {
			head, err = note.Sign(&note.Note{Text: w.editHead(text + "\n")}, w.signers[by])
			w.must(err)
		}
		w.heads[origin] = head
		file, _ := w.commitOf(origin, by, nil)
		entry.Heads = append(entry.Heads, control.Head{Log: origin, Commit: 3, Hash: commit.Hash(file), Checkpoint: string(head)})
	}
	w.say(control.TypeHeads, by, entry)
}

// someLeaves are records and losses of one stream.
func someLeaves(seed uint64, n int) (leaves []record.Leaf) {
	random := rand.New(rand.NewPCG(seed, 7))
	for i := range n {
		l := record.Leaf{Type: record.Plain, Kind: uint8(1 + random.IntN(4)), Stream: [16]byte{byte(seed)}, Seq: uint64(i), Time: int64(i) * int64(time.Minute), Class: "default",
			ID: [16]byte{byte(i), 1}, Scope: [16]byte{byte(i / 8)}, Digest: [32]byte{byte(i / 4)}, Slot: uint16(i % 4), Commitment: sha256.Sum256([]byte{byte(i), byte(seed)})}
		l.Clear[record.Model] = []string{"", "m-1", "m-2", record.Hidden}[random.IntN(4)]
		if i%11 == 4 {
			l = record.Leaf{Type: record.Loss, Stream: l.Stream, Seq: l.Seq, Time: l.Time, Class: "default", Detail: record.LossDetail{Count: 3, Reason: record.MemoryFull}.Append(nil)}
		}
		leaves = append(leaves, l)
	}
	return leaves
}

// part shows leaves [first, end) of a log.
func (w *rangeWorld) part(origin string, first, end int, q rangeproof.Query) Part {
	w.t.Helper()
	leaves := w.logs[origin]
	x, err := rangeproof.NewLeaves(w.heads[origin], q, uint64(first))
	w.must(err)
	for i := first; i < end; i++ {
		w.must(x.Add(leaves[i].Append(nil)))
	}
	data, err := x.Marshal(w.nodes(origin))
	w.must(err)
	return Part{rangeproof.KindLeaves, data}
}

func (w *rangeWorld) nodes(origin string) merkle.NodeReader {
	hashes := hashesOf(w.logs[origin])
	return func(nodes []merkle.Node, out []merkle.Hash) error {
		for i, n := range nodes {
			out[i] = merkle.Root(hashes[n.Index<<n.Level:][:1<<n.Level])
		}
		return nil
	}
}

// around are the parts of the control log: of the roster the compactor only, and no policy.
func (w *rangeWorld) around() (parts []Part) { return w.keep("compactor ") }

// keep are the parts of the control log, and of the roster the lines that begin so.
func (w *rangeWorld) keep(roles ...string) (parts []Part) {
	all := w.world.parts()
	for i := 0; i < len(all); i += 2 {
		entry, err := control.ParseEntry(string(all[i].Data))
		w.must(err)
		if entry.Type != control.TypePolicy {
			parts = append(parts, all[i], all[i+1])
		}
		if entry.Type == control.TypeLogs {
			parts = append(parts, Part{rangeproof.KindLogs, []byte(strings.Join(w.lines(), "\n") + "\n")})
		}
		if i+2 < len(all) && all[i+2].Kind == KindNames {
			parts = append(parts, all[i+2])
			i++
		}
	}
	return w.keepNames(parts, func(line string) bool {
		return slices.ContainsFunc(roles, func(role string) bool { return strings.HasPrefix(line, role) })
	})
}

func (w *rangeWorld) judge(parts ...Part) (verdict, *Report) {
	w.t.Helper()
	return judge(w.t, w.trust(), w.file(parts))
}

// truth is what a query selects among leaves, computed from the log.
func (w *rangeWorld) truth(r *rangeproof.Range) (want []merkle.Hash) {
	for _, l := range w.logs[r.Log][r.First:][:r.Leaves] {
		if l.Type == record.Plain && (r.Query.Kind == "" || r.Query.Kind == record.KindNames()[l.Kind]) && (r.Query.Model == "" || r.Query.Model == l.Clear[record.Model]) &&
			(r.Query.Since.IsZero() || l.Time >= r.Query.Since.UnixNano()) && (r.Query.Until.IsZero() || l.Time < r.Query.Until.UnixNano()) {
			want = append(want, merkle.LeafHash(l.Append(nil)))
		}
	}
	return want
}

// true checks that what a report says is so.
func (w *rangeWorld) true(t testing.TB, name string, r *Report) {
	t.Helper()
	for i := range r.Ranges {
		x := &r.Ranges[i]
		if x.Size != uint64(len(w.logs[x.Log])) || x.First+x.Leaves > x.Size {
			t.Errorf("%s: leaves %d to %d of %d in %s", name, x.First, x.First+x.Leaves, x.Size, x.Log)
			continue
		}
		want := w.truth(x)
		if len(want) != len(x.Matches) {
			t.Errorf("%s: %d matches, want %d", name, len(x.Matches), len(want))
			continue
		}
		for k := range x.Matches {
			m, l := &x.Matches[k], &w.logs[x.Log][x.Matches[k].Index]
			if merkle.LeafHash(l.Append(nil)) != want[k] || m.ID != fmt.Sprintf("%x", l.ID) || !m.Time.Equal(time.Unix(0, l.Time)) || m.Clear["model"] != l.Clear[record.Model] {
				t.Errorf("%s: match %d is %+v", name, k, m)
			}
		}
		said := fmt.Sprintf("leaves %d to %d of %d, root %s; %d of ", x.First, x.First+x.Leaves-1, x.Size, merkle.Root(hashesOf(w.logs[x.Log])), len(want))
		if !slices.ContainsFunc(r.Holds, func(s Statement) bool {
			return s.What == whatComplete && strings.HasPrefix(s.Detail, said) && strings.HasSuffix(s.Detail, merkle.Root(want).String())
		}) {
			t.Errorf("%s: nothing says %q", name, said)
		}
	}
}

// A byte that is changed makes a file that is refused, or shows less, or answers another question truly. 500 files; 12,000 with STELE_LONG.
func TestRangeAnyByteCounts(t *testing.T) {
	w := newRangeWorld(t)
	q := rangeproof.Query{Model: "m-1"}
	parts := w.whole(q)
	was, report := w.judge(parts...)
	if was.Err != "" || !report.Whole() || len(report.Ranges) != 2 || len(report.Ranges[0].Matches) == 0 {
		t.Fatalf("%+v", was)
	}
	n := 500
	if os.Getenv("STELE_LONG") != "" {
		n = 12_000
	}
	random, outcomes := rand.New(rand.NewPCG(3, 4)), map[string]int{}
	for range n {
		changed := slices.Clone(parts)
		k := random.IntN(len(parts))
		if random.IntN(2) == 0 {
			k = 3 * random.IntN(2) // the ranges
		}
		at, by := random.IntN(len(parts[k].Data)), byte(1+random.IntN(255))
		changed[k].Data = bytes.Clone(parts[k].Data)
		changed[k].Data[at] ^= by
		name := fmt.Sprintf("part %d, byte %d ^ %#x", k, at, by)
		v, r := w.judge(changed...)
		switch {
		case v.Err != "":
			outcomes[v.Err]++
		case !r.Whole():
			outcomes["weaker"]++
			w.true(t, name, r)
		default:
			t.Errorf("%s: accepted: %+v", name, r.Holds)
		}
	}
	t.Logf("%d changed files: %v", n, outcomes)
	if outcomes["failed"] < n/2 {
		t.Errorf("the changes do not reach what they should: %v", outcomes)
	}
}

// What an operator could put together from other answers.
func TestRangeLies(t *testing.T) {
	w := newRangeWorld(t)
	q := rangeproof.Query{Model: "m-1"}
	if v, r := w.judge(append([]Part{w.part(logA, 5, 70, q), w.part(logB, 0, 32, q)}, w.around()...)...); v.Err != "" || r.Whole() || len(r.Ranges) != 2 {
		t.Fatalf("unchanged: %+v", v)
	} else {
		w.true(t, "unchanged", r)
	}
	foreign := newRangeWorld(t)
	foreign.logs[logA] = someLeaves(9, 77)
	foreign.entries = foreign.entries[:2]
	foreign.logHeads("acme/compactor/c1")
	foreign.list()
	for name, parts := range map[string][]Part{
		"ranges out of order": {w.part(logB, 0, 32, q), w.part(logA, 5, 70, q)},
		"ranges that overlap": {w.part(logA, 5, 70, q), w.part(logA, 69, 77, q)},
		"two questions":       {w.part(logA, 5, 70, q), w.part(logB, 0, 32, rangeproof.Query{})},
	} {
		if v, _ := w.judge(append(parts, w.around()...)...); v.Err != "failed" {
			t.Errorf("%s: accepted: %+v", name, v)
		}
	}
	if v, _ := w.judge(append(w.around(), w.part(logA, 5, 70, q))...); v.Err != "failed" {
		t.Errorf("a range behind entries: %+v", v)
	}
	if v, r := w.judge(append([]Part{foreign.part(logA, 5, 70, q)}, w.around()...)...); v.Err == "" && (len(r.Ranges) > 0 || r.Whole()) {
		t.Errorf("the leaves of another archive: %+v", r.Holds)
	}
	w.withoutKeys(t, q)
}

// withoutKeys takes away who vouches for the heads.
func (w *rangeWorld) withoutKeys(t *testing.T, q rangeproof.Query) {
	r, around := w.part(logA, 0, 77, q), w.around()
	isHeads := func(p Part) bool { return p.Kind == KindEntry && bytes.Contains(p.Data, []byte(`"type":"heads"`)) }
	at := slices.IndexFunc(around, isHeads)
	for name, parts := range map[string][]Part{
		"no head in the control log": slices.Delete(slices.Clone(around), at, at+2),
		"no proof of the head":       slices.Delete(slices.Clone(around), at+1, at+2),
		"nobody names the compactor": slices.DeleteFunc(slices.Clone(around), func(p Part) bool { return p.Kind == KindNames }),
		"nothing but leaves":         nil,
	} {
		v, report := w.judge(append([]Part{r}, parts...)...)
		if v.Err == "" && (len(report.Ranges) > 0 || report.Whole() || !slices.Contains(v.Missing, "range "+logA+" 0 "+whatComplete)) {
			t.Errorf("%s: %+v", name, v)
		}
	}
	// A compactor that the policy does not name at all, and one that was named only later.
	w.enrol("acme/compactor/eve")
	w.entries = w.entries[:2]
	w.logHeads("acme/compactor/eve")
	if v, report := w.judge(append([]Part{w.part(logA, 0, 77, q)}, w.around()...)...); v.Err == "" && len(report.Ranges) > 0 {
		t.Errorf("a head of nobody: %+v", v)
	}
}

// A range that was cut holds, and what is missing of it is said; so is that nobody's signature stands behind its matches.
func TestRangeIsCut(t *testing.T) {
	w := newRangeWorld(t)
	q := rangeproof.Query{}
	for name, c := range map[string]struct {
		parts   []Part
		outside []string
	}{
		"one log":   {[]Part{w.part(logA, 0, 77, q)}, []string{logB + ": leaves 0 to 31 of 32"}},
		"in two":    {[]Part{w.part(logA, 0, 40, q), w.part(logA, 41, 77, q), w.part(logB, 0, 32, q)}, []string{logA + ": leaves 40 to 40 of 77"}},
		"both ends": {[]Part{w.part(logA, 3, 70, q), w.part(logB, 0, 32, q)}, []string{logA + ": leaves 0 to 2 of 77", logA + ": leaves 70 to 76 of 77"}},
		"all":       {[]Part{w.part(logA, 0, 77, q), w.part(logB, 0, 32, q)}, nil},
	} {
		v, r := w.judge(append(c.parts, w.around()...)...)
		if v.Err != "" || r.Whole() {
			t.Fatalf("%s: %+v", name, v)
		}
		var outside []string
		signed := 0
		for _, m := range r.Missing {
			switch m.What {
			case whatOutside:
				outside = append(outside, strings.TrimPrefix(m.About, "log ")+": "+m.Detail)
			case whatSigned:
				signed++
			}
		}
		if !slices.Equal(outside, c.outside) || signed != len(c.parts) || r.Answer.Signed != 0 || r.Answer.Matches == 0 {
			t.Errorf("%s: outside %q, want %q; %d ranges without signatures, %+v", name, outside, c.outside, signed, r.Answer)
		}
	}
}
