package evidence

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/merkle"
)

// manyRanges is a file with a range of one leaf each for n leaves of a log, under a policy that names n compactors, and gaps of one leaf between them
// of which the commits say that they are of other times.
func manyRanges(t testing.TB, n int) (trust, file []byte) {
	w := newRangeWorld(t)
	w.logs[logA] = someLeaves(1, 2*n)
	w.logs[logB] = w.logs[logB][:1]
	for i := range n {
		name := fmt.Sprintf("acme/compactor/x%d", i)
		w.enrol(name)
		w.policy.Compactors = append(w.policy.Compactors, control.Named{Name: fmt.Sprint("x", i), Key: w.vkeys[name]})
	}
	w.entries = nil
	w.say(control.TypePolicy, "acme/root", w.policy)
	w.logHeads(honest)
	w.list()
	q := rangeproof.Query{Until: time.Unix(0, -1).UTC()}
	var parts []Part
	for i := range n {
		parts = append(parts, w.part(logA, 2*i, 2*i+1, q))
	}
	parts = append(parts, w.part(logB, 0, 1, q), w.times(logA, nil))
	for i, p := range w.world.parts() {
		if parts = append(parts, p); i == 5 {
			parts = append(parts, Part{rangeproof.KindLogs, []byte(strings.Join(w.lines(), "\n") + "\n")})
		}
	}
	return w.trust(), w.file(parts)
}

// Twice the ranges, names and spans take about twice the work: memory that is allocated over a whole check in Go, calls in Python.
func TestChecksAreLinear(t *testing.T) {
	const n = 60
	var allocated, calls [2]uint64
	for i := range 2 {
		trust, file := manyRanges(t, n<<i)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := Check(trust, file)
		runtime.ReadMemStats(&after)
		if err != nil || !r.Whole() || len(r.Ranges) != n<<i+1 {
			t.Fatalf("%v, %+v", err, r)
		}
		allocated[i] = after.TotalAlloc - before.TotalAlloc
		calls[i] = pythonCalls(t, trust, file)
	}
	t.Logf("bytes %v, calls %v", allocated, calls)
	if allocated[1] > 3*allocated[0] || calls[1] > 3*calls[0] {
		t.Errorf("twice the file takes more than three times the work: bytes %v, calls %v", allocated, calls)
	}
}

// pythonCalls counts the calls of functions of a check.
func pythonCalls(t *testing.T, trust, file []byte) (n uint64) {
	t.Helper()
	in, err := json.Marshal(map[string][]byte{"trust": trust, "file": file})
	if err != nil {
		t.Fatal(err)
	}
	const script = `
import base64, json, sys
sys.path.insert(0, "../../examples/verify-python")
import verify
q = json.load(sys.stdin)
n = 0
def count(frame, event, arg):
    global n
    n += event in ("call", "c_call")
sys.setprofile(count)
a = verify.answer(base64.b64decode(q["trust"]), base64.b64decode(q["file"]))
sys.setprofile(None)
assert a["code"] == 0, a
print(n)`
	cmd := exec.CommandContext(t.Context(), testbed.Python(t), "-B", "-c", script)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.CombinedOutput()
	if _, scan := fmt.Sscan(string(out), &n); err != nil || scan != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return n
}

// A check holds at most so many times what a file unpacks to, and so much for each part, with room for what the collector has not taken yet.
const mostHeld, perPart = 20, 512

// A check holds a small multiple of what a file unpacks to, whatever it is made of, even if nothing in it holds. Files of 1 MiB; of 64 MiB with STELE_LONG.
func TestChecksHoldLittle(t *testing.T) {
	size := 1 << 20
	if testbed.Long() {
		size = MaxLen - 1<<16
	}
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	w := newRangeWorld(t)
	for name, parts := range heavy(w, size) {
		file := literally(w.archive, plain(parts))
		held := peak(func() {
			if _, err := Check(w.trust(), file); err == nil && name == "spans" || errors.Is(err, ErrFormat) {
				t.Errorf("%s: it holds, or is not looked at: %v", name, err)
			}
		})
		inside := len(plain(parts))
		t.Logf("%s: %d MiB unpacked, %.1f times as much held", name, inside>>20, float64(held)/float64(inside))
		if held > uint64(mostHeld*inside+perPart*len(parts)) {
			t.Errorf("%s: %d bytes for %d in %d parts", name, held, inside, len(parts))
		}
	}
}

