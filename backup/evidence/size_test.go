package evidence

import (
	"crypto/ed25519"
	crand "crypto/rand"
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/merkle"
)

// An archive of 10⁹ leaves: so many segments. Its control log begins with policy, read key and roster, and has a head and a list of logs for each segment.
const (
	segmentLeaves = 1 << 16
	segments      = 15_259
	founding      = 3
)

func someBytes[T ~[16]byte | ~[32]byte]() (b T) {
	h := make([]byte, len(b))
	crand.Read(h)
	for i := range h {
		b[i] = h[i]
	}
	return b
}

func someHashes(n int) []merkle.Hash {
	out := make([]merkle.Hash, n)
	for i := range out {
		out[i] = someBytes[merkle.Hash]()
	}
	return out
}

// amongABillion are the parts of a record in a frame of so many, at a place in some segment of an archive of 10⁹ leaves, as 'stele prove' makes them: under the first
// head that covers it, which is the first that the control log has, under the first head of that. Who looks at a path cannot tell hashes of leaves from random ones, so all
// siblings are random; roots and signatures are made of them, and the file holds.
func amongABillion(t testing.TB, x place, inFrame int) (*rangeWorld, []Part) {
	w := newRangeWorld(t)
	w.at = w.at.Add(123_456_789)
	cert := w.realStream()
	leaf := record.Leaf{Type: record.Plain, Kind: 1, Stream: cert.Stream, Seq: 123_456, Time: w.at.UnixNano() - 3_210_123_456, Class: "default",
		ID: someBytes[[16]byte](), Scope: someBytes[[16]byte](), Digest: someBytes[[32]byte](), Slot: 3, Commitment: someBytes[[32]byte](), Buckets: [4]byte{11, 8, 9, 20}}
	leaf.Clear[record.Operation], leaf.Clear[record.Model] = "chat", "gpt-4o"
	leafdata := leaf.Append(nil)

	frame := someHashes(inFrame)
	frame[inFrame/2] = merkle.LeafHash(leafdata)
	signed := append([]byte("STLF\x01\x00\x00\x00"), w.archive[:]...)
	signed = le.AppendUint32(le.AppendUint32(signed, 0), uint32(inFrame))
	signed = le.AppendUint64(append(signed, cert.Stream[:]...), leaf.Seq-uint64(inFrame/2))
	for _, h := range []merkle.Hash{someBytes[merkle.Hash](), merkle.Root(frame), someBytes[merkle.Hash]()} {
		signed = append(signed, h[:]...)
	}
	signed = append(signed, ed25519.Sign(w.streams[logA], append([]byte("stele/frame/v1\n"), signed...))...)

	index, size := x.segment*segmentLeaves+x.leaf, (x.segment+1)*segmentLeaves
	way := someHashes(inclusion(index, size))
	root, ok := climb(frame[inFrame/2], index, size, way)
	if !ok {
		t.Fatalf("a path of %d hashes", len(way))
	}
	compactor := "acme/compactor/c1"
	head, err := merkle.Checkpoint{Origin: logA, Size: size, Root: root}.Sign(w.signers[compactor])
	w.must(err)
	proof, err := merkle.TLogProof{Index: index, Path: way, Checkpoint: head}.MarshalText()
	w.must(err)

	roster, err := control.Sign(w.archive, control.TypeRoster, w.at.Add(-77_777_777_777_777), control.NewRoster(&w.policy), w.signers["acme/root"])
	w.must(err)
	body := control.Heads{Heads: []control.Head{{Log: logA, Commit: x.segment, Hash: someBytes[[32]byte](), Checkpoint: string(head)}}, Roster: commit.Hash([]byte(roster))}
	heads, err := control.Sign(w.archive, control.TypeHeads, w.at, body, w.signers[compactor])
	w.must(err)
	way = someHashes(inclusion(x.entry, x.entry+1))
	root, _ = climb(control.LeafHash(heads), x.entry, x.entry+1, way)
	top, err := merkle.Checkpoint{Origin: "acme/control", Size: x.entry + 1, Root: root}.Sign(w.signers["acme/control"])
	w.must(err)
	inControl, err := merkle.TLogProof{Index: x.entry, Path: way, Checkpoint: top}.MarshalText()
	w.must(err)
	parts := []Part{RecordPart(leafdata, signed, w.path(frame, inFrame/2)), {KindLog, proof}, {KindStream, cert.Bytes()}, {KindEntry, []byte(roster)}}
	parts = append(parts, namesOf(w.policy.Names(), func(line string) bool { return line[:6] == "compac" || line[:6] == "writer" })...)
	return w, append(parts, Part{KindEntry, []byte(heads)}, Part{KindControl, inControl})
}

