package chatserver

import (
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"net/http"
	"strings"

	"github.com/stelelog/stele/examples/demo/ngram"
)

// request is the body of POST /v1/chat/completions.
type request struct {
	Model               string         `json:"model"`
	Messages            []message      `json:"messages"`
	Stream              bool           `json:"stream"`
	StreamOptions       *streamOptions `json:"stream_options"`
	MaxCompletionTokens *int           `json:"max_completion_tokens"`
	MaxTokens           *int           `json:"max_tokens"`
	MinTokens           int            `json:"min_tokens"`
	Temperature         *float64       `json:"temperature"`
	TopP                *float64       `json:"top_p"`
	TopK                int            `json:"top_k"`
	Seed                *int64         `json:"seed"`
	Stop                stringList     `json:"stop"`
	LogProbs            bool           `json:"logprobs"`
	TopLogProbs         int            `json:"top_logprobs"`
	N                   *int           `json:"n"`

	promptTokens int
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is a string, or an array of text parts.
type content string

func (c *content) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '[' {
		return json.Unmarshal(b, (*string)(c))
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	var all []string
	for _, p := range parts {
		if p.Type != "text" {
			return errNotText
		}
		all = append(all, p.Text)
	}
	*c = content(strings.Join(all, "\n"))
	return nil
}

var errNotText = errors.New("only content parts of type text are supported")

// stringList is a string or an array of strings.
type stringList []string

func (l *stringList) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*l = []string{""}
		return json.Unmarshal(b, &(*l)[0])
	}
	return json.Unmarshal(b, (*[]string)(l))
}

const (
	defaultAnswer  = 256 // tokens
	maxStops       = 4
	maxTopLogProbs = 20
	maxTopK        = 1000
)

// read decodes and validates a request.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (*request, *apiError) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, newError(http.StatusRequestEntityTooLarge, typeRequest, "The body of the request is too large.", "", "request_too_large")
	case err != nil:
		return nil, invalid("", "unreadable_body", "The body of the request could not be read.")
	}
	var q request
	if refusal := decode(body, &q); refusal != nil {
		return nil, refusal
	}
	return &q, s.check(&q)
}

func decode(body []byte, q *request) *apiError {
	err := json.Unmarshal(body, q)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNotText):
		return invalid("messages", "unsupported_content", "Only text is supported as the content of a message.")
	case errors.As(err, &wrongType):
		return invalid(wrongType.Field, "invalid_type", "A %s is not valid here.", wrongType.Value)
	}
	return invalid("", "invalid_json", "The body of the request is not valid JSON: %v.", err)
}

// check returns the first thing wrong with q.
func (s *Server) check(q *request) *apiError {
	switch {
	case q.Model == "":
		return invalid("model", "missing_required_parameter", "Name a model; GET /v1/models lists what there is.")
	case q.Model != s.config.Name:
		return unknownModel(q.Model)
	case len(q.Messages) == 0:
		return invalid("messages", "empty_array", "messages must hold at least one message.")
	case q.StreamOptions != nil && !q.Stream:
		return invalid("stream_options", "invalid_value", "stream_options is allowed only together with stream.")
	case q.Temperature != nil && !(*q.Temperature >= 0 && *q.Temperature <= 2):
		return invalid("temperature", "invalid_value", "temperature must lie between 0 and 2.")
	case q.TopP != nil && !(*q.TopP > 0 && *q.TopP <= 1):
		return invalid("top_p", "invalid_value", "top_p must be above 0 and at most 1.")
	case q.TopK < 0 || q.TopK > maxTopK:
		return invalid("top_k", "invalid_value", "top_k must lie between 0 and %d.", maxTopK)
	case q.TopLogProbs < 0 || q.TopLogProbs > maxTopLogProbs:
		return invalid("top_logprobs", "invalid_value", "top_logprobs must lie between 0 and %d.", maxTopLogProbs)
	case q.TopLogProbs > 0 && !q.LogProbs:
		return invalid("top_logprobs", "invalid_value", "top_logprobs is allowed only together with logprobs.")
	case len(q.Stop) > maxStops:
		return invalid("stop", "invalid_value", "stop may hold at most %d strings.", maxStops)
	case q.N != nil && *q.N != 1:
		return invalid("n", "unsupported_value", "Only n = 1 is supported.")
	}
	if refusal := checkMessages(q.Messages); refusal != nil {
		return refusal
	}
	return s.checkLength(q)
}

func checkMessages(all []message) *apiError {
	for _, m := range all {
		switch m.Role {
		case "system", "developer", "user", "assistant", "tool":
		default:
			return invalid("messages", "invalid_value", "%q is not a role.", m.Role)
		}
	}
	return nil
}

func (s *Server) checkLength(q *request) *apiError {
	for _, m := range q.Messages {
		q.promptTokens += s.config.Model.CountTokens(string(m.Content))
	}
	answer := q.answerTokens()
	switch room := s.config.MaxContext - q.promptTokens; {
	case answer < 1 || q.MinTokens < 0:
		return invalid("max_tokens", "invalid_value", "max_tokens must be at least 1, min_tokens at least 0.")
	case room < 1 || q.limited() && answer > room:
		return invalid("messages", "context_length_exceeded",
			"The context holds %d tokens; the messages take %d and the answer may take %d.", s.config.MaxContext, q.promptTokens, answer)
	case answer > room:
		q.MaxTokens = &room
	}
	return nil
}

func (q *request) limited() bool { return q.MaxCompletionTokens != nil || q.MaxTokens != nil }

// answerTokens is the largest length of the answer.
func (q *request) answerTokens() int {
	switch {
	case q.MaxCompletionTokens != nil:
		return *q.MaxCompletionTokens
	case q.MaxTokens != nil:
		return *q.MaxTokens
	}
	return defaultAnswer
}

// query is what is looked up: the last two messages of the user, as the last
// alone often only points back ("and how is it used?").
func (q *request) query() string {
	var asked []string
	for _, m := range q.Messages {
		if m.Role == "user" {
			asked = append(asked, string(m.Content))
		}
	}
	return strings.Join(asked[max(0, len(asked)-2):], "\n")
}

// prefix is the beginning of the answer when the client supplied it as a last
// message of the assistant.
func (q *request) prefix() string {
	if last := q.Messages[len(q.Messages)-1]; last.Role == "assistant" {
		return string(last.Content)
	}
	return ""
}

func (q *request) options(hits []ngram.Hit, alternatives int) ngram.Options {
	o := ngram.Options{
		MaxTokens:    q.answerTokens(),
		MinTokens:    q.MinTokens,
		Temperature:  1,
		TopK:         q.TopK,
		Stop:         q.Stop,
		Alternatives: max(alternatives, q.TopLogProbs),
		Context:      hits,
		Seed:         q.seed(),
	}
	if q.Temperature != nil {
		o.Temperature = *q.Temperature
	}
	if q.TopP != nil {
		o.TopP = *q.TopP
	}
	return o
}

func (q *request) seed() uint64 {
	if q.Seed != nil {
		return uint64(*q.Seed)
	}
	h := fnv.New64a()
	for _, m := range q.Messages {
		_, _ = io.WriteString(h, m.Role+"\x00"+string(m.Content)+"\x00")
	}
	return h.Sum64()
}
