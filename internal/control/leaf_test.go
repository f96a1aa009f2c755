package control_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

// long is an entry that does not fit into a leaf.
func (w *world) long() string {
	p := w.policy(2)
	for i := range 1000 {
		p.Writers = append(p.Writers, Writer{Name: fmt.Sprintf("service-%d", i), Key: fmt.Appendf(nil, "%032d", i)})
	}
	return w.sign("root", TypePolicy, p)
}

// An entry that does not fit into a leaf is in the log all the same, with its hash as leaf.
func TestLongEntry(t *testing.T) {
	w := newWorld(t)
	entry := w.long()
	if len(entry) < 1<<16 || len(entry) > MaxEntry {
		t.Fatalf("the entry has %d bytes", len(entry))
	}
	w.must(entry)
	if w.state.Policy().Version != 2 {
		t.Error("it had no effect")
	}
	got := make([]merkle.Hash, 1)
	if err := w.state.Nodes([]merkle.Node{{Index: 1}}, got); err != nil {
		t.Fatal(err)
	}
	stub := fmt.Sprintf("stele/entry-hash/v1\n%x\n", sha256.Sum256([]byte(entry)))
	if got[0] != merkle.LeafHash([]byte(stub)) {
		t.Error("the leaf is not as docs/formats/control.md says")
	}
	if short := w.sign("root", TypePolicy, w.policy(3)); LeafHash(short) != merkle.LeafHash([]byte(short)) {
		t.Error("the leaf of an entry that fits is not the entry")
	}
}

// Nobody may put the leaf of one entry into the log with another text, nor an entry without bounds.
func TestEntryLikeALeaf(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{string(LeafData(w.long())), strings.Repeat("x", MaxEntry+1)} {
		if _, err := w.state.Build(chain.Tail{Next: w.n}, []string{bad}, w.now, w.keys["test/control"]); err == nil {
			t.Errorf("an object with %.30q is made", bad)
		}
		// Who holds the control key can sign what it likes.
		object := w.forge(bad)
		if _, _, err := w.state.Judge(chain.Object{N: w.n, Data: object}); err == nil {
			t.Errorf("an object with %.30q is accepted", bad)
		}
	}
}

// forge makes the next object without asking whether its entry may be there.
func (w *world) forge(entry string) []byte {
	w.t.Helper()
	old := make([]merkle.Hash, w.state.Size())
	nodes := make([]merkle.Node, len(old))
	for i := range nodes {
		nodes[i] = merkle.Node{Index: uint64(i)}
	}
	if err := w.state.Nodes(nodes, old); err != nil {
		w.t.Fatal(err)
	}
	line, err := commit.MarshalLine(Object{Stele: "control/v1", Archive: w.id, N: w.n, Size: uint64(len(old)) + 1,
		Root: merkle.Root(append(old, LeafHash(entry))), Time: w.now, Entries: []string{entry}})
	if err != nil {
		w.t.Fatal(err)
	}
	file, err := note.Sign(&note.Note{Text: string(line)}, w.keys["test/control"])
	if err != nil {
		w.t.Fatal(err)
	}
	return file
}
