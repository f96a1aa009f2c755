package evidence

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/stelelog/stele/merkle"
)

// expand carries out operations. The words MUST all be used, in their order, and differ.
func expand(words, ops []byte) ([]Part, error) {
	e := expander{cursor: cursor{b: ops}, words: words, seen: map[merkle.Hash]bool{}}
	for len(e.b) > 0 && !e.broken {
		if len(e.told.parts) == maxParts {
			return nil, badFile("more than %d parts", maxParts)
		}
		e.part()
		if e.total > MaxLen {
			return nil, badFile("it unpacks to more than %d bytes", MaxLen)
		}
	}
	if e.broken || len(e.words) > 0 || e.told.open != nil {
		return nil, badFile("an operation that cannot be carried out, or a word without use")
	}
	return e.told.parts, nil
}

type expander struct {
	cursor // over the operations

	words []byte // that no operation named
	named []merkle.Hash
	seen  map[merkle.Hash]bool

	told  told
	kind  byte // of the part that is written
	out   []byte
	total int // bytes that were written, in all parts
}

// part writes a part.
func (e *expander) part() {
	e.kind, e.out = e.u8(), []byte{}
	for code := e.uv(); code != opLiteral; code = e.uv() {
		before := len(e.out)
		e.step(operationOf(code))
		if e.total += len(e.out) - before; e.broken || e.total > MaxLen {
			return
		}
	}
	e.broken = e.broken || !e.told.add(Part{e.kind, slices.Clip(e.out)})
}

func (e *expander) step(kind, x uint64) {
	switch kind {
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
		key := keyText(e.out, e.word(x))
		e.broken = e.broken || key == nil
		e.out = append(e.out, key...)
	case opProof:
		e.proof(x)
	case opOther:
		e.other(x)
	default:
		e.broken = true
	}
}

// word is the next word, or one of those before it.
func (e *expander) word(back uint64) []byte {
	if back > 0 {
		if back > uint64(len(e.named)) {
			e.broken = true
			return make([]byte, wordLen)
		}
		return e.named[len(e.named)-int(back)][:]
	}
	if len(e.words) < wordLen {
		e.broken = true
		return make([]byte, wordLen)
	}
	w := merkle.Hash(e.words)
	e.words = e.words[wordLen:]
	e.broken = e.broken || e.seen[w]
	e.name(w)
	return w[:]
}

// name notes a word.
func (e *expander) name(w merkle.Hash) {
	if !e.seen[w] {
		e.seen[w] = true
		e.named = append(e.named, w)
	}
}

// proof writes a proof file up to the root, to which its path leads.
func (e *expander) proof(index uint64) {
	rest, n := e.uv(), e.uv()
	leaf := e.told.leafFor(e.kind)
	if leaf == nil || len(e.out) > 0 || n > maxPath || rest > maxTree || index > maxTree-rest {
		e.broken = true
		return
	}
	path := make([]merkle.Hash, n)
	for i := range path {
		path[i] = merkle.Hash(e.word(e.uv()))
	}
	origin := e.uv()
	if origin > uint64(len(e.b)) {
		e.broken = true
		return
	}
	text, root, ok := proofText(*leaf, index, index+rest, path, string(e.bytes(origin)))
	e.broken = e.broken || !ok
	e.name(root)
	e.out = append(e.out, text...)
}

func (e *expander) other(x uint64) {
	heads := e.told.heads
	switch {
	case x == opTime:
		e.out = append(e.out, timeText(int64(le.Uint64(e.bytes(8))))...)
	case x == opRoster && e.kind == KindEntry && e.told.open == nil:
		e.told.open = &openRoot{at: len(e.out), lines: e.uv()}
		e.out = append(e.out, strings.Repeat("=", hashChars)...)
	case x == opEntry && e.told.entry != nil:
		e.name(e.told.entry.hash)
		e.out = hex.AppendEncode(e.out, e.told.entry.hash[:])
	case x >= opHead && x-opHead < uint64(len(heads)):
		e.out = append(e.out, inJSON(heads[len(heads)-1-int(x-opHead)])...)
	default:
		e.broken = true
	}
}
