package chatserver

import (
	"encoding/json"
	"math"

	"github.com/stelelog/stele/examples/demo/ngram"
)

// completion is an answer in one piece.
type completion struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   usage    `json:"usage"`
}

type choice struct {
	Index        int          `json:"index"`
	Message      answer       `json:"message"`
	LogProbs     *logProbs    `json:"logprobs"`
	FinishReason ngram.Finish `json:"finish_reason"`
}

type answer struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

// chunk is one event of a stream.
type chunk struct {
	ID      string        `json:"id"`
	Object  string        `json:"object"`
	Created int64         `json:"created"`
	Model   string        `json:"model"`
	Choices []chunkChoice `json:"choices"`
	// Usage is absent unless it was asked for; then it is null in all chunks but
	// the last.
	Usage json.RawMessage `json:"usage,omitempty"`
}

type chunkChoice struct {
	Index        int           `json:"index"`
	Delta        delta         `json:"delta"`
	LogProbs     *logProbs     `json:"logprobs"`
	FinishReason *ngram.Finish `json:"finish_reason"`
}

type delta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

type logProbs struct {
	Content []tokenLogProb `json:"content"`
}

type tokenLogProb struct {
	topLogProb
	TopLogProbs []topLogProb `json:"top_logprobs"`
}

type topLogProb struct {
	Token   string  `json:"token"`
	LogProb float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// newTokenLogProb reports a token and its first top alternatives.
func newTokenLogProb(t ngram.Token, top int) tokenLogProb {
	p := tokenLogProb{newTopLogProb(t.Text, t.LogProb), []topLogProb{}}
	for _, a := range t.Alternatives[:min(top, len(t.Alternatives))] {
		p.TopLogProbs = append(p.TopLogProbs, newTopLogProb(a.Text, a.LogProb))
	}
	return p
}

// newTopLogProb rounds, so that the bytes do not depend on how a processor
// computes logarithms.
func newTopLogProb(text string, logProb float64) topLogProb {
	p := topLogProb{Token: text, LogProb: math.Round(logProb*1e9) / 1e9, Bytes: make([]int, len(text))}
	for i := range p.Bytes {
		p.Bytes[i] = int(text[i])
	}
	return p
}
