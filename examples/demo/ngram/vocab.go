package ngram

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// id names a token of the vocabulary. Ids are given by falling frequency, so
// the k most frequent tokens are 1…k.
type id uint16

// unknown is the id of every token outside the vocabulary. It is never
// generated and no context contains it.
const unknown id = 0

// endText stands for the end of a passage among the tokens; the tokenizer
// cannot produce it.
const endText = "\n"

const (
	maxVocabulary = 1<<16 - 1
	minCount      = 2  // a word seen once teaches nothing about its successors
	maxWord       = 40 // bytes; longer runs are cut
)

// tokens cuts s into words and single punctuation marks and calls yield for
// each. A token keeps the blank before it, so the tokens of a text, joined,
// are the text. s must be normal: see normalize.
func tokens(s string, yield func(string)) {
	for i := 0; i < len(s); {
		start := i
		if s[i] == ' ' {
			i++
		}
		i += wordLength(s[i:])
		yield(s[start:i])
	}
}

// wordLength is the length of the token at the start of s: a run of letters,
// digits and underscores, or one other rune.
func wordLength(s string) int {
	n := 0
	for n < len(s) && n < maxWord {
		r, size := rune(s[n]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[n:])
		}
		if !wordRune(r) {
			if n == 0 {
				return size
			}
			break
		}
		n += size
	}
	return n
}

func wordRune(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r)
}

// normalize makes every run of white space one blank and trims the ends.
func normalize(s string) string { return strings.Join(strings.Fields(s), " ") }

// vocabulary maps token texts to ids and back.
type vocabulary struct {
	texts     []string // by id
	frequency []uint32 // by id; occurrences in the training text
	total     float64  // sum of frequency
	ids       map[string]id
	end       id
}

// learn builds the vocabulary of the passages and returns with it their tokens
// in one sequence, an end token before the first passage and after each one.
func learn(passages []Passage) (*vocabulary, []id) {
	var (
		seen   = map[string]uint32{endText: 0}
		texts  = []string{endText}
		counts = []uint32{1}
		stream = []uint32{0}
	)
	for _, p := range passages {
		tokens(p.Text, func(t string) {
			n, ok := seen[t]
			if !ok {
				n = uint32(len(texts))
				seen[t] = n
				texts = append(texts, t)
				counts = append(counts, 0)
			}
			counts[n]++
			stream = append(stream, n)
		})
		stream = append(stream, 0)
		counts[0]++
	}
	v, rank := rankByCount(texts, counts)
	ids := make([]id, len(stream))
	for i, n := range stream {
		ids[i] = rank[n]
	}
	return v, ids
}

// rankByCount keeps the frequent tokens; rank maps an index of texts to an id.
func rankByCount(texts []string, counts []uint32) (v *vocabulary, rank []id) {
	order := make([]uint32, len(texts))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	v = &vocabulary{texts: []string{""}, frequency: []uint32{0}, ids: map[string]id{}}
	rank = make([]id, len(texts))
	for _, n := range order {
		if n != 0 && (counts[n] < minCount || len(v.texts) >= maxVocabulary) {
			continue
		}
		rank[n] = id(len(v.texts))
		v.ids[texts[n]] = rank[n]
		v.texts = append(v.texts, texts[n])
		v.frequency = append(v.frequency, counts[n])
		v.total += float64(counts[n])
	}
	v.end = rank[0]
	v.texts[v.end] = ""
	return v, rank
}

// encode appends the ids of the tokens of s.
func (v *vocabulary) encode(dst []id, s string) []id {
	tokens(normalize(s), func(t string) { dst = append(dst, v.ids[t]) })
	return dst
}
