package ngram

import "sync"

// Model is a trained language model. It is immutable and safe for concurrent
// use.
type Model struct {
	*vocabulary
	grams   *tables
	scratch sync.Pool // of *scratch
}

// Train builds a model of the passages. A whole Go installation takes one or
// two seconds of one core and leaves some 60 MB in use.
func Train(passages []Passage) (*Model, error) {
	if len(passages) == 0 {
		return nil, ErrNoDocs
	}
	v, ids := learn(passages)
	m := &Model{vocabulary: v, grams: count(windows(make([]uint64, 0, len(ids)), ids, v.end))}
	m.scratch.New = func() any { return &scratch{mass: make([]float64, len(v.texts))} }
	return m, nil
}

// VocabularySize is the number of distinct tokens that the model can generate.
func (m *Model) VocabularySize() int { return len(m.texts) - 1 }

// CountTokens returns the number of tokens of s as the model reads it, known or
// not.
func (m *Model) CountTokens(s string) int {
	n := 0
	tokens(normalize(s), func(string) { n++ })
	return n
}

// history is the last order-1 ids, the newest in the low 16 bits.
type history uint64

func (h history) push(t id) history { return (h<<16 | history(t)) & (1<<48 - 1) }

// key is the table key of the last n ids.
func (h history) key(n int) uint64 { return uint64(h) << (64 - 16*n) }

// start is the history before the first token of a continuation of prompt.
func (m *Model) start(prompt string) history {
	h := history(0).push(m.end)
	for _, t := range m.encode(nil, prompt) {
		h = h.push(t)
	}
	return h
}

// cache counts the n-grams of retrieved passages.
func (m *Model) cache(hits []Hit) *tables {
	if len(hits) == 0 {
		return &tables{}
	}
	ids := []id{m.end}
	for _, hit := range hits {
		ids = append(m.encode(ids, hit.Text), m.end)
	}
	return count(windows(make([]uint64, 0, len(ids)), ids, m.end))
}
