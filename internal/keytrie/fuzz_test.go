package keytrie

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
)

func seeds(f *testing.F, hidden bool) [][]byte {
	w := newWorld(hidden, 1)
	var out [][]byte
	w.write(f, func(wr *Writer) error {
		_, err := build(fuzzSpy{stored{Trie: w.Trie, w: wr}, &out}, hidden, sorted(randomSet(rand.New(rand.NewPCG(1, 1)), 300, hidden)))
		return err
	})
	return out
}

// fuzzSpy collects the plain bytes of nodes.
type fuzzSpy struct {
	stored
	out *[][]byte
}

func (s fuzzSpy) save(n *node) (Root, error) {
	*s.out = append(*s.out, n.appendSecret(n.appendLinks(n.appendShape(nil, s.Hidden), s.Hidden), s.Hidden))
	return s.stored.save(n)
}

// FuzzNode: what is read as a node is written again as the same bytes.
func FuzzNode(f *testing.F) {
	for _, hidden := range []bool{false, true} {
		for _, s := range seeds(f, hidden) {
			f.Add(s, hidden)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, hidden bool) {
		c := cursor{data: data}
		bucket := openBucket
		if hidden {
			bucket = hiddenBucket
		}
		n := new(node)
		c.shape(n, hidden, bucket)
		if c.err != nil {
			return
		}
		c.links(n, hidden)
		c.secrets(n, hidden)
		if c.end() != nil {
			return
		}
		if got := n.appendSecret(n.appendLinks(n.appendShape(nil, hidden), hidden), hidden); !bytes.Equal(got, data) {
			t.Errorf("%x\nis written as\n%x", data, got)
		}
	})
}

// FuzzProof: what is read as a proof has one spelling, and searching it ends.
func FuzzProof(f *testing.F) {
	w := newWorld(false, 1)
	root := w.build(f, randomSet(rand.New(rand.NewPCG(1, 1)), 300, false))
	for _, prefix := range []string{"\x10", "\x11\x00\x02", "\x12\x00\x01\x55\x12"} {
		p, err := w.ProveRemove(context.Background(), root, [][]byte{[]byte(prefix)})
		if err != nil {
			f.Fatal(err)
		}
		data, err := p.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte(prefix))
	}
	f.Fuzz(func(t *testing.T, data, prefix []byte) {
		var p Proof
		if p.UnmarshalBinary(data) != nil {
			return
		}
		again, err := p.MarshalBinary()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x\nis written as\n%x (%v)", data, again, err)
		}
		// Any of its nodes may be taken for the root.
		for h, shape := range p.shapes {
			c, n := cursor{data: shape}, new(node)
			if c.shape(n, false, openBucket); c.err == nil {
				p.Find(Commitment{n.count(), h}, [][]byte{prefix})
				p.Remove(Commitment{n.count(), h}, [][]byte{prefix})
			}
		}
	})
}

func FuzzPaths(f *testing.F) {
	f.Add(AppendPaths(nil, byteSlices([]string{"a", "bb", "bc", "bcc"[:2] + "d"})))
	f.Fuzz(func(t *testing.T, data []byte) {
		paths, rest, err := ParsePaths(data, 1000)
		if err != nil {
			return
		}
		if checkSet(paths) != nil || !bytes.Equal(append(AppendPaths(nil, paths), rest...), data) {
			t.Errorf("%x gives %x", data, paths)
		}
	})
}
