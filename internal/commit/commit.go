// Package commit is the object that makes a segment part of a log: its JSON, its signature and the rules by which one
// commit follows another. The format is docs/formats/commit.md. Pure: no I/O, no clock.
package commit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/merkle"
)

const version = "commit/v1"

// MaxLen bounds a commit file in bytes.
const MaxLen = 16 << 20

// Commit is one commit of one log.
type Commit struct {
	Stele       string           `json:"stele"`
	Archive     Hex16            `json:"archive"`
	Log         string           `json:"log"`
	N           uint64           `json:"n"`
	Prev        Hex32            `json:"prev"`
	Burnt       []uint64         `json:"burnt,omitempty"`
	By          string           `json:"by"`
	Time        time.Time        `json:"time"`
	SourceTime  time.Time        `json:"source_time"`
	Control     uint64           `json:"control"`
	Tree        Tree             `json:"tree"`
	Records     uint64           `json:"records,omitempty"`
	Pieces      uint64           `json:"pieces,omitempty"`
	From        *time.Time       `json:"from,omitempty"`
	Until       *time.Time       `json:"until,omitempty"`
	Spans       *Hex32           `json:"spans,omitempty"`
	Objects     []Object         `json:"objects,omitempty"`
	Index       *Index           `json:"index,omitempty"`
	Proof       []Span           `json:"proof,omitempty"`
	Source      Source           `json:"source"`
	GrantsEnd   map[string]int64 `json:"grants_end,omitempty"`
	Streams     []Tip            `json:"streams,omitempty"`
	Quarantined uint64           `json:"quarantined,omitempty"`
	Duplicates  uint64           `json:"duplicates,omitempty"`
	Final       *Final           `json:"final,omitempty"`
	Continues   *End             `json:"continues,omitempty"`
}

// Tree is the run of leaves of a commit and the compact ranges around it.
type Tree struct {
	First  uint64        `json:"first"`
	Size   uint64        `json:"size"`
	Root   merkle.Hash   `json:"root"`
	Before []merkle.Hash `json:"before,omitempty"`
	After  []merkle.Hash `json:"after,omitempty"`
}

// Kinds of objects.
const (
	KindIndex      = "index"
	KindData       = "data"
	KindProof      = "proof"
	KindQuarantine = "quarantine"
	KindTips       = "tips"
	KindDirectory  = "directory"
)

// Object is an object of a segment. SHA256 is its identity, Version a hint.
type Object struct {
	Kind    string     `json:"kind"`
	Class   string     `json:"class,omitempty"`
	Key     string     `json:"key"`
	SHA256  Hex32      `json:"sha256"`
	Size    int64      `json:"size"`
	Version string     `json:"version,omitempty"`
	Lock    string     `json:"lock"`
	Until   *time.Time `json:"until,omitempty"`
}

// Span is a range of an object with its digest.
type Span struct {
	Off    int64 `json:"off"`
	Len    int64 `json:"len"`
	SHA256 Hex32 `json:"sha256"`
	Rows   int   `json:"rows,omitempty"`
}

// Index says where the head and the batches of the index object lie.
type Index struct {
	Head    Span   `json:"head"`
	Batches []Span `json:"batches"`
}

// Source is how far the transport has been read.
type Source struct {
	Cluster string          `json:"cluster"`
	Topic   string          `json:"topic,omitempty"`
	Lanes   map[string]Lane `json:"lanes,omitempty"`
}

// Lane is the position in one partition or spool lane. Last is the digest of message Next−1.
type Lane struct {
	Next int64      `json:"next"`
	Last *Hex32     `json:"last,omitempty"`
	Gap  [][2]int64 `json:"gap,omitempty"` // [from, to): removed by the transport before they were read
}

// Final closes a log.
type Final struct {
	Next string `json:"next"`
}

// End is the final commit that the first one of the next log has for a parent.
type End struct {
	Log string `json:"log"`
	N   uint64 `json:"n"`
}

