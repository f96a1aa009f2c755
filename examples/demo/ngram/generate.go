package ngram

import (
	"context"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
)

// Options control one generation. The zero value is greedy: the most likely
// token each time.
type Options struct {
	MaxTokens   int      // 0 means 256
	MinTokens   int      // the end of the text is not chosen before that many tokens
	Temperature float64  // 0 is greedy, 1 samples the model's own distribution
	TopK        int      // sample among the k most likely tokens; 0 means 40
	TopP        float64  // sample among the most likely tokens that hold this share; 0 means 1
	Seed        uint64   // equal seeds give equal texts
	Stop        []string // end before the first of these strings; empty strings are ignored
	// Alternatives is how many of the most likely tokens each [Token] reports.
	Alternatives int
	// Context holds retrieved passages that steer the generation.
	Context []Hit
}

const (
	defaultMaxTokens = 256
	defaultTopK      = 40
)

// Finish says why a generation ended.
type Finish string

// The values of Finish. A generation that is cancelled or times out ends in an
// error and has none.
const (
	FinishStop   Finish = "stop"   // the model ended the text, or a stop string was met
	FinishLength Finish = "length" // MaxTokens were generated
)

// Token is one generated token.
type Token struct {
	// Text is appended to the text so far as it is; a blank between two words
	// belongs to the second. It is empty for the end of the text and where a stop
	// string was cut away.
	Text string
	// LogProb is the natural logarithm of the probability that the model gave to
	// this token, before temperature, TopK and TopP.
	LogProb float64
	// Alternatives are the most likely tokens at this place, the best first.
	Alternatives []Alternative
	// Finish is set on the last token only.
	Finish Finish
}

// Alternative is a token that the model considered; an empty Text is the end of
// the text.
type Alternative struct {
	Text    string
	LogProb float64
}

// Generate continues prompt. With an empty prompt it starts a new paragraph.
// The sequence ends with a token whose Finish is set or, when ctx is done
// first, with the cause of that as its error. Each range over the sequence
// generates the same tokens anew.
func (m *Model) Generate(ctx context.Context, prompt string, o Options) iter.Seq2[Token, error] {
	if o.MaxTokens <= 0 {
		o.MaxTokens = defaultMaxTokens
	}
	if o.TopK <= 0 {
		o.TopK = defaultTopK
	}
	o.Stop = slices.DeleteFunc(slices.Clone(o.Stop), func(s string) bool { return s == "" })
	return func(yield func(Token, error) bool) {
		s := m.scratch.Get().(*scratch)
		defer m.scratch.Put(s)
		g := generation{
			model:   m,
			options: &o,
			scratch: s,
			cache:   m.cache(o.Context),
			history: m.start(prompt),
			rng:     rand.New(rand.NewPCG(o.Seed, uint64(order))),
		}
		g.run(ctx, yield)
	}
}

type generation struct {
	*scratch
	model   *Model
	options *Options
	cache   *tables
	history history
	rng     *rand.Rand
}

func (g *generation) run(ctx context.Context, yield func(Token, error) bool) {
	held := stopper{stops: g.options.Stop}
	for n := 1; ; n++ {
		if ctx.Err() != nil {
			yield(Token{}, context.Cause(ctx))
			return
		}
		token := g.next(n > g.options.MinTokens)
		if token.Finish == "" && n >= g.options.MaxTokens {
			token.Finish = FinishLength
		}
		for _, t := range held.push(token) {
			if !yield(t, nil) || t.Finish != "" {
				return
			}
		}
	}
}

// next generates one token.
func (g *generation) next(mayEnd bool) Token {
	m, o := g.model, g.options
	// One more than asked for, as the end may have to be taken out.
	m.rank(g.scratch, g.cache, g.history, max(o.TopK, o.Alternatives)+1)
	var token Token
	if o.Alternatives > 0 {
		token.Alternatives = make([]Alternative, 0, o.Alternatives)
		for _, c := range g.ranked[:min(o.Alternatives, len(g.ranked))] {
			token.Alternatives = append(token.Alternatives, Alternative{m.texts[c.token()], math.Log(c.probability())})
		}
	}
	if !mayEnd {
		g.ranked = slices.DeleteFunc(g.ranked, func(c candidate) bool { return c.token() == m.end })
	}
	g.ranked = g.ranked[:min(o.TopK, len(g.ranked))]
	chosen := g.draw(o, g.rng)
	g.history = g.history.push(chosen.token())
	token.Text, token.LogProb = m.texts[chosen.token()], math.Log(chosen.probability())
	if chosen.token() == m.end {
		token.Finish = FinishStop
	}
	return token
}
