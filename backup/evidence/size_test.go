package evidence

import (
	"crypto/ed25519"
	"crypto/rand"
	"math/bits"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/merkle"
)

const (
	billion = 1_000_013_824 // leaves: 15,259 segments of 65,536
	// controlEntries are a head and a list of logs for each segment.
	controlEntries = 2 * 15_259
)

func someBytes[T ~[16]byte | ~[32]byte]() (b T) {
	h := make([]byte, len(b))
	rand.Read(h)
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

// amongABillion are the parts of a record in a frame of so many, in a log of 10⁹ leaves under a control log of 30,518 entries. Who looks at a path cannot tell
// hashes of leaves from random ones, so all siblings are random; roots and signatures are made of them, and the file holds.
func amongABillion(t testing.TB, inFrame int) (*rangeWorld, []Part) {
	w := newRangeWorld(t)
	cert := w.certs[logA]
	leaf := record.Leaf{Type: record.Plain, Kind: 1, Stream: cert.Stream, Seq: 123_456, Time: time.Date(2026, 11, 28, 14, 0, 0, 123456789, time.UTC).UnixNano(), Class: "default",
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

	nodes, err := merkle.InclusionNodes(billion-12_345, billion)
	w.must(err)
	way := someHashes(min(len(nodes), bits.Len64(billion-1)))
	root, ok := climb(frame[inFrame/2], billion-12_345, billion, way)
	if !ok {
		t.Fatalf("a path of %d hashes", len(way))
	}
	compactor := "acme/compactor/c1"
	head, err := merkle.Checkpoint{Origin: logA, Size: billion, Root: root}.Sign(w.signers[compactor])
	w.must(err)
	proof, err := merkle.TLogProof{Index: billion - 12_345, Path: way, Checkpoint: head}.MarshalText()
	w.must(err)

	roster := w.entries[1]
	heads, err := control.Sign(w.archive, control.TypeHeads, w.at, control.Heads{Heads: []control.Head{{Log: logA, Commit: 15_258, Hash: someBytes[[32]byte](), Checkpoint: string(head)}}}, w.signers[compactor])
	w.must(err)
	all := someHashes(controlEntries)
	all[2], all[controlEntries-2] = control.LeafHash(roster), control.LeafHash(heads)
	top, err := merkle.Checkpoint{Origin: "acme/control", Size: controlEntries, Root: merkle.Root(all)}.Sign(w.signers["acme/control"])
	w.must(err)
	entry := func(index int, e string) []Part {
		p, err := merkle.TLogProof{Index: uint64(index), Path: w.path(all, index), Checkpoint: top}.MarshalText()
		w.must(err)
		return []Part{{KindEntry, []byte(e)}, {KindControl, p}}
	}
	parts := []Part{RecordPart(leafdata, signed, w.path(frame, inFrame/2)), {KindLog, proof}, {KindStream, cert.Bytes()}}
	parts = append(parts, entry(2, roster)...)
	names := w.policy.Names()
	var lines []merkle.Hash
	for _, n := range names {
		lines = append(lines, merkle.LeafHash([]byte(n)))
	}
	for i, n := range names {
		if n[:6] == "compac" || n[:6] == "writer" {
			parts = append(parts, NamePart(n, i, w.path(lines, i)))
		}
	}
	return w, append(parts, entry(controlEntries-2, heads)...)
}

// Evidence of one record among 10⁹, without cosignatures and payload. Half of it are the two paths of the tree of 10⁹ and of the frame, and those of the control
// log, which nothing makes shorter.
func TestEvidenceAmongABillion(t *testing.T) {
	for _, inFrame := range []int{1, 100} {
		w, parts := amongABillion(t, inFrame)
		file := w.file(parts)
		v, r := judge(t, w.trust(), file)
		if v.Err != "" || !r.Whole() {
			t.Fatalf("%+v", v)
		}
		_, rest, err := Parse(file)
		if err != nil || len(rest) != len(parts) {
			t.Fatal(err)
		}
		words, _ := condense(parts)
		frame, _ := parseRecord(parts[0].Data)
		log, _ := parseProof(parts[1].Data)
		first, _ := parseProof(parts[4].Data)
		second, _ := parseProof(parts[len(parts)-1].Data)
		paths := len(frame.path) + len(log.Path) + len(first.Path) + len(second.Path)
		t.Logf("%d in the frame: %d bytes, of them %d in %d words and %d packed; paths of %d hashes in the frame, %d in the log, %d and %d in the control log: %d bytes", inFrame,
			len(file), len(words), len(words)/wordLen, len(file)-len(words)-headerLen, len(frame.path), len(log.Path), len(first.Path), len(second.Path), paths*wordLen)
		if len(file) > 3300 {
			t.Errorf("%d bytes", len(file))
		}
	}
}
