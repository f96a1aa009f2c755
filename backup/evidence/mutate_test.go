package evidence

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/merkle"
)

// changePart makes other bytes of those of a part, without a look at what they mean.
func changePart(r *rand.Rand, data []byte) (changed []byte, what string) {
	if len(data) == 0 {
		return []byte{byte(r.Uint32())}, "a byte"
	}
	at := r.IntN(len(data))
	if r.IntN(2) == 0 { // where numbers and lengths stand
		at = min(at, r.IntN(48))
	}
	out := bytes.Clone(data)
	switch r.IntN(9) {
	case 0, 1:
		by := byte(1 + r.IntN(255))
		out[at] ^= by
		return out, fmt.Sprintf("byte %d ^ %#x", at, by)
	case 2:
		by := []byte{0, 1, 0x7f, 0x80, 0xff, out[at] + 1, out[at] - 1, '0', '\n'}[r.IntN(9)]
		out[at] = by
		return out, fmt.Sprintf("byte %d %#x", at, by)
	case 3: // the longer form of a number
		return slices.Concat(out[:at], []byte{out[at] | 0x80, 0}, out[at+1:]), fmt.Sprintf("byte %d in two", at)
	case 4:
		end := min(len(out), at+1+r.IntN(40))
		return slices.Delete(out, at, end), fmt.Sprintf("without bytes %d to %d", at, end)
	case 5:
		end := min(len(out), at+1+r.IntN(40))
		return slices.Insert(out, r.IntN(len(out)), data[at:end]...), fmt.Sprintf("bytes %d to %d twice", at, end)
	case 6:
		return out[:at], fmt.Sprintf("cut at %d", at)
	case 7: // a number at its edge
		n := []uint64{0, 1, 127, 128, 1<<16 - 1, 1 << 16, 1<<31 - 1, 1 << 32, 1<<62 + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}[r.IntN(12)]
		return slices.Concat(out[:at], binary.AppendUvarint(nil, n), out[at+1:]), fmt.Sprintf("byte %d as %d", at, n)
	default:
		n := min(len(out)-at, []int{2, 4, 8, 16, 32}[r.IntN(5)])
		b := []byte{0, 0xff}[r.IntN(2)]
		copy(out[at:], bytes.Repeat([]byte{b}, n))
		return out, fmt.Sprintf("%d bytes %#x at %d", n, b, at)
	}
}

// wordForms are the ways in which hashes, keys and signatures stand in parts.
func wordForms(w []byte) [][]byte {
	forms := [][]byte{w, []byte(base64.StdEncoding.EncodeToString(w)), []byte(hex.EncodeToString(w))}
	return append(forms, []byte(base64.StdEncoding.EncodeToString(append([]byte{1}, w...))))
}

// otherWord puts another hash of the same file, or one that is nowhere, in the place of one.
func otherWord(r *rand.Rand, parts []Part) (what string) {
	words, _ := condense(parts)
	n := len(words) / wordLen
	if n == 0 {
		return ""
	}
	pick := func() []byte { return words[r.IntN(n)*wordLen:][:wordLen] }
	for range 20 {
		i, from, to := r.IntN(len(parts)), pick(), pick()
		if r.IntN(5) == 0 {
			to = bytes.Repeat([]byte{byte(r.IntN(2))}, wordLen)
		}
		theirs := wordForms(to)
		for k, form := range wordForms(from) {
			if at := bytes.Index(parts[i].Data, form); at >= 0 && !bytes.Equal(from, to) {
				parts[i].Data = slices.Concat(parts[i].Data[:at], theirs[k], parts[i].Data[at+len(form):])
				return fmt.Sprintf("part %d: another word at %d", i, at)
			}
		}
	}
	return ""
}

// otherSignature puts a line of a note, or the bytes in it, in the place of another one.
func otherSignature(r *rand.Rand, parts []Part) (what string) {
	type line struct {
		part int
		text string
	}
	var lines []line
	for i, p := range parts {
		for _, l := range strings.SplitAfter(string(p.Data), "\n") {
			if strings.HasPrefix(l, "— ") {
				lines = append(lines, line{i, l})
			}
		}
	}
	if len(lines) < 2 {
		return ""
	}
	from, to := lines[r.IntN(len(lines))], lines[r.IntN(len(lines))].text
	words, theirs := strings.SplitN(from.text, " ", 3), strings.SplitN(to, " ", 3)
	switch r.IntN(6) {
	case 0:
		to = strings.Join([]string{words[0], words[1], theirs[2]}, " ")
	case 1:
		to = strings.Join([]string{words[0], theirs[1], words[2]}, " ")
	case 2:
		to = from.text + to
	case 3:
		to = from.text + "— acme/root AAAAAAA=\n"
	case 4:
		to = strings.Replace(from.text, words[1], words[1]+[]string{"+1", "\u00a0", "\u0085", "é", "/x", "\u200b"}[r.IntN(6)], 1)
	}
	parts[from.part].Data = bytes.Replace(parts[from.part].Data, []byte(from.text), []byte(to), 1)
	return fmt.Sprintf("part %d: %.60q for %.60q", from.part, to, from.text)
}

