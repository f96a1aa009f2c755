package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stelelog/stele/examples/demo/ngram"
	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/httplog"
)

// states captures what happens between a request and its answer: what was retrieved, and with which probabilities tokens
// were drawn. The call is the one that httplog has begun for the request.
type states struct{}

// Retrieved implements chatserver.Observer.
func (states) Retrieved(ctx context.Context, query string, hits []ngram.Hit) {
	type passage struct {
		Source string  `json:"source"`
		Score  float64 `json:"score"`
		Text   string  `json:"text"`
	}
	found := make([]passage, len(hits))
	for i, h := range hits {
		found[i] = passage{h.Source, h.Score, h.Text}
	}
	state(ctx, "retrieval", map[string]any{"query": query, "passages": found})
}

// Sampled implements chatserver.Observer.
func (states) Sampled(ctx context.Context, tokens []ngram.Token) {
	type token struct {
		Text    string  `json:"text"`
		LogProb float64 `json:"logprob"`
	}
	drawn := make([]token, len(tokens))
	for i, t := range tokens {
		drawn[i] = token{t.Text, t.LogProb}
	}
	state(ctx, "sampling", map[string]any{"tokens": drawn})
}

func state(ctx context.Context, operation string, body any) {
	call := httplog.CallFrom(ctx)
	if call == nil {
		return
	}
	data, err := json.Marshal(body)
	if err != nil {
		return
	}
	call.State(ctx, logpipe.Record{Class: "state", ContentType: "application/json", Body: data,
		Attributes: fmt.Appendf(nil, `{"gen_ai.operation.name":%q}`, operation)})
}

// picture draws what was kept, in the terminal.
func (d *demo) picture() {
	total := 0
	for _, n := range d.kinds {
		total += n
	}
	fmt.Printf("\n  service ──▶ pipe ──▶ spool ──▶ compactor ──▶ archive   %d records, %.1f MB\n\n", total, float64(d.bytes)/1e6)
	for k := logpipe.Input; k <= logpipe.Error; k++ {
		width := 0
		if total > 0 {
			width = 48 * d.kinds[k] / total
		}
		fmt.Printf("  %-7s %6d  %s\n", k, d.kinds[k], strings.Repeat("█", max(1, width)))
	}
}
