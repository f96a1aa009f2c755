package evidence

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/stelelog/stele/merkle"
)

// namesPart is a part of kind 8: lines of a roster, and the hashes beside them, from left to right.
type namesPart struct {
	number  int
	hashes  []merkle.Hash
	indexes []uint64
	lines   []string
}

// NamesPart makes the part of lines of a roster, all of which are names: those at the indexes, which ascend.
func NamesPart(names []string, indexes []int) Part {
	leaves := make([]merkle.Hash, len(names))
	for i, n := range names {
		leaves[i] = merkle.LeafHash([]byte(n))
	}
	p := namesPart{}
	for _, i := range indexes {
		p.indexes, p.lines = append(p.indexes, uint64(i)), append(p.lines, names[i])
	}
	p.climb(0, uint64(len(names)), 0, len(indexes), func(first, end uint64) (merkle.Hash, bool) {
		p.hashes = append(p.hashes, merkle.Root(leaves[first:end]))
		return merkle.Hash{}, true
	})
	data := binary.AppendUvarint(nil, uint64(len(p.hashes)))
	for _, h := range p.hashes {
		data = append(data, h[:]...)
	}
	data = binary.AppendUvarint(data, uint64(len(indexes)))
	for _, i := range p.indexes {
		data = binary.AppendUvarint(data, i)
	}
	return Part{KindNames, append(data, strings.Join(p.lines, "\n")+"\n"...)}
}

func parseNames(data []byte) (p namesPart, err error) {
	in := cursor{b: data}
	for n := in.uv(); n > 0 && !in.broken; n-- {
		p.hashes = append(p.hashes, in.hash())
	}
	n := in.uv()
	for i := uint64(0); i < n && !in.broken; i++ {
		index := in.uv()
		in.broken = in.broken || i > 0 && index <= p.indexes[i-1]
		p.indexes = append(p.indexes, index)
	}
	text, ended := strings.CutSuffix(string(in.b), "\n")
	if in.broken || !ended || uint64(strings.Count(text, "\n")+1) != n || !isText(text) {
		return p, errPart
	}
	p.lines = strings.Split(text, "\n")
	return p, nil
}

// isText reports whether lines are text, of which a terminal shows the same.
func isText(lines string) bool {
	return utf8.ValidString(lines) && !strings.ContainsFunc(lines, func(r rune) bool { return r < ' ' && r != '\n' })
}

// root is that of a roster of so many lines with these among them; not ok if they do not fit.
func (p *namesPart) root(size uint64) (root merkle.Hash, ok bool) {
	left := p.hashes
	if p.indexes[len(p.indexes)-1] >= size {
		return root, false
	}
	root, ok = p.climb(0, size, 0, len(p.lines), func(uint64, uint64) (h merkle.Hash, ok bool) {
		if len(left) == 0 {
			return h, false
		}
		h, left = left[0], left[1:]
		return h, true
	})
	return root, ok && len(left) == 0
}

// climb computes the root over lines [first, end), of which those numbered [from, to) here are shown; beside gives that of
// lines none of which is.
func (p *namesPart) climb(first, end uint64, from, to int, beside func(first, end uint64) (merkle.Hash, bool)) (root merkle.Hash, ok bool) {
	switch {
	case from == to:
		return beside(first, end)
	case end-first == 1:
		return merkle.LeafHash([]byte(p.lines[from])), true
	}
	middle := first + 1<<(bits.Len64(end-first-1)-1)
	at := from
	for at < to && p.indexes[at] < middle {
		at++
	}
	left, ok := p.climb(first, middle, from, at, beside)
	if !ok {
		return root, false
	}
	right, ok := p.climb(middle, end, at, to, beside)
	return merkle.NodeHash(left, right), ok
}
