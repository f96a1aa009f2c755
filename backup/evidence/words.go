package evidence

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/merkle"
)

// Most of a file are hashes, keys and halves of signatures: words of 32 random bytes, which do not compress and spoil the
// compression of what stands between them. So each stands once, as it is, in front; operations put it where it belongs, in
// the ways in which the formats write it. What follows from the rest, above all roots, does not stand there at all.

const wordLen = len(merkle.Hash{})

// Kinds of operations.
const (
	opLiteral   = iota // bytes that follow; none: the part ends
	opWord             // a word
	opBase64           // a word in base64
	opHex              // a word in hexadecimal
	opSignature        // four bytes that follow and two words, in base64: a signature of a note
	opKey              // behind a name and a plus: the id of a key and, in base64, a byte of 1 and a word: a key of a note
	opProof            // a proof file, up to the root
	opOther            // see below
)

// Arguments of opOther.
const (
	opTime   = iota // eight bytes that follow, as a time
	opRoster        // the root of so many lines that the part of names behind this one leads to
	opEntry         // the hash of the last entry
	opHead          // the checkpoint of the last part of kind 2, in JSON; one more: of the part before that, …
)

const (
	keyIDLen  = 4
	hashChars = 44 // 32 or 33 bytes in base64
	sigChars  = 92 // 68 bytes
	hexChars  = 2 * wordLen

	headerHash                 = 56      // in the header of a frame: the first of its hashes
	leafDigest, leafCommitment = 68, 102 // in leafdata
	certKeys, certBefore       = 37, 138 // in a stream certificate
)

// operation is the number that an operation begins with: even for bytes, of which there are many, and odd for others.
func operation(kind, argument uint64) uint64 {
	if kind == opLiteral {
		return argument << 1
	}
	return argument<<4 | (kind-1)<<1 | 1
}

func operationOf(code uint64) (kind, argument uint64) {
	if code&1 == 0 {
		return opLiteral, code >> 1
	}
	return code>>1&7 + 1, code >> 4
}

// condenser makes words and operations.
type condenser struct {
	words   []byte
	named   int
	place   map[merkle.Hash]int // among those that were named
	ops     []byte
	literal []byte

	told   told
	heads  map[string]int // checkpoints of parts of kind 2 in JSON, and how many came before
	roster merkle.Hash    // the root that the part of names behind this one leads to,
	lines  uint64         // of so many lines; none: it leads nowhere
}

// condense takes parts apart.
func condense(parts []Part) (words, ops []byte) {
	c := &condenser{place: map[merkle.Hash]int{}, heads: map[string]int{}}
	for i, p := range parts {
		c.ops = append(c.ops, p.Kind)
		if c.lines = 0; i+1 < len(parts) && p.Kind == KindEntry && parts[i+1].Kind == KindNames {
			c.roster, c.lines = rosterOf(p.Data, parts[i+1].Data)
		}
		c.part(p)
		c.flush()
		c.ops = append(c.ops, opLiteral)
		c.told.add(p)
		if p.Kind == KindLog {
			c.heads[inJSON(c.told.heads[len(c.told.heads)-1])] = len(c.told.heads)
		}
	}
	return c.words, c.ops
}

func (c *condenser) part(p Part) {
	at := c.proof(p)
	offsets, text := wordsIn(p)
	for _, o := range offsets {
		c.literal = append(c.literal, p.Data[at:o]...)
		c.word(opWord, p.Data[o:])
		at = o + wordLen
	}
	text = max(text, at)
	c.literal = append(c.literal, p.Data[at:text]...)
	c.text(p.Data, text)
}

func (c *condenser) flush() {
	if len(c.literal) > 0 {
		c.ops = append(binary.AppendUvarint(c.ops, operation(opLiteral, uint64(len(c.literal)))), c.literal...)
		c.literal = c.literal[:0]
	}
}

// word writes an operation about the word at the start of b.
func (c *condenser) word(kind uint64, b []byte) {
	c.flush()
	c.ops = binary.AppendUvarint(c.ops, operation(kind, c.ref(b)))
}

// ref is how a word is named: 0 is the next one, n the n-th last.
func (c *condenser) ref(b []byte) uint64 {
	w := merkle.Hash(b[:wordLen])
	if at, ok := c.place[w]; ok {
		return uint64(c.named - at)
	}
	c.words = append(c.words, w[:]...)
	c.name(w)
	return 0
}

