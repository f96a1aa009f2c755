package chatserver

import (
	"context"
	"net/http"
	"strings"

	"github.com/stelelog/stele/examples/demo/ngram"
)

// generation is the answer to one request.
type generation struct {
	server  *Server
	request *request
	id      string
	created int64
	hits    []ngram.Hit

	answered int          // tokens with text
	finish   ngram.Finish // set when the answer is complete
}

// retrieve looks up the passages that steer the answer.
func (g *generation) retrieve(ctx context.Context) {
	query := g.request.query()
	if g.server.config.Index != nil {
		g.hits = g.server.config.Index.Search(query, g.server.config.Passages)
	}
	if g.server.config.Observer != nil {
		g.server.config.Observer.Retrieved(ctx, query, g.hits)
	}
}

// run calls emit for every token that has text. It ends with g.finish set, or
// with the error of ctx or emit.
func (g *generation) run(ctx context.Context, emit func(ngram.Token) error) error {
	alternatives := 0
	if g.server.config.Observer != nil {
		alternatives = observedAlternatives
	}
	seen := make([]ngram.Token, 0, 64)
	defer func() { g.observe(ctx, seen) }()
	options := g.request.options(g.hits, alternatives)
	for token, err := range g.server.config.Model.Generate(ctx, g.request.prefix(), options) {
		if err != nil {
			return err
		}
		if seen = append(seen, token); len(seen) == ObservedTokens {
			g.observe(ctx, seen)
			seen = seen[:0]
		}
		if token.Text != "" {
			g.answered++
			if err := emit(token); err != nil {
				return err
			}
		}
		g.finish = token.Finish
	}
	return nil
}

func (g *generation) observe(ctx context.Context, tokens []ngram.Token) {
	if g.server.config.Observer != nil && len(tokens) > 0 {
		g.server.config.Observer.Sampled(ctx, tokens)
	}
}

// complete answers with one JSON object.
func (g *generation) complete(ctx context.Context, w http.ResponseWriter) {
	var (
		text  strings.Builder
		probs *logProbs
	)
	if g.request.LogProbs {
		probs = &logProbs{Content: []tokenLogProb{}}
	}
	err := g.run(ctx, func(t ngram.Token) error {
		text.WriteString(t.Text)
		if probs != nil {
			probs.Content = append(probs.Content, newTokenLogProb(t, g.request.TopLogProbs))
		}
		return nil
	})
	if err != nil {
		interrupted(err).write(w)
		return
	}
	writeJSON(w, http.StatusOK, completion{
		ID: g.id, Object: "chat.completion", Created: g.created, Model: g.server.config.Name,
		Choices: []choice{{
			Message:      answer{Role: "assistant", Content: text.String()},
			LogProbs:     probs,
			FinishReason: g.finish,
		}},
		Usage: g.usage(),
	})
}

func (g *generation) usage() usage {
	return usage{g.request.promptTokens, g.answered, g.request.promptTokens + g.answered}
}