// changeParts leaves out, repeats, moves and exchanges parts; others has those of other files.
func changeParts(r *rand.Rand, parts, others []Part) (changed []Part, what string) {
	i, k := r.IntN(len(parts)), r.IntN(len(parts))
	switch r.IntN(9) {
	case 0, 1:
		return slices.Delete(parts, i, i+1), fmt.Sprintf("without part %d", i)
	case 2:
		return slices.Insert(parts, k, parts[i]), fmt.Sprintf("part %d again at %d", i, k)
	case 3:
		parts[i], parts[k] = parts[k], parts[i]
		return parts, fmt.Sprintf("parts %d and %d exchanged", i, k)
	case 4:
		p := parts[i]
		return slices.Insert(slices.Delete(parts, i, i+1), min(k, len(parts)-1), p), fmt.Sprintf("part %d moved to %d", i, k)
	case 5:
		p := others[r.IntN(len(others))]
		return slices.Insert(parts, i, p), fmt.Sprintf("a foreign part of kind %d at %d", p.Kind, i)
	case 6:
		for range 50 {
			if p := others[r.IntN(len(others))]; p.Kind == parts[i].Kind {
				parts[i] = p
				return parts, fmt.Sprintf("another part %d of kind %d", i, p.Kind)
			}
		}
		return parts[:i], fmt.Sprintf("cut at part %d", i)
	case 7:
		parts[i].Kind = byte(r.IntN(22))
		return parts, fmt.Sprintf("part %d of kind %d", i, parts[i].Kind)
	default: // an entry goes with its proof, and comes back elsewhere
		for range 50 {
			if i = r.IntN(len(parts)); parts[i].Kind == KindEntry && i+1 < len(parts) && parts[i+1].Kind == KindControl {
				group := slices.Clone(parts[i : i+2])
				rest := slices.Delete(parts, i, i+2)
				return slices.Insert(rest, r.IntN(len(rest)+1), group...), fmt.Sprintf("entry %d moved", i)
			}
		}
		return parts[:i], fmt.Sprintf("cut at part %d", i)
	}
}

// changeColumn changes one column of a range, and writes the lengths anew.
func changeColumn(r *rand.Rand, data []byte) (changed []byte, what string) {
	x, err := rangeproof.Parse(data)
	if err != nil {
		return data, ""
	}
	hashes := popcount(x.First) + rightHashes(x.First+x.Leaves, x.At.Size)
	c := cursor{b: data}
	c.bytes(c.uv())
	c.bytes(c.uv())
	c.uv()
	c.uv()
	c.bytes(uint64(hashes * len(merkle.Hash{})))
	head := data[:len(data)-len(c.b)]
	var columns [][]byte
	for len(c.b) > 0 && !c.broken {
		columns = append(columns, c.bytes(c.uv()))
	}
	at := r.IntN(len(columns))
	columns[at], what = changePart(r, columns[at])
	out := bytes.Clone(head)
	for _, col := range columns {
		out = append(binary.AppendUvarint(out, uint64(len(col))), col...)
	}
	return out, fmt.Sprintf("column %d: %s", at, what)
}

func popcount(n uint64) (c int) {
	for ; n > 0; n &= n - 1 {
		c++
	}
	return c
}

func rightHashes(end, size uint64) (n int) {
	for end < size {
		step := end & -end
		for step == 0 || end+step > size {
			if step == 0 {
				step = 1 << 62
				continue
			}
			step >>= 1
		}
		end += step
		n++
	}
	return n
}

// changePacking changes operations and words, and packs them again.
func changePacking(r *rand.Rand, archive [16]byte, parts []Part) (file []byte, what string) {
	words, ops := condense(parts)
	words = bytes.Clone(words)
	n := len(words) / wordLen
	switch r.IntN(5) {
	case 0:
		if n > 1 {
			i, k := r.IntN(n), r.IntN(n)
			copy(words[i*wordLen:][:wordLen], words[k*wordLen:][:wordLen])
			what = fmt.Sprintf("word %d for %d", k, i)
		}
	case 1:
		words, what = append(words, make([]byte, wordLen)...), "a word more"
	case 2:
		if n > 0 {
			words, what = words[:len(words)-wordLen], "a word less"
		}
	default:
		ops, what = changePart(r, ops)
	}
	packed, err := deflate(archive, ops)
	if err != nil {
		panic(err)
	}
	if r.IntN(8) == 0 {
		packed, what = append(packed, 0), what+", something behind"
	}
	return wrap(archive, words, packed), "packing: " + what
}
