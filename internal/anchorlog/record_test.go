package anchorlog

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/merkle"
)

// world is a control log and an anchor that keeps its heads.
type world struct {
	trust         identity.Trust
	vkey          string
	log, operator note.Signer
	control, tree merkle.Frontier
	levels        [][]merkle.Hash // of the anchor's tree
	last          uint64          // size of the newest root
}

func newWorld(t testing.TB) *world {
	signer := func(name string, seed byte) (note.Signer, string) {
		key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32)))
		s, err := merkle.NewSigner(name, key)
		if err != nil {
			t.Fatal(err)
		}
		vkey, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		return s, vkey
	}
	w := &world{}
	w.trust.Name = "acme"
	_, w.trust.Root = signer("acme/root", 'r')
	w.log, w.trust.Log = signer("acme/control", 'l')
	w.operator, w.vkey = signer("anchor.example/acme", 'o')
	return w
}

// grow adds entries to the control log and its head to the anchor.
func (w *world) grow(t testing.TB, entry string) []byte {
	w.control.Append(merkle.LeafHash([]byte(entry)))
	head, err := merkle.Checkpoint{Origin: "acme/control", Size: w.control.Size(), Root: w.control.Root()}.Sign(w.log)
	if err != nil {
		t.Fatal(err)
	}
	n := w.tree.Size()
	w.levels = w.tree.AppendLevels(w.levels, merkle.LeafHash(Leaf(string(head))))
	nodes := func(nodes []merkle.Node, hashes []merkle.Hash) error {
		for i, at := range nodes {
			hashes[i] = w.levels[at.Level][at.Index]
		}
		return nil
	}
	inclusion, err := merkle.ProveInclusion(n, n+1, nodes)
	if err != nil {
		t.Fatal(err)
	}
	consistency, err := merkle.ProveConsistency(w.last, n+1, nodes)
	if err != nil {
		t.Fatal(err)
	}
	root, err := merkle.Checkpoint{Origin: "anchor.example/acme", Size: n + 1, Root: w.tree.Root()}.Sign(w.operator)
	if err != nil {
		t.Fatal(err)
	}
	w.last = n + 1
	file, err := Record{N: n, Head: string(head), Inclusion: inclusion.Path, Root: string(root), Consistency: consistency.Path}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestChain(t *testing.T) {
	w := newWorld(t)
	c, err := NewChain(&w.trust, w.vkey)
	if err != nil {
		t.Fatal(err)
	}
	var files [][]byte
	for i := range 9 {
		files = append(files, w.grow(t, fmt.Sprint(i)))
	}
	for i, file := range files {
		if _, err := c.Add(file); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		before := *c
		for j, other := range files {
			if _, err := c.Add(other); err == nil && j != i+1 || *c != before && j != i+1 {
				t.Fatalf("record %d behind %d: %v", j, i, err)
			}
			*c = before
		}
	}
	if c.Next != 9 || c.Head.Size != 9 || c.Root.Size != 9 || c.Name() != "anchor.example/acme" {
		t.Errorf("%+v", c)
	}
	// Another history of the same operator does not continue this one.
	other := newWorld(t)
	for i := range 9 {
		other.grow(t, "other "+fmt.Sprint(i))
	}
	if _, err := c.Add(other.grow(t, "more")); err == nil {
		t.Error("a record of another history is taken")
	}
	if _, err := c.Add(w.grow(t, "more")); err != nil {
		t.Error(err)
	}
}

// With a bit changed a record is refused. What leads from the record before is for [Chain.Add] to check.
func TestChangedRecords(t *testing.T) {
	w := newWorld(t)
	w.grow(t, "a")
	w.grow(t, "b")
	first, _ := NewChain(&w.trust, w.vkey)
	file := w.grow(t, "c")
	want, _, _, err := first.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range file {
		for _, bit := range []int{0, 5} {
			changed := append([]byte{}, file...)
			changed[i] ^= 1 << bit
			if got, _, _, err := first.Open(changed); err == nil && (len(got.Consistency) == 0 || slices.Equal(got.Consistency, want.Consistency)) {
				t.Errorf("byte %d: accepted", i)
			}
		}
	}
	for _, bad := range []string{"", "{}", `{"stele":"anchor/v2"}`, string(file) + strings.Repeat(" ", MaxRecord)} {
		if _, _, _, err := first.Open([]byte(bad)); err == nil {
			t.Errorf("accepted: %.40q", bad)
		}
	}
}

func FuzzOpen(f *testing.F) {
	w := newWorld(f)
	c, err := NewChain(&w.trust, w.vkey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(w.grow(f, "a"))
	f.Add(w.grow(f, "b"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if r, root, head, err := c.Open(file); err == nil && (r.N >= root.Size || head.Size == 0) {
			t.Errorf("%+v", r)
		}
	})
}
