package traffic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/examples/demo/ngram"
)

// Kind is what a request is meant to bring about.
type Kind string

// The kinds of requests.
const (
	Ask       Kind = "ask"       // a question that gets its answer
	Malformed Kind = "malformed" // a request the server must refuse
	Cancelled Kind = "cancelled" // a stream that the client leaves in the middle
	TimedOut  Kind = "timed out" // an answer that does not end within the request's time
)

// Request describes one request. Its body is made when it is played, as it
// repeats the answers to the earlier turns of the session.
type Request struct {
	Number  int    // position in the plan, from 0
	Subject string // the person who asks; also the field "user" of the body
	Session string // the conversation
	Turn    int    // within the session, from 0
	Kind    Kind

	Question    string
	Stream      bool
	Usage       bool // ask for the usage at the end of the stream
	TopLogProbs int  // 0: none are asked for
	MaxTokens   int

	Fault        string        // of a Malformed request: what is wrong, such as "cut body"
	CancelEvents int           // of a Cancelled one: leave after that many events
	Timeout      time.Duration // of a TimedOut one: what the client is ready to wait
}

// Options shape a plan. Zero values take the defaults.
type Options struct {
	Seed     uint64
	Subjects int // default 200
	Sessions int // of each subject; default 5
	Turns    int // of each session at most, at least 2; default 6

	// PerMille is how many of 1000 requests are of a kind; what is left of the 1000
	// is Ask. Default: 20 Malformed, 10 Cancelled, 10 TimedOut.
	PerMille map[Kind]int
	// Streaming is how many of 1000 questions ask for a stream; default 400.
	Streaming int
}

func (o *Options) setDefaults() {
	o.Subjects = positive(o.Subjects, 200)
	o.Sessions = positive(o.Sessions, 5)
	o.Turns = max(2, positive(o.Turns, 6))
	o.Streaming = positive(o.Streaming, 400)
	if o.PerMille == nil {
		o.PerMille = map[Kind]int{Malformed: 20, Cancelled: 10, TimedOut: 10}
	}
}

func positive(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// Plan makes the requests of all sessions, in an order in which the sessions of
// one round of subjects alternate. It is deterministic by o.Seed. The passages
// supply what people ask about; the error is ngram.ErrNoDocs when they hold no
// sentence of a public package.
func Plan(passages []ngram.Passage, o Options) ([]Request, error) {
	o.setDefaults()
	topics := topicsOf(passages)
	if len(topics) == 0 {
		return nil, fmt.Errorf("traffic: nothing to ask about: %w", ngram.ErrNoDocs)
	}
	p := planner{options: o, topics: topics, rng: rand.New(rand.NewPCG(o.Seed, 1))}
	for round := range o.Sessions {
		p.round(round)
	}
	return p.requests, nil
}

type planner struct {
	options  Options
	topics   []topic
	rng      *rand.Rand
	requests []Request
}

// round plans one session for each subject, turn by turn.
func (p *planner) round(round int) {
	type session struct {
		Request
		topic topic
		turns int
	}
	sessions := make([]session, p.options.Subjects)
	for i := range sessions {
		s := &sessions[i]
		s.Subject = fmt.Sprintf("person-%04d@example.org", i+1)
		s.Session = fmt.Sprintf("s-%04d-%02d", i+1, round+1)
		s.topic = p.topics[p.rng.IntN(len(p.topics))]
		s.turns = 2 + p.rng.IntN(p.options.Turns-1)
	}
	for turn := range p.options.Turns {
		for i := range sessions {
			if s := &sessions[i]; turn < s.turns {
				r := s.Request
				r.Turn = turn
				p.add(r, s.topic)
			}
		}
	}
}

func (p *planner) add(r Request, about topic) {
	r.Number = len(p.requests)
	r.Kind = p.kind()
	r.Question = p.question(r.Turn, about)
	r.Stream = p.rng.IntN(1000) < p.options.Streaming
	r.Usage = r.Stream && p.rng.IntN(2) == 0
	r.MaxTokens = 20 + p.rng.IntN(41)
	if p.rng.IntN(10) == 0 {
		r.TopLogProbs = 1 + p.rng.IntN(3)
	}
	switch r.Kind {
	case Malformed:
		r.Fault = faults[p.rng.IntN(len(faults))].name
	case Cancelled:
		r.Stream = true
		r.CancelEvents = 3 + p.rng.IntN(30)
	case TimedOut:
		r.Timeout = time.Duration(5+p.rng.IntN(6)) * time.Millisecond
	}
	p.requests = append(p.requests, r)
}

func (p *planner) kind() Kind {
	n := p.rng.IntN(1000)
	for _, k := range []Kind{Malformed, Cancelled, TimedOut} {
		if n -= p.options.PerMille[k]; n < 0 {
			return k
		}
	}
	return Ask
}

func (p *planner) question(turn int, about topic) string {
	sentence := about.sentences[p.rng.IntN(len(about.sentences))]
	if turn == 0 {
		return fmt.Sprintf(pick(p.rng, openers), about.name) + " The documentation says: " + sentence
	}
	return fmt.Sprintf(pick(p.rng, followers), sentence)
}

func pick[T any](rng *rand.Rand, all []T) T { return all[rng.IntN(len(all))] }

var (
	openers = []string{
		"What is package %s for?",
		"I am new to %s. Where do I start?",
		"When should I use %s, and when not?",
		"Please explain %s as you would to a colleague.",
	}
	followers = []string{
		"And what does this mean: %s",
		"I do not understand this sentence: %s",
		"Is it still true that: %s",
		"Can you say this in other words? %s",
		"What follows for my program from this: %s",
	}
)

// topic is a public package and sentences about it.
type topic struct {
	name      string
	sentences []string
}

func topicsOf(passages []ngram.Passage) []topic {
	byName := map[string][]string{}
	for _, p := range passages {
		if !p.Doc || strings.Contains(p.Source, "internal") || strings.Contains(p.Source, ".") {
			continue
		}
		if s, ok := firstSentence(p.Text); ok {
			byName[p.Source] = append(byName[p.Source], s)
		}
	}
	var all []topic
	for name, sentences := range byName {
		all = append(all, topic{name, sentences})
	}
	slices.SortFunc(all, func(a, b topic) int { return strings.Compare(a.name, b.name) })
	return all
}

// firstSentence returns a sentence that is neither a fragment nor a page.
func firstSentence(text string) (string, bool) {
	sentence, _, found := strings.Cut(text, ". ")
	if found {
		sentence += "."
	}
	return sentence, len(sentence) >= 40 && len(sentence) <= 200 && strings.HasSuffix(sentence, ".")
}
