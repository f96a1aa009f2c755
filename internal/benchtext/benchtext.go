// Package benchtext makes up the text that benchmarks measure with.
package benchtext

import "math/rand/v2"

// Text writes made-up prose without end, the same for the same seed. It compresses as the answers of real models do,
// whole and in short pieces: zstd brings 1 KiB to 0.53, 4.6 KiB to 0.45, 400 KiB to 0.35 (real answers: 0.52, 0.44, 0.34).
// Three things make it so: few words are most of the text, a word has words that like to follow it, and what was said
// lately is said again.
type Text struct {
	rng       *rand.Rand
	common    [1 << 14]int // words by how often they come
	words     []string
	followers [][4]int
	lately    [64]int
	n         int // words so far
}

// New returns a text. Each seed has its own words.
func New(seed uint64) *Text {
	const vocabulary = 4000
	rng := rand.New(rand.NewPCG(seed, 1))
	t := &Text{rng: rng}
	for i, rank := 0, rand.NewZipf(rng, 1.1, 8, vocabulary-1); i < len(t.common); i++ {
		t.common[i] = int(rank.Uint64())
	}
	for rank := range vocabulary {
		t.words = append(t.words, t.word(rank))
		t.followers = append(t.followers, [4]int{t.any(), t.any(), t.any(), t.any()})
	}
	for i := range t.lately {
		t.lately[i] = t.any()
	}
	return t
}

// word makes a word up. The common ones are short.
func (t *Text) word(rank int) string {
	const consonants, vowels, ends = "tthhsswwrrnnlldcmfpgbvkjqxyz", "eeeeaaaiiooouy", "nrstdl"
	syllables := 1
	for _, rarer := range [...]int{20, 300, 2000} {
		if rank > rarer {
			syllables += t.rng.IntN(2)
		}
	}
	var w []byte
	for range syllables {
		w = append(w, consonants[t.rng.IntN(len(consonants))], vowels[t.rng.IntN(len(vowels))])
		if t.rng.IntN(3) == 0 {
			w = append(w, ends[t.rng.IntN(len(ends))])
		}
	}
	return string(w)
}

func (t *Text) any() int { return t.common[t.rng.IntN(len(t.common))] }

// Fill fills b with what comes next.
func (t *Text) Fill(b []byte) {
	for out := b[:0]; len(out) < len(b); t.n++ {
		word := &t.lately[t.n%len(t.lately)]
		switch last, p := t.lately[(t.n+63)%64], t.rng.IntN(100); {
		case p < 28:
			*word = t.lately[t.rng.IntN(len(t.lately))]
		case p < 78:
			*word = t.followers[last][t.rng.IntN(4)]
		default:
			*word = t.any()
		}
		stop := " "
		switch p := t.rng.IntN(60); {
		case p < 3:
			stop = ", "
		case p < 6:
			stop = ". "
		case p == 6:
			stop = ".\n\n"
		}
		out = out[:len(out)+copy(b[len(out):], t.words[*word])]
		out = out[:len(out)+copy(b[len(out):], stop)]
	}
}
