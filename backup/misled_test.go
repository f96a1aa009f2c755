package backup_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/segment"
)

// A predecessor that was held back is missing also if another service opens a stream under its id. Where the real one is
// there, the stranger's does not hide it.
func TestStrangerUnderTheIDOfAPredecessor(t *testing.T) {
	s := newSuccession(t, 2, keyscope.Spooled)
	other := s.otherService("other")
	stranger := func(partition uint32) {
		n := s.stream(keyscope.Link{})
		n.id, n.partition, n.cred = s.dead.id, partition, other
		n.recertify(func(c *keyscope.Cert) {
			c.Stream, c.Partition, c.Service = n.id, partition, "other"
		})
		n.send(some(1)...)
		n.close()
	}
	s.dead.encode(s.dead.draft(some(3)...)) // held back
	held := s.successor(s.link())
	held.send(some(1)...)
	held.close()
	stranger(1)

	s.dies(keyscope.Spooled)
	s.dead.send(some(3)...)
	s.dead.close()
	whole := s.successor(s.link())
	whole.send(some(1)...)
	whole.close()
	stranger(1)
	s.once(nil)

	list := s.open().Streams(time.Now())
	if got := reportOf(t, list, held.id); got.Complete || !strings.Contains(got.Verdict, "only as a stream of other") {
		t.Errorf("without its predecessor it is complete %v: %s", got.Complete, got.Verdict)
	}
	if got := reportOf(t, list, whole.id); !got.Complete {
		t.Errorf("with its predecessor: %s", got.Verdict)
	}
}

// A run that names wrong sequence numbers does not mislead about records that others refer to.
func TestByRunsWrongSeq(t *testing.T) {
	a, keys := talks(t)
	want := map[string][]string{}
	for _, subject := range []string{"s1", "s3", "s4"} {
		want[subject] = result(t, a, keys, Query{Subject: subject})
	}
	w := watch(a.store)
	proofs := map[string][]byte{}
	for _, key := range keysOf(t, a.store, "logs/") {
		if strings.HasSuffix(key, ".proof") {
			proofs[key] = read(t, a.store, key)
		}
	}
	a.store = w
	for change := byte(1); change < 64; change += byte(every(1, 5)) {
		forged := map[string][]byte{}
		for key, proof := range proofs {
			forged[key] = wrongSeqs(t, proof, change)
		}
		w.mu.Lock()
		w.alter = func(key string, r worm.Range, data []byte) []byte {
			if f := forged[key]; f != nil && r != (worm.Range{}) {
				return f[r.Off:][:r.Len]
			}
			return data
		}
		w.mu.Unlock()
		for subject := range want {
			if got := result(t, a, keys, Query{Subject: subject}); !slices.Equal(got, want[subject]) {
				t.Fatalf("%s, change %d: %d records, want %d: %.200q", subject, change, len(got), len(want[subject]), got)
			}
		}
	}
}

// wrongSeqs changes the lowest byte of the sequence number of the first row of each run.
func wrongSeqs(t *testing.T, proof []byte, change byte) []byte {
	t.Helper()
	p, err := segment.ParseProof(proof)
	if err != nil {
		t.Fatal(err)
	}
	d, err := segment.ParseDirectory(p[segment.SectionScopes])
	if err != nil {
		t.Fatal(err)
	}
	forged := slices.Clone(proof)
	runs, groups := forged[len(proof)-len(p[segment.SectionRuns]):], p[segment.SectionGroups]
	for k := range d.Len() {
		_, group := d.Parts(k)
		g := groups[group.Off:][:group.Len]
		at := int(binary.LittleEndian.Uint32(g))
		for i := range k % 8 {
			at += int(binary.LittleEndian.Uint16(g[4+22*i+4:]))
		}
		_, n := binary.Uvarint(runs[at:])
		runs[at+n] ^= change
	}
	return forged
}

// A run says how long blocks are before anything has shown that it is true: what no frame can hold is not read for it.
func TestByRunsLongBlocks(t *testing.T) {
	if n := ReadForRun(t.Context(), 64<<20, 4, 32<<20); n > 0 {
		t.Errorf("%d bytes were read", n)
	}
	if n := ReadForRun(t.Context(), 64<<20, 2, 1000); n == 0 {
		t.Error("nothing was read of blocks that can be")
	}
}
