package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Outcome is what became of a request.
type Outcome string

// The outcomes of requests. All but Failed are named after the kind of request
// that should end so.
const (
	Answered  Outcome = "answered"
	Refused   Outcome = "refused"   // status 4xx
	Left      Outcome = "left"      // the client left the stream
	OutOfTime Outcome = "timed out" // status 504, or such an event in a stream
	Failed    Outcome = "failed"    // anything else; Exchange.Err or the body says what
)

// Outcome is what a request of this kind should come to.
func (k Kind) Outcome() Outcome {
	switch k {
	case Malformed:
		return Refused
	case Cancelled:
		return Left
	case TimedOut:
		return OutOfTime
	}
	return Answered
}

// Exchange is a request that was played.
type Exchange struct {
	Request
	Outcome  Outcome
	Status   int    // 0 when there was no response
	Sent     []byte // the body as sent
	Received []byte // the body as received, of a cancelled stream what came before
	Text     string // the answer, assembled from the events of a stream
	Err      error  // of the transport; nil for what the client itself cut off
}

// Report is what came of a plan.
type Report struct {
	Exchanges []Exchange // by Number; of a cancelled Play those that were begun
	Counts    map[Outcome]int
}

// Unexpected returns the exchanges whose outcome is not that of their kind.
func (r *Report) Unexpected() []Exchange {
	var all []Exchange
	for _, e := range r.Exchanges {
		if e.Outcome != e.Kind.Outcome() {
			all = append(all, e)
		}
	}
	return all
}

// Player sends requests to one server.
type Player struct {
	Client      *http.Client // default http.DefaultClient; its Transport may capture
	BaseURL     string       // without "/v1"
	Model       string
	Concurrency int // sessions at a time; default 8

	// Prepare may add headers or a context to a request before it is sent. It is
	// called concurrently.
	Prepare func(*http.Request, Request) *http.Request
}

// Play sends the requests: those of one session in turn, each repeating what
// was said before, and up to Concurrency sessions at a time. It returns the
// report of what was begun and, when ctx ended it early, the cause of that.
func (p *Player) Play(ctx context.Context, requests []Request) (*Report, error) {
	var (
		queue = make(chan []int)
		done  = make([]*Exchange, len(requests))
		group sync.WaitGroup
	)
	for range positive(p.Concurrency, 8) {
		group.Go(func() {
			for session := range queue {
				p.session(ctx, requests, session, done)
			}
		})
	}
	for _, session := range bySession(requests) {
		queue <- session
	}
	close(queue)
	group.Wait()

	report := &Report{Counts: map[Outcome]int{}}
	for _, e := range done {
		if e != nil {
			report.Exchanges = append(report.Exchanges, *e)
			report.Counts[e.Outcome]++
		}
	}
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}
	return report, nil
}

// bySession groups the positions of requests by session, in order of their
// first requests.
func bySession(requests []Request) [][]int {
	var groups [][]int
	index := map[string]int{}
	for i, r := range requests {
		n, ok := index[r.Session]
		if !ok {
			n = len(groups)
			index[r.Session] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], i)
	}
	return groups
}

// session plays one conversation. A turn that got no answer leaves no trace in
// the history.
func (p *Player) session(ctx context.Context, requests []Request, positions []int, done []*Exchange) {
	system, _ := json.Marshal(message{"system", instruction})
	history := []json.RawMessage{system}
	for _, i := range positions {
		if ctx.Err() != nil {
			return
		}
		e := &Exchange{Request: requests[i]}
		done[i] = e
		b, err := newBody(e.Request, p.Model, history)
		if err != nil {
			e.Outcome, e.Err = Failed, err
			return
		}
		p.exchange(ctx, e, b)
		if e.Outcome == Answered {
			said, _ := json.Marshal(message{"assistant", e.Text})
			history = append(b.Messages, said)
		}
	}
}

// exchange sends one request and fills in what came of it.
func (p *Player) exchange(ctx context.Context, e *Exchange, b *body) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := p.send(ctx, e, b)
	if err != nil {
		e.Outcome, e.Err = Failed, err
		return
	}
	defer resp.Body.Close()
	e.Status = resp.StatusCode
	if e.Kind == Cancelled {
		p.leave(e, resp.Body)
		return
	}
	if e.Received, e.Err = io.ReadAll(resp.Body); e.Err != nil {
		e.Outcome = Failed
		return
	}
	e.Outcome, e.Text = judge(e)
}

func (p *Player) send(ctx context.Context, e *Exchange, b *body) (*http.Response, error) {
	method, data, err := encode(e.Request, b)
	if err != nil {
		return nil, err
	}
	e.Sent = data
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(p.BaseURL, "/")+"/v1/chat/completions", bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if e.Timeout > 0 {
		r.Header.Set("X-Stainless-Timeout", strconv.FormatFloat(e.Timeout.Seconds(), 'f', -1, 64))
	}
	if p.Prepare != nil {
		r = p.Prepare(r, e.Request)
	}
	client := p.Client
	if client == nil {
		client = http.DefaultClient
	}
	return client.Do(r)
}

// leave reads the wanted number of events and goes; closing the body of a
// response that has not ended breaks the connection.
func (p *Player) leave(e *Exchange, stream io.Reader) {
	buf := make([]byte, 1024)
	for bytes.Count(e.Received, []byte("\n\n")) < e.CancelEvents {
		n, err := stream.Read(buf)
		e.Received = append(e.Received, buf[:n]...)
		if err != nil {
			e.Outcome = Failed
			if !errors.Is(err, io.EOF) {
				e.Err = err
			}
			return
		}
	}
	e.Outcome = Left
	e.Text, _ = readEvents(e.Received)
}

// judge tells the outcome of a response that was read to its end.
func judge(e *Exchange) (Outcome, string) {
	switch {
	case e.Status == http.StatusGatewayTimeout:
		return OutOfTime, ""
	case e.Status >= 400 && e.Status < 500:
		return Refused, ""
	case e.Status != http.StatusOK:
		return Failed, ""
	case e.Stream:
		text, last := readEvents(e.Received)
		if last == "[DONE]" {
			return Answered, text
		}
		if strings.Contains(last, `"code":"timeout"`) {
			return OutOfTime, text
		}
		return Failed, text
	}
	var whole struct {
		Choices []struct {
			Message message `json:"message"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(e.Received, &whole); err != nil || len(whole.Choices) != 1 {
		return Failed, ""
	}
	return Answered, whole.Choices[0].Message.Content
}

// readEvents assembles the text of the complete events of a stream, and returns
// the data of the last one.
func readEvents(stream []byte) (text, last string) {
	var b strings.Builder
	for event := range strings.SplitAfterSeq(string(stream), "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		if !ok || !strings.HasSuffix(data, "\n\n") {
			continue
		}
		last = strings.TrimSuffix(data, "\n\n")
		var c struct {
			Choices []struct {
				Delta message `json:"delta"`
			} `json:"choices"`
		}
		if json.Unmarshal([]byte(last), &c) == nil && len(c.Choices) == 1 {
			b.WriteString(c.Choices[0].Delta.Content)
		}
	}
	return b.String(), last
}
