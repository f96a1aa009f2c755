package evidence

import (
	"crypto/ed25519"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/merkle"
)

// Each leaf of a range can be of a stream of its own, with a frame and a certificate: a file of twice as many takes about twice the memory in all, over the
// whole check. 400 streams; 8,000 with STELE_LONG.
func TestManyStreamsAreLinear(t *testing.T) {
	n := 400
	if testbed.Long() {
		n = 8_000
	}
	small, large := allocatedFor(t, n/2), allocatedFor(t, n)
	t.Logf("%d bytes for %d streams, %d for %d", small, n/2, large, n)
	if large > 3*small {
		t.Errorf("%d bytes for %d streams, and %d for half as many", large, n, small)
	}
}

// allocatedFor is what a check of a range of n streams allocates in all.
func allocatedFor(t *testing.T, n int) uint64 {
	w := newRangeWorld(t)
	service := ed25519.NewKeyFromSeed(make([]byte, 32))
	var leaves []record.Leaf
	var parts []Part
	frames, certs := []byte(nil), []Part(nil)
	for i := range n {
		l := record.Leaf{Type: record.Plain, Kind: 1, Class: "default"}
		binary.BigEndian.PutUint32(l.Stream[:], uint32(i+1))
		leaves = append(leaves, l)
		c := keyscope.Cert{Archive: w.archive, Stream: l.Stream, Durability: keyscope.Spooled, Service: "gateway"}
		copy(c.StreamKey[:], service.Public().(ed25519.PublicKey))
		cert, err := keyscope.SignCert(c, service)
		w.must(err)
		certs = append(certs, Part{KindStream, cert.Bytes()})
		signed := append([]byte("STLF\x01\x00\x00\x00"), w.archive[:]...)
		signed = append(le.AppendUint32(le.AppendUint32(signed, 0), 1), l.Stream[:]...)
		root := merkle.LeafHash(l.Append(nil))
		signed = append(append(append(signed, make([]byte, 8+32)...), root[:]...), make([]byte, 32)...)
		signed = append(signed, ed25519.Sign(service, append([]byte("stele/frame/v1\n"), signed...))...)
		if _, err := frame.ParseHeader(signed); err != nil {
			t.Fatal(err)
		}
		frames = append(append(binary.AppendUvarint(frames, 0), signed[:leavesRoot]...), signed[leavesRoot+wordLen:]...)
	}
	w.entries = w.entries[:2]
	w.logs[logA] = leaves
	w.logHeads("acme/compactor/c1")
	w.list()
	m := len(w.logs[logB])
	parts = append(parts, w.part(logA, 0, n, rangeproof.Query{}), Part{rangeproof.KindSigned, frames})
	parts = append(append(parts, certs...), w.part(logB, 0, m, rangeproof.Query{}))
	file, trust := w.file(append(parts, w.around()...)), w.trust()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := Check(trust, file)
	runtime.ReadMemStats(&after)
	if err != nil || r.Answer.Signed != uint64(n) {
		t.Fatalf("%+v, %v", r, err)
	}
	return after.TotalAlloc - before.TotalAlloc
}
