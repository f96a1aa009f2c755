package ngram

import (
	"math"
	"math/rand/v2"
	"slices"
)

// scratch is the memory of one generation, reused by the next.
type scratch struct {
	mass    []float64   // by id; all zero between two tokens
	touched []id        // where mass is not zero
	ranked  []candidate // by falling probability
	weights []float64   // of the candidates, after temperature
}

// candidate packs a probability and an id so that plain integers sort as
// wanted: the high 48 bits of a positive float64 keep its order (and 36 bits of
// its mantissa), and among equals the smaller id is the larger candidate.
type candidate uint64

func newCandidate(p float64, t id) candidate {
	return candidate(math.Float64bits(p)&^0xffff | uint64(^t))
}

func (c candidate) probability() float64 { return math.Float64frombits(uint64(c) &^ 0xffff) }
func (c candidate) token() id            { return ^id(c) }

// cacheEscape is how much more the cache yields to the next distribution than
// the large counts do: retrieved passages steer, they are not recited.
const cacheEscape = 3

// rank fills s.ranked with the k most likely successors of h, exactly: every
// successor kept at any order, and the k most frequent tokens of all, which
// bound every other one. The conversions of products keep compilers from fusing
// them into the sums, which would make results depend on the processor.
func (m *Model) rank(s *scratch, cache *tables, h history, k int) {
	left := 1.0
	for n := order - 1; n > 0; n-- {
		left = s.spread(&cache[n-1], h.key(n), left, cacheEscape)
		left = s.spread(&m.grams[n-1], h.key(n), left, 1)
	}
	for t := id(1); int(t) <= k && int(t) < len(m.frequency); t++ {
		s.touch(t)
	}
	s.ranked = s.ranked[:0]
	unigram := left / m.total
	for _, t := range s.touched {
		s.ranked = append(s.ranked, newCandidate(s.mass[t]+float64(unigram*float64(m.frequency[t])), t))
		s.mass[t] = 0
	}
	s.touched = s.touched[:0]
	slices.Sort(s.ranked)
	slices.Reverse(s.ranked)
	s.ranked = s.ranked[:min(k, len(s.ranked))]
}

// spread gives the successors of one context their share of the mass and
// returns what is left for shorter contexts.
func (s *scratch) spread(t *table, key uint64, mass, escape float64) float64 {
	c, list, ok := t.find(key)
	if !ok {
		return mass
	}
	rest := escape * float64(c.escape)
	share := mass / (float64(c.kept) + rest)
	for _, next := range list {
		s.touch(next.token)
		s.mass[next.token] += float64(share * float64(next.count))
	}
	return share * rest
}

// touch must come before mass is added to t.
func (s *scratch) touch(t id) {
	if s.mass[t] == 0 {
		s.touched = append(s.touched, t)
	}
}

// draw picks one of the ranked candidates.
func (s *scratch) draw(o *Options, rng *rand.Rand) candidate {
	if o.Temperature == 0 {
		return s.ranked[0]
	}
	top := math.Log(s.ranked[0].probability())
	s.weights = s.weights[:0]
	sum := 0.0
	for _, c := range s.ranked {
		w := c.probability()
		if o.Temperature != 1 {
			w = math.Exp((math.Log(w) - top) / o.Temperature)
		}
		s.weights = append(s.weights, w)
		sum += w
	}
	at := rng.Float64() * s.nucleus(sum, o.TopP)
	for i, w := range s.weights {
		if at -= w; at < 0 {
			return s.ranked[i]
		}
	}
	return s.ranked[len(s.weights)-1]
}

// nucleus cuts the weights after the first ones that together reach the share
// topP of their sum, and returns the sum of those left.
func (s *scratch) nucleus(sum, topP float64) float64 {
	if topP <= 0 || topP >= 1 {
		return sum
	}
	kept := 0.0
	for i, w := range s.weights {
		if kept += w; kept >= topP*sum {
			s.weights = s.weights[:i+1]
			break
		}
	}
	return kept
}
