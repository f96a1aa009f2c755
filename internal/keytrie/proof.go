package keytrie

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/stelelog/stele/merkle"
)

// Proof is a set of shapes of an open trie. It shows to whoever holds the commitment which paths begin with some
// prefixes, or which commitment is left when paths are removed.
type Proof struct {
	shapes map[merkle.Hash][]byte
}

const (
	proofMagic = "STLW\x01\x00\x00\x00"
	maxProof   = 64 << 20 // bytes
	minNode    = 5        // a bucket of one path of one byte
)

// ProveFind makes the proof for [Proof.Find]. The trie need not have its keys.
func (t *Trie) ProveFind(ctx context.Context, r Root, prefixes [][]byte) (*Proof, error) {
	rec, err := t.record(prefixes)
	if err != nil {
		return nil, err
	}
	err = visit(ctx, rec, r, prefixes, false, func(Entry) error { return nil })
	return &rec.proof, err
}

// ProveRemove makes the proof for [Proof.Remove].
func (t *Trie) ProveRemove(ctx context.Context, r Root, prefixes [][]byte) (*Proof, error) {
	rec, err := t.record(prefixes)
	if err != nil {
		return nil, err
	}
	_, _, err = remove(ctx, rec, r, prefixes, nil)
	return &rec.proof, err
}

func (t *Trie) record(prefixes [][]byte) (*recorder, error) {
	if t.Hidden {
		return nil, fmt.Errorf("%w: a hidden trie has no commitment", ErrProof)
	}
	return &recorder{stored: stored{Trie: t}, proof: Proof{map[merkle.Hash][]byte{}}}, checkSet(prefixes)
}

// recorder keeps the shapes of the nodes that are loaded, and writes nothing.
type recorder struct {
	stored
	proof Proof
}

func (r *recorder) load(ctx context.Context, root *Root) (*node, error) {
	n, err := r.stored.load(ctx, root)
	if err == nil {
		r.proof.shapes[root.Hash] = bytes.Clone(n.shape)
	}
	return n, err
}

func (r *recorder) save(n *node) (Root, error) { return committed(n), nil }

// committed is a node as far as it is public.
func committed(n *node) Root {
	return Root{Commitment: Commitment{n.count(), commit(n.appendShape(nil, false))}}
}

// Find returns the paths that begin with one of the prefixes, in order, in the trie with this commitment. That a prefix
// has none is shown by their absence. The error wraps [ErrProof] if the proof shows something else, or more.
func (p *Proof) Find(c Commitment, prefixes [][]byte) (paths [][]byte, err error) {
	if err := checkSet(prefixes); err != nil {
		return nil, err
	}
	v := verifier{proof: p, used: map[merkle.Hash]bool{}}
	err = visit(context.Background(), v, Root{Commitment: c}, prefixes, false, func(e Entry) error {
		paths = append(paths, e.Path)
		return nil
	})
	return paths, v.done(err)
}

// Remove returns the commitment of the trie with commitment c after all paths that begin with one of the prefixes are
// gone, and how many each of them takes.
func (p *Proof) Remove(c Commitment, prefixes [][]byte) (left Commitment, hits []uint64, err error) {
	if err := checkSet(prefixes); err != nil {
		return left, nil, err
	}
	v := verifier{proof: p, used: map[merkle.Hash]bool{}}
	r, hits, err := remove(context.Background(), v, Root{Commitment: c}, prefixes, nil)
	return r.Commitment, hits, v.done(err)
}

// CommitPaths returns the commitment of the open trie of these paths.
func CommitPaths(paths [][]byte) (Commitment, error) {
	r, err := build(verifier{}, false, func(yield func(Entry, error) bool) {
		for _, p := range paths {
			if !yield(Entry{Path: p}, nil) {
				return
			}
		}
	})
	return r.Commitment, err
}

// verifier takes nodes from a proof.
type verifier struct {
	proof *Proof
	used  map[merkle.Hash]bool
}

func (verifier) bucket() int { return openBucket }

func (verifier) node() *node { return new(node) }

func (verifier) free(*node) {}

func (verifier) save(n *node) (Root, error) { return committed(n), nil }

func (v verifier) load(_ context.Context, r *Root) (*node, error) {
	shape, ok := v.proof.shapes[r.Hash]
	if !ok {
		return nil, fmt.Errorf("%w: it lacks the node %v", ErrProof, r.Hash)
	}
	c, n := cursor{data: shape}, new(node)
	c.shape(n, false, openBucket)
	if err := c.end(); err != nil {
		return nil, fmt.Errorf("%w: node %v: %w", ErrProof, r.Hash, err)
	}
	if count := n.count(); count != r.Count { // its hash is that by which the proof has it
		return nil, fmt.Errorf("%w: node %v has %d paths, not %d", ErrProof, r.Hash, count, r.Count)
	}
	v.used[r.Hash] = true
	return n, nil
}

// done refuses a proof that has more than was needed.
func (v verifier) done(err error) error {
	if err != nil && !errors.Is(err, ErrProof) {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	if err == nil && len(v.used) < len(v.proof.shapes) {
		return fmt.Errorf("%w: %d of its %d nodes are not needed", ErrProof, len(v.proof.shapes)-len(v.used), len(v.proof.shapes))
	}
	return err
}

// MarshalBinary returns the bytes of docs/formats/keys.md, Proofs.
func (p *Proof) MarshalBinary() ([]byte, error) {
	hashes := make([]merkle.Hash, 0, len(p.shapes))
	for h := range p.shapes {
		hashes = append(hashes, h)
	}
	slices.SortFunc(hashes, func(a, b merkle.Hash) int { return bytes.Compare(a[:], b[:]) })
	out := binary.AppendUvarint([]byte(proofMagic), uint64(len(hashes)))
	for _, h := range hashes {
		out = binary.AppendUvarint(out, uint64(len(p.shapes[h])))
		out = append(out, p.shapes[h]...)
	}
	if len(out) > maxProof {
		return nil, fmt.Errorf("%w: it would have %d bytes, at most %d may be", ErrProof, len(out), maxProof)
	}
	return out, nil
}

// UnmarshalBinary reads a proof. What it shows is checked by Find and Remove.
func (p *Proof) UnmarshalBinary(data []byte) error {
	rest, ok := bytes.CutPrefix(data, []byte(proofMagic))
	if !ok || len(data) > maxProof {
		return fmt.Errorf("%w: %d bytes that are no proof of version 1", ErrProof, len(data))
	}
	c := cursor{data: bytes.Clone(rest)}
	n := c.uv()
	shapes := make(map[merkle.Hash][]byte, min(n, uint64(len(rest)/minNode)))
	var last merkle.Hash
	for ; n > 0 && c.err == nil; n-- {
		length := c.uv()
		if length < minNode || length > maxNode {
			c.fail(fmt.Errorf("a node of %d bytes", length))
			break
		}
		shape := c.take(int(length))
		if c.err != nil {
			break
		}
		h := commit(shape)
		if len(shapes) > 0 && bytes.Compare(last[:], h[:]) >= 0 {
			c.fail(fmt.Errorf("nodes do not ascend"))
		}
		shapes[h], last = shape, h
	}
	if err := c.end(); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	p.shapes = shapes
	return nil
}
