package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/merkle"
)

const (
	maxPath = 63
	maxTree = 1<<63 - 1 // leaves
	maxName = 255       // bytes of the name of a key
)

// told is what parts say that others follow from.
type told struct {
	parts  []Part
	record *merkle.Hash // leaf hash of the last one
	entry  *toldEntry   // the last one
	heads  [][]byte     // checkpoints of parts of kind 2
	open   *openRoot    // in the last part
}

type toldEntry struct{ leaf, hash merkle.Hash }

// openRoot is the place of a root in a roster, to which the lines behind it lead.
type openRoot struct {
	at      int
	lines   uint64
	written bool // the roster
}

// add notes a part; not if it does not lead to the root that the one before waits for.
func (t *told) add(p Part) bool {
	t.parts = append(t.parts, p)
	switch {
	case t.open != nil && t.open.written:
		return t.fill(p)
	case t.open != nil:
		t.open.written = true
	case p.Kind == KindRecord:
		t.record = leafIn(p.Data)
	case p.Kind == KindEntry:
		t.take(p.Data)
	case p.Kind == KindLog:
		_, head, _ := bytes.Cut(p.Data, []byte("\n\n"))
		t.heads = append(t.heads, head)
	}
	return true
}

// fill puts the root into the roster before a part, which must be of its lines.
func (t *told) fill(p Part) bool {
	roster := t.parts[len(t.parts)-2].Data
	names, err := parseNames(p.Data)
	if p.Kind != KindNames || err != nil {
		return false
	}
	root, ok := names.root(t.open.lines)
	base64.StdEncoding.Encode(roster[t.open.at:], root[:])
	t.open = nil
	t.take(roster)
	return ok
}

func (t *told) take(entry []byte) {
	t.entry = &toldEntry{control.LeafHash(string(entry)), sha256.Sum256(entry)}
}

// leafFor is the leaf that a proof file in a part is about; nil if there is none.
func (t *told) leafFor(kind byte) *merkle.Hash {
	switch {
	case kind == KindLog:
		return t.record
	case kind == KindControl && t.entry != nil:
		return &t.entry.leaf
	}
	return nil
}

// leafIn is the leaf hash of the leafdata in a part of kind 1.
func leafIn(record []byte) *merkle.Hash {
	in := cursor{b: record}
	in.bytes(uint64(frame.SignedLen - wordLen))
	in.path()
	if in.broken {
		return nil
	}
	leaf := merkle.LeafHash(in.b)
	return &leaf
}

// proofText is a proof file up to the root of its checkpoint, and that root; not ok if the path is none of that place.
func proofText(leaf merkle.Hash, index, size uint64, path []merkle.Hash, origin string) (text string, root merkle.Hash, ok bool) {
	root, ok = climb(leaf, index, size, path)
	var b strings.Builder
	fmt.Fprintf(&b, "c2sp.org/tlog-proof@v1\nindex %d\n", index)
	for _, h := range path {
		b.WriteString(h.String() + "\n")
	}
	fmt.Fprintf(&b, "\n%s\n%d\n%s\n", origin, size, root)
	return b.String(), root, ok
}

// keyText is what stands behind the name of a key and a plus: its id and, with its algorithm, the key. nil if there is no plus.
func keyText(before, key []byte) []byte {
	name, ok := bytes.CutSuffix(before[max(0, len(before)-1-maxName):], []byte("+"))
	if !ok {
		return nil
	}
	name = name[bytes.LastIndexAny(name, " \n\"")+1:]
	full := append([]byte{1}, key...)
	id := sha256.Sum256(bytes.Join([][]byte{name, full}, []byte("\n")))
	text := append(hex.AppendEncode(nil, id[:keyIDLen]), '+')
	return base64.StdEncoding.AppendEncode(text, full)
}

func timeText(nanoseconds int64) string {
	return time.Unix(0, nanoseconds).UTC().Format(time.RFC3339Nano)
}

// inJSON is a checkpoint as JSON has it between quotes.
func inJSON(checkpoint []byte) string {
	return strings.ReplaceAll(string(checkpoint), "\n", `\n`)
}

// rosterOf is the root in a roster and the number of its lines, if the part of names behind it leads there; else 0 lines.
func rosterOf(entry, names []byte) (root merkle.Hash, lines uint64) {
	var r control.Roster
	e, err := control.ParseEntry(string(entry))
	if err != nil || e.Into(&r) != nil {
		return root, 0
	}
	n, err := parseNames(names)
	if err != nil {
		return root, 0
	}
	if root, ok := n.root(r.Names); ok && root == r.Root {
		return root, r.Names
	}
	return root, 0
}

func (c *condenser) other(x uint64) {
	c.flush()
	c.ops = binary.AppendUvarint(c.ops, operation(opOther, x))
}

// proof writes the beginning of a proof file whose path leads to its root, and says how long that is.
func (c *condenser) proof(p Part) int {
	leaf := c.told.leafFor(p.Kind)
	var proof merkle.TLogProof
	var head merkle.Checkpoint
	if leaf == nil || proof.UnmarshalText(p.Data) != nil {
		return 0
	}
	body, _, _ := strings.Cut(string(proof.Checkpoint), "\n\n")
	if head.UnmarshalText([]byte(body+"\n")) != nil {
		return 0
	}
	text, root, ok := proofText(*leaf, proof.Index, head.Size, proof.Path, head.Origin)
	if !ok || !bytes.HasPrefix(p.Data, []byte(text)) {
		return 0
	}
	c.flush()
	c.ops = binary.AppendUvarint(c.ops, operation(opProof, proof.Index))
	c.ops = binary.AppendUvarint(c.ops, head.Size-proof.Index)
	c.ops = binary.AppendUvarint(c.ops, uint64(len(proof.Path)))
	for _, h := range proof.Path {
		c.ops = binary.AppendUvarint(c.ops, c.ref(h[:]))
	}
	c.ops = append(binary.AppendUvarint(c.ops, uint64(len(head.Origin))), head.Origin...)
	c.name(root)
	return len(text)
}

// hex writes a word in hexadecimal.
func (c *condenser) hex(raw []byte) {
	w := merkle.Hash(raw)
	if _, named := c.place[w]; named || c.told.entry == nil || c.told.entry.hash != w {
		c.word(opHex, raw)
		return
	}
	c.other(opEntry)
	c.name(w)
}

// quoted writes what stands before the next quotation mark, if it is a time or a checkpoint that was there before, and says how long it is.
func (c *condenser) quoted(b []byte) int {
	end := bytes.IndexByte(b, '"')
	if end <= 0 {
		return 0
	}
	if n, ok := c.heads[string(b[:end])]; ok {
		c.other(opHead + uint64(len(c.told.heads)-n))
		return end
	}
	if end > len(time.RFC3339Nano) {
		return 0
	}
	t, err := time.Parse(time.RFC3339Nano, string(b[:end]))
	if err != nil || timeText(t.UnixNano()) != string(b[:end]) {
		return 0
	}
	c.other(opTime)
	c.ops = le.AppendUint64(c.ops, uint64(t.UnixNano()))
	return end
}
