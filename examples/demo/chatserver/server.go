package chatserver

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stelelog/stele/examples/demo/ngram"
)

// Observer sees the intermediate states of a request. Its methods are called on
// the goroutine of the request, so they must be safe for concurrent use by many
// requests, and what they take in time the client waits. ctx is that of the
// request; when the client has gone it is already cancelled.
type Observer interface {
	// Retrieved is called once for each valid request, before the first token.
	Retrieved(ctx context.Context, query string, hits []ngram.Hit)
	// Sampled is called with the generated tokens in order, after the last one and
	// whenever ObservedTokens of them have gathered; also when the generation was
	// cut short. The slice is valid until the method returns.
	Sampled(ctx context.Context, tokens []ngram.Token)
}

const (
	// ObservedTokens is the largest number of tokens in a call of
	// [Observer.Sampled].
	ObservedTokens = 256
	// observedAlternatives is how many alternatives an observer sees at least.
	observedAlternatives = 5
)

// Config describes a server. Only Model is required.
type Config struct {
	Model *ngram.Model
	Index *ngram.Index // nil: nothing is retrieved

	Name       string        // of the model in requests; default "go-doc-4gram"
	MaxContext int           // tokens of a prompt and its answer together; default 32768
	MaxBody    int64         // bytes of a request; default 1 MiB
	Passages   int           // retrieved for each request; default 3
	Timeout    time.Duration // of one generation; default 10 s

	Observer Observer // may be nil

	Now   func() time.Time // default time.Now
	NewID func() string    // of a completion, unique; default random
}

// Server is an http.Handler, safe for concurrent use.
type Server struct {
	config Config
	mux    *http.ServeMux
}

// New returns a server. It fails only when c.Model is missing.
func New(c Config) (*Server, error) {
	if c.Model == nil {
		return nil, errors.New("chatserver: Config.Model is nil")
	}
	setDefault(&c.Name, "go-doc-4gram")
	setDefault(&c.MaxContext, 32768)
	setDefault(&c.MaxBody, 1<<20)
	setDefault(&c.Passages, 3)
	setDefault(&c.Timeout, 10*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = func() string { return "chatcmpl-" + rand.Text() }
	}
	s := &Server{config: c, mux: http.NewServeMux()}
	s.mux.Handle("/v1/chat/completions", only(http.MethodPost, s.chat))
	s.mux.Handle("/v1/models", only(http.MethodGet, s.models))
	s.mux.Handle("/v1/models/{name}", only(http.MethodGet, s.model))
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		notFound("There is nothing at "+r.URL.Path+".", "", "unknown_url").write(w)
	})
	return s, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func only(method string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			methodNotAllowed(r.Method, method).write(w)
			return
		}
		h(w, r)
	})
}

type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func (s *Server) modelObject() modelObject {
	return modelObject{ID: s.config.Name, Object: "model", OwnedBy: "demo"}
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Object string        `json:"object"`
		Data   []modelObject `json:"data"`
	}{"list", []modelObject{s.modelObject()}})
}

func (s *Server) model(w http.ResponseWriter, r *http.Request) {
	if name := r.PathValue("name"); name != s.config.Name {
		unknownModel(name).write(w)
		return
	}
	writeJSON(w, http.StatusOK, s.modelObject())
}

// errTimeout is the cause of a context that ran out of the server's time.
var errTimeout = errors.New("generation timed out")

// timeout is the time for one request: the server's, or what the client says it
// will wait, in seconds, as some of OpenAI's client libraries do in this header.
func (s *Server) timeout(r *http.Request) time.Duration {
	seconds, err := strconv.ParseFloat(strings.TrimSpace(r.Header.Get("X-Stainless-Timeout")), 64)
	if err != nil || !(seconds > 0 && seconds < s.config.Timeout.Seconds()) {
		return s.config.Timeout
	}
	return time.Duration(seconds * float64(time.Second))
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	q, refusal := s.read(w, r)
	if refusal != nil {
		refusal.write(w)
		return
	}
	timeout := s.timeout(r)
	ctx, cancel := context.WithTimeoutCause(r.Context(), timeout, errTimeout)
	defer cancel()
	g := &generation{server: s, request: q, id: s.config.NewID(), created: s.config.Now().Unix()}
	g.retrieve(ctx)
	if q.Stream {
		g.stream(ctx, w, timeout)
	} else {
		g.complete(ctx, w)
	}
}
