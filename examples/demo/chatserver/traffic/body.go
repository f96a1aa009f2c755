package traffic

import (
	"encoding/json"
	"net/http"
)

// body is the request as it goes over the wire. Messages of earlier turns are
// kept as they were sent, so that a history repeats its bytes.
type body struct {
	Model         string            `json:"model"`
	Messages      []json.RawMessage `json:"messages"`
	User          string            `json:"user"`
	MaxTokens     int               `json:"max_tokens"`
	MinTokens     int               `json:"min_tokens,omitempty"`
	Temperature   float64           `json:"temperature,omitempty"`
	LogProbs      bool              `json:"logprobs,omitempty"`
	TopLogProbs   int               `json:"top_logprobs,omitempty"`
	Stream        bool              `json:"stream,omitempty"`
	StreamOptions *streamOptions    `json:"stream_options,omitempty"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// endless is an answer of more tokens than anybody waits for, in a context of
// 32768.
const endless = 30000

const instruction = "You answer questions about the Go standard library in one paragraph."

// newBody makes the body of r for a conversation so far.
func newBody(r Request, model string, history []json.RawMessage) (*body, error) {
	b := &body{
		Model:       model,
		User:        r.Subject,
		MaxTokens:   r.MaxTokens,
		LogProbs:    r.TopLogProbs > 0,
		TopLogProbs: r.TopLogProbs,
		Stream:      r.Stream,
	}
	if r.Usage {
		b.StreamOptions = &streamOptions{IncludeUsage: true}
	}
	if r.Kind == Cancelled || r.Kind == TimedOut {
		b.MaxTokens, b.MinTokens = endless, endless
	}
	question, err := json.Marshal(message{"user", r.Question})
	if err != nil {
		return nil, err
	}
	b.Messages = append(append(b.Messages, history...), question)
	return b, nil
}

// fault is one way to get a request wrong. Either spoil changes the body before
// it is encoded, or cut the bytes after.
type fault struct {
	name   string
	method string // default POST
	spoil  func(*body)
	cut    func([]byte) []byte
}

var faults = []fault{
	{name: "cut body", cut: func(b []byte) []byte { return b[:len(b)*2/3] }},
	{name: "unknown model", spoil: func(b *body) { b.Model = "gpt-unheard-of" }},
	{name: "no messages", spoil: func(b *body) { b.Messages = []json.RawMessage{} }},
	{name: "too many tokens", spoil: func(b *body) { b.MaxTokens = 1 << 20 }},
	{name: "too hot", spoil: func(b *body) { b.Temperature = 7 }},
	{name: "wrong method", method: http.MethodGet, cut: func([]byte) []byte { return nil }},
}

// encode returns the method and the exact bytes of a request.
func encode(r Request, b *body) (method string, data []byte, err error) {
	var f fault
	for _, candidate := range faults {
		if r.Kind == Malformed && candidate.name == r.Fault {
			f = candidate
		}
	}
	if f.spoil != nil {
		f.spoil(b)
	}
	if data, err = json.Marshal(b); err != nil {
		return "", nil, err
	}
	if f.cut != nil {
		data = f.cut(data)
	}
	if f.method != "" {
		return f.method, data, nil
	}
	return http.MethodPost, data, nil
}