// Tip is how far a stream has come.
type Tip struct {
	ID         Hex16       `json:"id"`
	Service    string      `json:"service"`
	Key        []byte      `json:"key"` // Ed25519 public key
	From       uint64      `json:"from"`
	Next       uint64      `json:"next"`
	Head       Hex32       `json:"head"`
	Beat       *Beat       `json:"beat,omitempty"`
	Every      uint32      `json:"every"`      // ms
	Durability uint8       `json:"durability"` // weakest: 1 memory, 2 spooled, 3 acked
	Closed     bool        `json:"closed,omitempty"`
	Prev       *Prev       `json:"prev,omitempty"`
	Recovered  *Recovered  `json:"recovered,omitempty"`
	Gaps       []Gap       `json:"gaps,omitempty"`
	Late       [][2]uint64 `json:"late,omitempty"` // [from, to)
	Lost       uint64      `json:"lost,omitempty"`
	LostSeq    uint64      `json:"lost_seq,omitempty"` // of the last loss leaf
	Lane       string      `json:"lane"`
	Encaps     []EncapAt   `json:"encaps,omitempty"`
}

// Beat is the newest beat of a stream.
type Beat struct {
	Seq  uint64    `json:"seq"`
	Head Hex32     `json:"head"`
	Time time.Time `json:"time"` // when the transport took it
	Note []byte    `json:"note"` // the beat itself, signed by the stream
}

// Prev is the predecessor that a stream names when it opens. Seq is 2⁶⁴−1 if nothing was sent.
type Prev struct {
	Stream Hex16  `json:"stream"`
	Seq    uint64 `json:"seq"`
	Head   Hex32  `json:"head"`
}

// Recovered says where a stream found the end of its predecessor, which did not close. Seq is 2⁶⁴−1 if it found nothing.
type Recovered struct {
	Seq  uint64 `json:"seq"`
	Head Hex32  `json:"head"`
}

// Gap is [From, To): leaves that have not come. Head is what the frame after the gap names as its previous head.
type Gap struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	Head Hex32  `json:"head"`
	Prev Hex32  `json:"prev"` // head of the frame before the gap
}

// EncapAt says which commit's proof object last repeated an encapsulation.
type EncapAt struct {
	ID     Hex16  `json:"id"`
	Commit uint64 `json:"commit"`
}

// Sign returns the file of c.
func (c *Commit) Sign(signer note.Signer) ([]byte, error) {
	c.Stele = version
	text, err := MarshalLine(c)
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: string(text)}, signer)
}

// Parse reads a commit file and checks its signature against keys.
func Parse(file []byte, keys note.Verifiers) (*Commit, error) {
	if len(file) > MaxLen {
		return nil, fmt.Errorf("commit: file of %d bytes", len(file))
	}
	n, err := note.Open(file, keys)
	if err != nil {
		return nil, fmt.Errorf("commit: signature: %w", err)
	}
	var c Commit
	if err := UnmarshalLine(n.Text, version, &c); err != nil {
		return nil, err
	}
	if c.By != n.Sigs[0].Name {
		return nil, fmt.Errorf("commit: signed by %s, not by %s", n.Sigs[0].Name, c.By)
	}
	return &c, nil
}

// Peek reads a commit without looking at its signature: to find the key that must verify it.
func Peek(file []byte) (*Commit, error) {
	text, _, ok := strings.Cut(string(file), "\n\n")
	if !ok || len(file) > MaxLen {
		return nil, fmt.Errorf("commit: this is no signed note")
	}
	var c Commit
	return &c, UnmarshalLine(text+"\n", version, &c)
}

// PeekNewer reads of a file that is no commit of this version what any version says: which commit of which log it is, who made it, and when. ok is false if it
// does not say so.
func PeekNewer(file []byte) (c *Commit, ok bool) {
	text, _, _ := strings.Cut(string(file), "\n\n")
	var base struct {
		Stele   string  `json:"stele"`
		Archive Hex16   `json:"archive"`
		Log     string  `json:"log"`
		N       *uint64 `json:"n"`
		By      string  `json:"by"`
		Control uint64  `json:"control"`
	}
	if len(file) > MaxLen || json.Unmarshal([]byte(text), &base) != nil || base.N == nil || !strings.HasPrefix(base.Stele, "commit/") {
		return nil, false
	}
	return &Commit{Stele: base.Stele, Archive: base.Archive, Log: base.Log, N: *base.N, By: base.By, Control: base.Control}, true
}

