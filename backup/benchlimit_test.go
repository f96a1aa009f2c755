//go:build unix

package backup_test

import (
	"cmp"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/internal/sha256mb"
)

// hashWork is what cannot be left out when the segments of an archive are verified: the formats want each of these
// hashes and signatures to be compared with something.
type hashWork struct {
	messages [][]byte   // of one object, in the making
	objects  [][][]byte // of each: itself, its parts, blocks, leaves, runs, entries; the longest first
	trees    []int      // leaves of each tree: that of the log, and two of each frame
	frames   [][]byte   // signed

	key ed25519.PublicKey // of somebody: it takes as long as with the right one
}

func newHashWork(b *testing.B, s *benchStore) *hashWork {
	b.Helper()
	w := &hashWork{}
	w.key, _, _ = ed25519.GenerateKey(nil)
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	for key, data := range s.objects {
		if !strings.Contains(key, "/objects/") {
			continue
		}
		w.messages = [][]byte{data}
		switch {
		case strings.Contains(key, ".index."):
			x, err := segment.OpenIndex(data)
			must(err)
			w.index(x, data)
		case strings.Contains(key, ".data."):
			d, err := segment.OpenData(data)
			must(err)
			for block := range d.Blocks() {
				w.messages = append(w.messages, block.Bytes)
			}
		case strings.HasSuffix(key, ".proof"):
			p, err := segment.ParseProof(data)
			must(err)
			must(w.proof(p))
		}
		slices.SortFunc(w.messages, func(a, b []byte) int { return cmp.Compare(len(b), len(a)) })
		w.objects = append(w.objects, w.messages)
	}
	return w
}

func (w *hashWork) index(x *segment.Index, data []byte) {
	part := func(p segment.Part) { w.messages = append(w.messages, data[p.Off:][:p.Len]) }
	part(x.HeadPart())
	var c segment.Checker
	for k, batch := range x.Batches {
		part(x.Place(k))
		for i := range batch.Len() {
			w.messages = append(w.messages, c.AppendLeafdata([]byte{0}, batch, i))
		}
	}
	w.trees = append(w.trees, x.Len())
}

func (w *hashWork) proof(p segment.Proof) error {
	w.messages = append(w.messages, p[:]...)
	frames, err := segment.ParseFrames(p[segment.SectionFrames])
	if err != nil {
		return err
	}
	for i := range frames {
		f := &frames[i]
		entries, err := segment.ParseEntries(p[segment.SectionEntries][f.Offset:][:f.Length])
		if err != nil {
			return err
		}
		w.frames, w.trees = append(w.frames, f.Signed), append(w.trees, int(f.Count), len(entries))
		for _, e := range entries {
			w.messages = append(w.messages, append([]byte{0}, e...))
		}
	}
	d, err := segment.ParseDirectory(p[segment.SectionScopes])
	if err != nil {
		return err
	}
	for k := range d.Len() {
		_, group := d.Parts(k)
		place, _ := d.Place(k, [16]byte{}, p[segment.SectionGroups][group.Off:][:group.Len])
		rows, err := segment.ParseRun(p[segment.SectionRuns][place.Off:][:place.Len])
		if err != nil {
			return err
		}
		w.messages = append(w.messages, make([]byte, 16+int(place.Len)+64*len(rows))) // its digest is over this much
	}
	return nil
}

// time is how long the work takes if nothing is done but it, and one object is hashed after the other.
func (w *hashWork) time(b *testing.B) time.Duration {
	most := 0
	for _, messages := range w.objects {
		most = max(most, len(messages))
	}
	sums := make([][32]byte, most)
	before := cpuTime(b)
	for _, messages := range w.objects {
		sha256mb.Sums(sums, messages)
	}
	for _, n := range w.trees {
		for row := sums[:min(n, len(sums))]; len(row) > 1; {
			row = row[:sha256mb.Nodes(row, row)]
		}
	}
	for _, f := range w.frames {
		frame.Verify(f, w.key)
	}
	return cpuTime(b) - before
}