// heavy are files of what takes most memory for its bytes.
func heavy(w *rangeWorld, size int) map[string][]Part {
	q := rangeproof.Query{}
	one := w.part(logA, 0, 77, q)
	file, _ := w.commitOf(logA, honest, nil)
	spans := append(binary.AppendUvarint(nil, uint64(len(file))), file...)
	for len(spans) < size {
		spans = append(spans, 1, 0, 1, 1, 0, 0)
	}
	head := append(binary.AppendUvarint(nil, uint64(len(w.heads[logA]))), w.heads[logA]...)
	head = binary.AppendUvarint(append(binary.AppendUvarint(head, 2), "{}"...), 0)
	texts := bytes.Clone(head)
	texts = append(binary.AppendUvarint(texts, 77), 0, 0)
	texts = append(binary.AppendUvarint(texts, uint64(size)), make([]byte, size)...)
	texts = append(texts, 77)
	texts = append(texts, make([]byte, 77)...)
	texts = append(texts, make([]byte, 13)...)
	names := append([]byte{0}, binary.AppendUvarint(nil, uint64(size/5))...)
	for i := range size / 5 {
		names = binary.AppendUvarint(names, uint64(i))
	}
	names = append(names, bytes.Repeat([]byte("\n"), size/5)...)
	var small []Part
	for i := range 65_000 {
		small = append(small, Part{99, binary.AppendUvarint(nil, uint64(i))})
	}
	var heads control.Heads
	for i := 0; i < 6_000; i++ {
		heads.Heads = append(heads.Heads, control.Head{Hash: commit.Hex32{byte(i), byte(i >> 8)}})
	}
	var entries []Part
	for i := 0; i*700_000 < size; i++ {
		w.say(control.TypeHeads, honest, heads)
	}
	for _, e := range w.entries[4:] {
		entries = append(entries, Part{KindEntry, []byte(e)})
	}
	w.entries = w.entries[:4]
	all := w.world.parts()
	roster := slices.IndexFunc(all, func(p Part) bool { return p.Kind == KindNames })
	w.t.Helper()
	return map[string][]Part{"spans": {one, {rangeproof.KindTimes, spans}}, "texts": {{rangeproof.KindLeaves, texts}}, "names": append(slices.Clone(all[:roster]), Part{KindNames, names}),
		"parts": append([]Part{one}, small...), "entries": entries, "losses": manyLosses(w, size), "records": manyRecords(w, size), "nodes": smallNodes(w, size)}
}

// manyLosses is a range of leaves that take few bytes.
func manyLosses(w *rangeWorld, size int) []Part {
	leaves := make([]record.Leaf, size/24)
	for i := range leaves {
		leaves[i] = record.Leaf{Type: record.Loss, Stream: [16]byte{1}, Seq: uint64(2 * i), Class: "default"}
	}
	return manyLeaves(w, leaves)
}

func manyRecords(w *rangeWorld, size int) []Part {
	leaves := make([]record.Leaf, size/72)
	for i := range leaves {
		leaves[i] = record.Leaf{Type: record.Plain, Kind: 1, Stream: [16]byte{1}, Seq: uint64(2 * i), Class: "default"}
	}
	return manyLeaves(w, leaves)
}

func manyLeaves(w *rangeWorld, leaves []record.Leaf) []Part {
	var f merkle.Frontier
	for i := range leaves {
		f.Append(merkle.LeafHash(leaves[i].Append(nil)))
	}
	head, err := merkle.Checkpoint{Origin: logA, Size: uint64(len(leaves)), Root: f.Root()}.Sign(w.signers[honest])
	w.must(err)
	x, err := rangeproof.NewLeaves(head, rangeproof.Query{}, 0)
	w.must(err)
	for i := range leaves {
		w.must(x.Add(leaves[i].Append(nil)))
	}
	data, err := x.Marshal(func([]merkle.Node, []merkle.Hash) error { return nil })
	w.must(err)
	return []Part{{rangeproof.KindLeaves, data}}
}

// smallNodes is a proof of nodes that are none.
func smallNodes(w *rangeWorld, size int) []Part {
	type node struct {
		hash  [32]byte
		shape [5]byte
	}
	nodes := make([]node, size/6)
	for i := range nodes {
		binary.LittleEndian.PutUint32(nodes[i].shape[:], uint32(i))
		nodes[i].hash = sha256.Sum256(append([]byte("stele/keytrie/v1"), nodes[i].shape[:]...))
	}
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(string(a.hash[:]), string(b.hash[:])) })
	data := binary.AppendUvarint([]byte("STLW\x01\x00\x00\x00"), uint64(len(nodes)))
	for _, n := range nodes {
		data = append(append(data, 5), n.shape[:]...)
	}
	x := newWorld(w.t)
	x.eraseOf(12, 3)
	parts := x.parts()
	tries := slices.IndexFunc(parts, func(p Part) bool { return p.Kind == KindTries })
	return append(parts[:tries:tries], TriesPart([][]byte{data}))
}

// peak is how much more memory is in use at most while something runs, as far as looking again and again shows it.
func peak(run func()) (most uint64) {
	inUse := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before := inUse()
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			most = max(most, inUse())
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	run()
	close(done)
	<-stopped
	return most - min(most, before)
}
