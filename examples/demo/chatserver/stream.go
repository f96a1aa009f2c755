package chatserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/stelelog/stele/examples/demo/ngram"
)

// lastEvent is the time that a stream has, past its time-out, to say so to a
// client that reads slowly.
const lastEvent = time.Second

// stream answers with one server-sent event for each token.
func (g *generation) stream(ctx context.Context, w http.ResponseWriter, timeout time.Duration) {
	s := &streamer{generation: g, w: w, control: http.NewResponseController(w)}
	// A client that stops reading must not hold the request for ever. Writers that
	// know no deadlines, such as those of tests, are left alone.
	_ = s.control.SetWriteDeadline(time.Now().Add(timeout + lastEvent))
	defer func() { _ = s.control.SetWriteDeadline(time.Time{}) }()

	err := g.run(ctx, s.token)
	if err == nil {
		err = s.end()
	}
	switch {
	case err == nil:
	case !s.begun:
		interrupted(err).write(w)
	case errors.Is(err, errTimeout):
		_ = s.event(errorBody{interrupted(err)})
	}
}

// streamer writes the events of one stream.
type streamer struct {
	*generation
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
	buf     bytes.Buffer
}

// begin sends the headers and the event that names the role. It comes with the
// first token, so that until then an error can have its own status.
func (s *streamer) begin() error {
	if s.begun {
		return nil
	}
	s.begun = true
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	s.w.WriteHeader(http.StatusOK)
	empty := ""
	return s.choice(chunkChoice{Delta: delta{Role: "assistant", Content: &empty}})
}

func (s *streamer) token(t ngram.Token) error {
	if err := s.begin(); err != nil {
		return err
	}
	c := chunkChoice{Delta: delta{Content: &t.Text}}
	if s.request.LogProbs {
		c.LogProbs = &logProbs{Content: []tokenLogProb{newTokenLogProb(t, s.request.TopLogProbs)}}
	}
	return s.choice(c)
}

// end sends the finish reason, the usage if asked for, and the end mark.
func (s *streamer) end() error {
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.choice(chunkChoice{FinishReason: &s.finish}); err != nil {
		return err
	}
	if s.includeUsage() {
		total, err := json.Marshal(s.usage())
		if err != nil {
			return err
		}
		if err := s.chunk([]chunkChoice{}, total); err != nil {
			return err
		}
	}
	return s.write([]byte("data: [DONE]\n\n"))
}

func (s *streamer) includeUsage() bool {
	return s.request.StreamOptions != nil && s.request.StreamOptions.IncludeUsage
}

func (s *streamer) choice(c chunkChoice) error {
	var none json.RawMessage
	if s.includeUsage() {
		none = json.RawMessage("null")
	}
	return s.chunk([]chunkChoice{c}, none)
}

func (s *streamer) chunk(choices []chunkChoice, total json.RawMessage) error {
	return s.event(chunk{
		ID: s.id, Object: "chat.completion.chunk", Created: s.created, Model: s.server.config.Name,
		Choices: choices, Usage: total,
	})
}

func (s *streamer) event(v any) error {
	s.buf.Reset()
	s.buf.WriteString("data: ")
	e := json.NewEncoder(&s.buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	s.buf.WriteByte('\n') // the second one: Encode wrote the first
	return s.write(s.buf.Bytes())
}

func (s *streamer) write(event []byte) error {
	if _, err := s.w.Write(event); err != nil {
		return err
	}
	if err := s.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