// Hash is the hash of a commit file, by which its child names it.
func Hash(file []byte) Hex32 { return sha256.Sum256(file) }

// Object returns the object of a kind and class, or nil.
func (c *Commit) Object(kind, class string) *Object {
	for i := range c.Objects {
		if c.Objects[i].Kind == kind && c.Objects[i].Class == class {
			return &c.Objects[i]
		}
	}
	return nil
}

// Follows checks that c is a child of parent, whose file has the hash parentHash; parent is nil for the first commit of
// the first log of a partition, and the final commit of the log before for the first one of a later log. It checks the
// numbers and the tree, not the objects.
func (c *Commit) Follows(parent *Commit, parentHash Hex32) error {
	if parent == nil {
		if c.Prev != (Hex32{}) || c.Continues != nil {
			return fmt.Errorf("commit: not the first of its partition")
		}
		return c.checkTree(merkle.Frontier{})
	}
	if c.Prev != parentHash {
		return fmt.Errorf("commit: names parent %x, not %x", c.Prev[:4], parentHash[:4])
	}
	if c.Control < parent.Control || c.SourceTime.Before(parent.SourceTime) {
		return fmt.Errorf("commit: goes back in the control log or in source time")
	}
	if parent.Final != nil {
		if c.Log != parent.Final.Next || c.Continues == nil || *c.Continues != (End{parent.Log, parent.N}) {
			return fmt.Errorf("commit: %s was closed, and goes on in %s", parent.Log, parent.Final.Next)
		}
		return c.startsLog()
	}
	if c.Continues != nil || c.Log != parent.Log {
		return fmt.Errorf("commit: it says that it continues another log")
	}
	before, err := merkle.NewFrontier(parent.Tree.Size, parent.Tree.After)
	if err != nil {
		return err
	}
	return c.checkTree(before)
}

// startsLog checks that c is empty, as the first commit of a log that continues another is.
func (c *Commit) startsLog() error {
	if c.Tree.Size > 0 || len(c.Objects) > 0 || c.Final != nil {
		return fmt.Errorf("commit: the first one of a later log has no leaves and no objects")
	}
	return c.checkTree(merkle.Frontier{})
}

func (c *Commit) checkTree(before merkle.Frontier) error {
	t := &c.Tree
	after, err := merkle.NewFrontier(t.Size, t.After)
	if err != nil {
		return fmt.Errorf("commit: compact range: %w", err)
	}
	if t.First != before.Size() || !sameHashes(t.Before, before.Hashes()) {
		return fmt.Errorf("commit: does not start where its parent ends")
	}
	if t.Size < t.First || after.Root() != t.Root {
		return fmt.Errorf("commit: root and compact range differ")
	}
	if c.Final != nil && (t.Size != t.First || len(c.Objects) > 0) {
		return fmt.Errorf("commit: a final commit has no leaves and no objects")
	}
	if c.Final != nil && !later(c.Log, c.Final.Next) {
		return fmt.Errorf("commit: %s cannot go on in %s", c.Log, c.Final.Next)
	}
	return nil
}

func sameHashes(a, b []merkle.Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// MarshalLine writes v as one line of compact JSON.
func MarshalLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// UnmarshalLine reads one line of JSON of the given format into v, strictly.
func UnmarshalLine(line, format string, v any) error {
	var head struct {
		Stele string `json:"stele"`
	}
	if err := json.Unmarshal([]byte(line), &head); err != nil {
		return fmt.Errorf("%s: %w", format, err)
	}
	if head.Stele != format {
		return fmt.Errorf("%s: the file is %q; a newer stele may read it", format, head.Stele)
	}
	dec := json.NewDecoder(strings.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", format, err)
	}
	return nil
}
