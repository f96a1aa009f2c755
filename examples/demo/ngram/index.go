package ngram

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
)

// Index finds passages by the words they hold. It is immutable and safe for
// concurrent use.
type Index struct {
	passages []Passage
	postings map[string][]posting
	norm     []float32 // by passage: the length part of BM25's denominator
	scores   sync.Pool // of *[]float32 by passage, all zero
}

type posting struct {
	passage uint32
	count   uint32
}

// Hit is a passage that answers a query.
type Hit struct {
	Passage
	Score float64 // BM25; comparable within one query only
}

// Parameters of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance
// Framework: BM25 and Beyond", 2009).
const (
	bm25k1 = 1.2
	bm25b  = 0.75
)

// maxQueryTerms bounds the work of a search: only a query's rarest terms are
// looked up.
const maxQueryTerms = 8

// NewIndex indexes the passages that are documentation rather than remarks in
// code. The parts of a passage's source count as words of it.
func NewIndex(passages []Passage) *Index {
	x := &Index{postings: map[string][]posting{}}
	var lengths []int
	total := 0
	for _, p := range passages {
		if !p.Doc {
			continue
		}
		n := x.add(p)
		lengths = append(lengths, n)
		total += n
	}
	x.norm = make([]float32, len(lengths))
	for i, n := range lengths {
		x.norm[i] = float32(bm25k1 * (1 - bm25b + bm25b*float64(n)*float64(len(lengths))/float64(total)))
	}
	x.scores.New = func() any {
		s := make([]float32, len(x.passages))
		return &s
	}
	return x
}

// add appends a passage and returns its length in words.
func (x *Index) add(p Passage) int {
	n, number := 0, uint32(len(x.passages))
	x.passages = append(x.passages, p)
	count := func(term string) {
		n++
		list := x.postings[term]
		if k := len(list); k > 0 && list[k-1].passage == number {
			list[k-1].count++
			return
		}
		x.postings[term] = append(list, posting{number, 1})
	}
	terms(p.Source, count)
	terms(p.Text, count)
	return n
}

// Len is the number of passages in the index.
func (x *Index) Len() int { return len(x.passages) }

// Search returns the k passages that match query best, the best first; fewer
// when fewer share a word with it.
func (x *Index) Search(query string, k int) []Hit {
	pooled := x.scores.Get().(*[]float32)
	defer x.scores.Put(pooled)
	scores := *pooled
	var touched []uint32
	for _, list := range x.queryTerms(query) {
		n, df := float64(len(x.passages)), float64(len(list))
		idf := float32(math.Log(1 + (n-df+0.5)/(df+0.5)))
		for _, p := range list {
			if scores[p.passage] == 0 {
				touched = append(touched, p.passage)
			}
			tf := float32(p.count)
			scores[p.passage] += idf * tf * (bm25k1 + 1) / (tf + x.norm[p.passage])
		}
	}
	var hits []Hit
	for _, n := range touched {
		hits = insert(hits, Hit{x.passages[n], float64(scores[n])}, k)
		scores[n] = 0
	}
	return hits
}

// queryTerms returns the postings of the query's rarest terms.
func (x *Index) queryTerms(query string) [][]posting {
	var lists [][]posting
	seen := map[string]bool{}
	terms(query, func(term string) {
		if list := x.postings[term]; list != nil && !seen[term] {
			seen[term] = true
			lists = append(lists, list)
		}
	})
	slices.SortStableFunc(lists, func(a, b []posting) int { return cmp.Compare(len(a), len(b)) })
	return lists[:min(len(lists), maxQueryTerms)]
}

// insert keeps the k best hits in order; among equal scores the text decides,
// so that the order of the postings does not.
func insert(best []Hit, h Hit, k int) []Hit {
	if len(best) == k && (k == 0 || !better(h, best[k-1])) {
		return best
	}
	at, _ := slices.BinarySearchFunc(best, h, func(a, b Hit) int {
		if better(a, b) {
			return -1
		}
		return 1
	})
	best = slices.Insert(best, at, h)
	return best[:min(k, len(best))]
}

func better(a, b Hit) bool {
	return a.Score > b.Score || a.Score == b.Score && a.Text < b.Text
}

// terms calls yield for every word of s in lower case.
func terms(s string, yield func(string)) {
	for i := 0; i < len(s); {
		n := wordLength(s[i:])
		if word := s[i : i+n]; n > 1 && wordRune(rune(word[0])) || n > 1 && word[0] >= 0x80 {
			yield(strings.ToLower(word))
		}
		i += n
	}
}
