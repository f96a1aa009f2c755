package evidence

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/merkle"
)

// Most of a file are hashes, keys and halves of signatures: words of 32 random bytes, which do not compress and spoil the
// compression of what stands between them. So each stands once, as it is, in front; operations put it where it belongs, in
// the ways in which the formats write it.

const wordLen = len(merkle.Hash{})

// Kinds of operations: the low bits of the number that each begins with.
const (
	opLiteral   = iota // bytes that follow
	opWord             // a word
	opBase64           // a word in base64
	opHex              // a word in hexadecimal
	opSignature        // four bytes that follow and two words, in base64: a signature of a note
	opKey              // a byte of 1 and a word, in base64: a key of a note

	opBits = 3
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

func operation(kind, argument uint64) uint64 { return argument<<opBits | kind }

// condenser makes words and operations.
type condenser struct {
	words   []byte
	place   map[merkle.Hash]int
	ops     []byte
	literal []byte
}

// condense takes parts apart.
func condense(parts []Part) (words, ops []byte) {
	c := &condenser{place: map[merkle.Hash]int{}}
	for _, p := range parts {
		c.literal = binary.AppendUvarint(append(c.literal, p.Kind), uint64(len(p.Data)))
		offsets, text := wordsIn(p)
		at := 0
		for _, o := range offsets {
			c.literal = append(c.literal, p.Data[at:o]...)
			c.word(opWord, p.Data[o:])
			at = o + wordLen
		}
		c.literal = append(c.literal, p.Data[at:text]...)
		c.text(p.Data[text:])
	}
	c.flush()
	return c.words, c.ops
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
	have := len(c.words) / wordLen
	if at, ok := c.place[w]; ok {
		return uint64(have - at)
	}
	c.place[w] = have
	c.words = append(c.words, w[:]...)
	return 0
}

// text looks for words at the ends of runs of the alphabet of base64. What it misses stays as it is.
func (c *condenser) text(b []byte) {
	for at := 0; at < len(b); {
		if !inBase64(b[at]) {
			c.literal = append(c.literal, b[at])
			at++
			continue
		}
		end := at
		for end < len(b) && inBase64(b[end]) {
			end++
		}
		if end < len(b) && b[end] == '=' {
			end++
		}
		c.run(b[at:end])
		at = end
	}
}

func inBase64(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '+' || b == '/'
}

// run writes a run, the end of which may be a word.
func (c *condenser) run(b []byte) {
	switch raw := ending(b, sigChars); {
	case len(raw) == keyIDLen+2*wordLen:
		c.literal = append(c.literal, b[:len(b)-sigChars]...)
		c.word(opSignature, raw[keyIDLen:])
		c.ops = append(binary.AppendUvarint(c.ops, c.ref(raw[keyIDLen+wordLen:])), raw[:keyIDLen]...)
		return
	case len(b) == hexChars && bytes.Equal(b, bytes.ToLower(b)):
		if raw, err := hex.DecodeString(string(b)); err == nil {
			c.word(opHex, raw)
			return
		}
	}
	switch raw := ending(b, hashChars); {
	case len(raw) == wordLen:
		c.literal = append(c.literal, b[:len(b)-hashChars]...)
		c.word(opBase64, raw)
	case len(raw) == 1+wordLen && raw[0] == 1:
		c.literal = append(c.literal, b[:len(b)-hashChars]...)
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

// expand carries out operations. The words MUST all be used, in their order, and differ.
func expand(words, ops []byte) ([]byte, error) {
	e := expander{cursor: cursor{b: ops}, words: words, seen: map[merkle.Hash]bool{}}
	for len(e.b) > 0 && !e.broken {
		e.step()
		if len(e.out) > MaxLen {
			return nil, badFile("it unpacks to more than %d bytes", MaxLen)
		}
	}
	if e.broken || e.used < len(words) {
		return nil, badFile("an operation that cannot be carried out, or a word without use")
	}
	return e.out, nil
}

type expander struct {
	cursor // over the operations

	words []byte
	used  int // bytes of them
	seen  map[merkle.Hash]bool
	out   []byte
}

func (e *expander) step() {
	code := e.uv()
	x := code >> opBits
	switch code & (1<<opBits - 1) {
	case opLiteral:
		if x > uint64(len(e.b)) {
			e.broken = true
			return
		}
		e.out = append(e.out, e.bytes(x)...)
	case opWord:
		e.out = append(e.out, e.word(x)...)
	case opBase64:
		e.out = base64.StdEncoding.AppendEncode(e.out, e.word(x))
	case opHex:
		e.out = hex.AppendEncode(e.out, e.word(x))
	case opSignature:
		first := e.word(x)
		second := e.word(e.uv())
		e.out = base64.StdEncoding.AppendEncode(e.out, slices.Concat(e.bytes(keyIDLen), first, second))
	case opKey:
		e.out = base64.StdEncoding.AppendEncode(e.out, append([]byte{1}, e.word(x)...))
	default:
		e.broken = true
	}
}

// word is the next word, or one of those before it.
func (e *expander) word(back uint64) []byte {
	at := e.used
	if back > 0 {
		if back > uint64(e.used/wordLen) {
			e.broken = true
			return make([]byte, wordLen)
		}
		return e.words[e.used-int(back)*wordLen:][:wordLen]
	}
	if at+wordLen > len(e.words) {
		e.broken = true
		return make([]byte, wordLen)
	}
	w := merkle.Hash(e.words[at:][:wordLen])
	e.broken = e.broken || e.seen[w]
	e.seen[w] = true
	e.used += wordLen
	return w[:]
}