// place is where a record and its head lie.
type place struct{ segment, leaf, entry uint64 }

// realStream gives the stream of the first log an id, keys, times and a predecessor as real ones have them.
func (w *rangeWorld) realStream() *keyscope.Cert {
	public, private, err := ed25519.GenerateKey(nil)
	w.must(err)
	c := keyscope.Cert{Archive: w.archive, Stream: someBytes[[16]byte](), Time: w.at.UnixNano() - 1_234_567_890_123, BeatEvery: 5000, Durability: keyscope.Spooled,
		Prev: keyscope.Link{Stream: someBytes[[16]byte](), Seq: 4_711_000, Head: someBytes[[32]byte]()}, Service: "gateway", Software: "stele logpipe/1", StreamKey: [32]byte(public)}
	seed := sha256.Sum256([]byte("service"))
	cert, err := keyscope.SignCert(c, ed25519.NewKeyFromSeed(seed[:]))
	w.must(err)
	w.certs[logA], w.streams[logA] = cert, private
	return cert
}

// inclusion is how many hashes an inclusion path has.
func inclusion(index, size uint64) (n int) {
	for last := size - 1; last > 0; index, last = index>>1, last>>1 {
		if index&1 == 1 || index != last {
			n++
		}
	}
	return n
}

// Evidence of one record among 10⁹, without cosignatures and payload: at most 2,560 bytes wherever it lies, if it is alone in its frame. Half of it are the paths: what stands
// to the left of the record, of its head, and around it in its segment and frame, which nothing makes shorter. The last place that takes longest has ones in its number of segment wherever there can be one.
func TestEvidenceAmongABillion(t *testing.T) {
	places := 51
	if testbed.Long() {
		places = 1001
	}
	due := map[int]struct{ median, worst int }{1: {2200, 2560}, 100: {2450, 2800}}
	for inFrame, due := range due {
		random, sizes := rand.New(rand.NewPCG(1, 2)), []int{}
		for range places {
			segment := random.Uint64N(segments)
			sizes = append(sizes, evidenceSize(t, place{segment, random.Uint64N(segmentLeaves), founding + 2*segment}, inFrame))
		}
		slices.Sort(sizes)
		worst := evidenceSize(t, place{1<<13 - 1, 12_345, 1<<14 - 1}, inFrame)
		t.Logf("%d in the frame: %d bytes (median of %d places, %d to %d), %d at the worst", inFrame, sizes[places/2], places, sizes[0], sizes[places-1], worst)
		if sizes[places/2] > due.median || worst > due.worst {
			t.Errorf("%d bytes, %d at the worst; due %+v", sizes[places/2], worst, due)
		}
	}
}

// evidenceSize is how long the file about a record is, which must hold.
func evidenceSize(t *testing.T, x place, inFrame int) int {
	w, parts := amongABillion(t, x, inFrame)
	file := w.file(parts)
	v, r := judge(t, w.trust(), file)
	if v.Err != "" || !r.Whole() {
		t.Fatalf("%+v", v)
	}
	_, rest, err := Parse(file)
	if err != nil || len(rest) != len(parts) {
		t.Fatal(err)
	}
	return len(file)
}
