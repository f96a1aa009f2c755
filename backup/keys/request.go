package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

// Source answers signed requests for wrapped keys: a [Service] in this process, or a client of one.
type Source interface {
	// Keys answers a request of docs/formats/keyservice.md, a signed note.
	Keys(ctx context.Context, request []byte) (*Answer, error)
}

// ID names an archive, a scope, a stream, an encapsulation or a tag: 16 bytes, in JSON as 32 hex digits.
type ID = commit.Hex16

// Answer holds wrapped keys. They open nothing without a reader's identity.
type Answer struct {
	Stele  string           `json:"stele"`
	Folded map[string]int64 `json:"folded"`
	Keys   []Wrapped        `json:"keys"`
	Record uint64           `json:"record"` // number of the root record that the answer is made of
	// Unread says why the grants transport could not be read; then what it holds is not in the answer. Empty if it was.
	Unread string `json:"unread,omitempty"`
}

// Wrapped is the answer about one scope.
type Wrapped struct {
	Scope   ID        `json:"scope"`
	State   string    `json:"state"` // "live", "erased", "unknown"
	Stream  ID        `json:"stream"`
	Start   time.Time `json:"start,omitzero"`
	Class   string    `json:"class,omitempty"`
	Encap   ID        `json:"encap"`
	Wrapped []byte    `json:"wrapped,omitempty"`
}

// Request is what a reader asks, for Scopes, or for all scopes that carry one of Tags.
type Request struct {
	Stele   string    `json:"stele"`
	Archive ID        `json:"archive"`
	Reader  string    `json:"reader"`
	Time    time.Time `json:"time"`
	Nonce   ID        `json:"nonce"`
	Scopes  []ID      `json:"scopes,omitempty"`
	Tags    []ID      `json:"tags,omitempty"`
	Why     string    `json:"why"`
}

const (
	// MaxScopes is how many scopes one request may ask for.
	MaxScopes   = 10_000
	keysFormat  = "keys/v1"
	maxTags     = 16
	requestSkew = 2 * time.Minute
	maxRequest  = 1 << 20
)

var errRefused = errors.New("key service: request refused")

// Sign makes the request's bytes with the signing key of a reader, under a nonce of its own.
func (q Request) Sign(signer note.Signer) ([]byte, error) {
	q.Stele = keysFormat
	rand.Read(q.Nonce[:])
	line, err := commit.MarshalLine(q)
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: string(line)}, signer)
}

// admit checks who asks, and that the request is fresh.
func (s *Service) admit(ctx context.Context, request []byte) (*Request, error) {
	text, _, ok := strings.Cut(string(request), "\n\n")
	if !ok || len(request) > maxRequest {
		return nil, fmt.Errorf("%w: not a signed note", errRefused)
	}
	var q Request
	if err := commit.UnmarshalLine(text+"\n", keysFormat, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	if err := s.control.Refresh(ctx); err != nil {
		return nil, err
	}
	var key string
	s.control.View(func(s *control.State) { key = s.ReaderKey(q.Reader) })
	v, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no reader of this archive", errRefused, q.Reader)
	}
	if _, err := note.Open(request, note.VerifierList(v)); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	now := time.Now()
	if age := now.Sub(q.Time).Abs(); age > requestSkew || q.Archive != s.trust.Archive {
		return nil, fmt.Errorf("%w: it is of another archive, or %v from this clock", errRefused, age.Round(time.Second))
	}
	if len(q.Scopes) > MaxScopes || len(q.Tags) > maxTags {
		return nil, fmt.Errorf("%w: over %d scopes or %d tags", errRefused, MaxScopes, maxTags)
	}
	return &q, s.fresh(q.Nonce.String(), now)
}

// fresh refuses a nonce that was seen within the time in which requests are taken.
func (s *Service) fresh(nonce string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, at := range s.answers.nonces {
		if now.Sub(at) > 2*requestSkew {
			delete(s.answers.nonces, n)
		}
	}
	if _, seen := s.answers.nonces[nonce]; seen {
		return fmt.Errorf("%w: it was answered already", errRefused)
	}
	s.answers.nonces[nonce] = now
	return nil
}

// Handler serves requests over HTTP, see docs/formats/keyservice.md.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/keys", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		var answer *Answer
		if err == nil {
			answer, err = s.Keys(r.Context(), body)
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			status := http.StatusInternalServerError
			if errors.Is(err, errRefused) {
				status = http.StatusForbidden
			}
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
			return
		}
		json.NewEncoder(w).Encode(answer)
	})
	return mux
}

// NewClient asks the key service that serves a unix socket.
func NewClient(socket string) Source {
	return &client{socket, http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}}
}

type client struct {
	socket string
	http   http.Client
}

func (c *client) Keys(ctx context.Context, request []byte) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://keys/v1/keys", bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("key service at %s: %w", c.socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var e struct{ Error string }
		json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&e)
		return nil, fmt.Errorf("key service: %s: %s", resp.Status, e.Error)
	}
	var a Answer
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&a); err != nil {
		return nil, fmt.Errorf("key service: answer: %w", err)
	}
	return &a, nil
}