// name notes a word.
func (c *condenser) name(w merkle.Hash) {
	if _, ok := c.place[w]; !ok {
		c.place[w] = c.named
		c.named++
	}
}

// text looks for words at the ends of runs of the alphabet of base64, and for what stands in quotes and follows from the rest. What it misses stays as it is.
func (c *condenser) text(b []byte, at int) {
	for at < len(b) {
		if !inBase64(b[at]) {
			c.literal = append(c.literal, b[at])
			at++
			if b[at-1] == '"' {
				at += c.quoted(b[at:])
			}
			continue
		}
		end := at
		for end < len(b) && inBase64(b[end]) {
			end++
		}
		if end < len(b) && b[end] == '=' {
			end++
		}
		c.run(b[:end], at)
		at = end
	}
}

func inBase64(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '+' || b == '/'
}

// run writes the run that begins at some place and goes on to the end, which may be a word.
func (c *condenser) run(text []byte, at int) {
	b := text[at:]
	switch raw := ending(b, sigChars); {
	case len(raw) == keyIDLen+2*wordLen:
		c.literal = append(c.literal, b[:len(b)-sigChars]...)
		c.word(opSignature, raw[keyIDLen:])
		c.ops = append(binary.AppendUvarint(c.ops, c.ref(raw[keyIDLen+wordLen:])), raw[:keyIDLen]...)
		return
	case len(b) == hexChars && bytes.Equal(b, bytes.ToLower(b)):
		if raw, err := hex.DecodeString(string(b)); err == nil {
			c.hex(raw)
			return
		}
	}
	keyAt := len(b) - hashChars - 1 - 2*keyIDLen // with the id before it
	switch raw := ending(b, hashChars); {
	case len(raw) == wordLen && c.lines > 0 && merkle.Hash(raw) == c.roster:
		c.literal = append(c.literal, b[:len(b)-hashChars]...)
		c.other(opRoster)
		c.ops = binary.AppendUvarint(c.ops, c.lines)
		c.lines = 0
	case len(raw) == wordLen:
		c.literal = append(c.literal, b[:len(b)-hashChars]...)
		c.word(opBase64, raw)
	case len(raw) == 1+wordLen && raw[0] == 1 && keyAt >= 0 && string(keyText(text[:at+keyAt], raw[1:])) == string(b[keyAt:]):
		c.literal = append(c.literal, b[:keyAt]...)
		c.word(opKey, raw[1:])
	default:
		c.literal = append(c.literal, b...)
	}
}

// ending is what the last n characters say in base64; nil if they say nothing.
func ending(b []byte, n int) []byte {
	if len(b) < n {
		return nil
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(b[len(b)-n:]))
	if err != nil {
		return nil
	}
	return raw
}

// wordsIn says where in a part of a known kind words stand as they are, and where its text begins.
func wordsIn(p Part) (offsets []int, text int) {
	n, end := len(p.Data), 0
	words := func(at, count int) int {
		for range count {
			if at >= end && at+wordLen <= n && !bytes.Equal(p.Data[at:at+wordLen], make([]byte, wordLen)) { // where there is nothing before
				offsets, end = append(offsets, at), at+wordLen
			}
			at += wordLen
		}
		return at
	}
	counted := func(at int) int { // a path: its length, then its hashes
		if at >= n {
			return n
		}
		return words(at+1, int(p.Data[at]))
	}
	switch text = n; p.Kind {
	case KindRecord:
		words(headerHash, 4) // the head before, the root over entries, the signature
		leaf := counted(frame.SignedLen - wordLen)
		words(leaf+leafDigest, 1)
		words(leaf+leafCommitment, 1)
	case KindFields:
		for at := 0; at < n && p.Data[at] == 0; { // up to the first field that is shown
			at = words(at+1, 1)
		}
	case KindScope:
		words(headerHash, 5)
		at := frame.SignedLen
		if at < n {
			for range p.Data[at] {
				at = words(at+2, 1) - 1
			}
		}
	case KindStream:
		words(certKeys, 2)
		words(certBefore, 1)
		words(n-ed25519.SignatureSize, 2)
	case KindNames:
		if count, size := uvarint(p.Data); size > 0 && count <= uint64(n/wordLen) {
			text = min(n, words(size, int(count)))
		}
	case KindRemoved:
		if _, size := uvarint(p.Data); size > 0 {
			counted(size)
		}
	case KindCosigned, KindAnchored:
		text = min(n, counted(0))
	case KindLog, KindEntry, KindControl, KindRoot, KindSelect:
		text = 0
	}
	return offsets, text
}
