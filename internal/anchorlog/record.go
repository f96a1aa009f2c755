// Package anchorlog is what an anchor leaves in an archive: records that heads of the control log are in a log of somebody
// else. The format is docs/formats/anchor.md. Pure: no I/O, no clock.
package anchorlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/merkle"
)

const format = "anchor/v1"

// MaxRecord bounds a record in bytes.
const MaxRecord = 64 << 10

// Record is one head of the control log in the log of an anchor.
type Record struct {
	Stele       string        `json:"stele"`
	N           uint64        `json:"n"`
	Head        string        `json:"head"`                  // signed checkpoint of the control log
	Inclusion   []merkle.Hash `json:"inclusion,omitempty"`   // of leaf n in the tree of Root
	Root        string        `json:"root"`                  // checkpoint of the anchor's log, signed by its operator
	Consistency []merkle.Hash `json:"consistency,omitempty"` // from the root of record n−1
}

// Prefix is where the records of an operator lie in the store.
func Prefix(vkey string) string {
	sum := sha256.Sum256([]byte(vkey))
	return fmt.Sprintf("control/anchors/%x/", sum[:8])
}

// Leaf is the data of the leaf for a signed head: its text.
func Leaf(head string) []byte {
	text, _, _ := strings.Cut(head, "\n\n")
	return []byte(text + "\n")
}

// Marshal writes a record.
func (r Record) Marshal() ([]byte, error) {
	r.Stele = format
	return commit.MarshalLine(r)
}

// IsRecord reports whether a file claims to be a record, of this version or another.
func IsRecord(file []byte) bool { return bytes.HasPrefix(file, []byte(`{"stele":"anchor/`)) }

// Chain follows the records of one operator. The zero Chain is not usable; see NewChain.
type Chain struct {
	operator note.Verifier
	log      note.Verifier
	origin   string // of the control log

	Next uint64            // number of the record that would follow
	Root merkle.Checkpoint // of the newest record, the empty tree without one
	Head merkle.Checkpoint // of the newest record
}

// NewChain starts before the first record.
func NewChain(t *identity.Trust, vkey string) (*Chain, error) {
	operator, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("key of the anchor: %w", err)
	}
	log, err := t.LogVerifier()
	if err != nil {
		return nil, err
	}
	return &Chain{operator: operator, log: log, origin: t.Origin(), Root: merkle.Checkpoint{Origin: operator.Name(), Root: merkle.EmptyRoot()}}, nil
}

// Name is the origin of the anchor's log.
func (c *Chain) Name() string { return c.operator.Name() }

// Open reads a record by itself: who signed it, and that its head is in its root.
func (c *Chain) Open(file []byte) (r Record, root, head merkle.Checkpoint, err error) {
	if len(file) > MaxRecord {
		return r, root, head, fmt.Errorf("anchor: %d bytes are too many for a record", len(file))
	}
	dec := json.NewDecoder(bytes.NewReader(file))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil || r.Stele != format {
		return r, root, head, errors.Join(fmt.Errorf("anchor: no record that is known here (want %q)", format), err)
	}
	if again, err := r.Marshal(); err != nil || !bytes.Equal(again, file) || !control.Canonical([]byte(r.Head)) || !control.Canonical([]byte(r.Root)) {
		return r, root, head, errors.New("anchor: a record that is not written as it must be")
	}
	if head, err = merkle.OpenCheckpoint([]byte(r.Head), c.origin, note.VerifierList(c.log)); err != nil {
		return r, root, head, fmt.Errorf("anchor: head: %w", err)
	}
	if root, err = merkle.OpenCheckpoint([]byte(r.Root), c.operator.Name(), note.VerifierList(c.operator)); err != nil {
		return r, root, head, fmt.Errorf("anchor: root: %w", err)
	}
	proof := merkle.InclusionProof{Index: r.N, Size: root.Size, Path: r.Inclusion}
	if err := proof.Verify(merkle.LeafHash(Leaf(r.Head)), root.Root); err != nil {
		return r, root, head, fmt.Errorf("anchor: %w", err)
	}
	return r, root, head, nil
}

// Add takes the next record. It leaves c as it was if the record is not valid, and then says why.
func (c *Chain) Add(file []byte) (r Record, err error) {
	r, root, head, err := c.Open(file)
	if err != nil {
		return r, err
	}
	switch {
	case r.N != c.Next:
		return r, fmt.Errorf("anchor: record %d in the place of %d", r.N, c.Next)
	case head.Size <= c.Head.Size:
		return r, fmt.Errorf("anchor: the head of size %d follows one of %d", head.Size, c.Head.Size)
	}
	proof := merkle.ConsistencyProof{OldSize: c.Root.Size, NewSize: root.Size, Path: r.Consistency}
	if err := proof.Verify(c.Root.Root, root.Root); err != nil {
		return r, fmt.Errorf("anchor: the root of size %d does not continue that of size %d: %w", root.Size, c.Root.Size, err)
	}
	c.Next, c.Root, c.Head = c.Next+1, root, head
	return r, nil
}

// HeadIn is the signed head of the control log in a file: a checkpoint, or a record of an anchor of the trust file.
func HeadIn(trust *identity.Trust, file []byte) ([]byte, error) {
	if !IsRecord(file) {
		return file, nil
	}
	errs := []error{errors.New("a record of no anchor that the trust file names")}
	for _, vkey := range trust.Anchors {
		chain, err := NewChain(trust, vkey)
		if err != nil {
			return nil, err
		}
		r, _, _, err := chain.Open(file)
		if err == nil {
			return []byte(r.Head), nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
