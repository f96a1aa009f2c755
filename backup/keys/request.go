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
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keystore"
)

// Source answers signed requests for wrapped keys: a [Service] in this process, or a client of one.
type Source interface {
	// Keys answers a request of docs/formats/keyservice.md, a signed note.
	Keys(ctx context.Context, request []byte) (*Answer, error)
}

// Answer holds wrapped keys. They open nothing without a reader's identity.
type Answer struct {
	Stele       string           `json:"stele"`
	Folded      map[string]int64 `json:"folded"`
	Keys        []Wrapped        `json:"keys"`
	Certificate string           `json:"certificate"`
}

// Wrapped is the answer about one scope.
type Wrapped struct {
	Scope   commit.Hex16 `json:"scope"`
	State   string       `json:"state"` // "live", "erased", "unknown"
	Stream  commit.Hex16 `json:"stream"`
	Start   time.Time    `json:"start,omitzero"`
	Class   string       `json:"class,omitempty"`
	Encap   commit.Hex16 `json:"encap"`
	Wrapped []byte       `json:"wrapped,omitempty"`
}

// Request is what a reader asks, for Scopes, or for all scopes that carry one of Tags.
type Request struct {
	Stele   string         `json:"stele"`
	Archive commit.Hex16   `json:"archive"`
	Reader  string         `json:"reader"`
	Time    time.Time      `json:"time"`
	Nonce   commit.Hex16   `json:"nonce"`
	Scopes  []commit.Hex16 `json:"scopes,omitempty"`
	Tags    []commit.Hex16 `json:"tags,omitempty"`
	Why     string         `json:"why"`
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

// Keys implements [Source]. It folds what the grants transport holds before it answers.
func (k *Service) Keys(ctx context.Context, request []byte) (*Answer, error) {
	q, err := k.admit(ctx, request)
	if err != nil {
		return nil, err
	}
	if err := k.Fold(ctx); err != nil {
		return nil, err
	}
	answer := &Answer{Stele: keysFormat, Certificate: DevelopmentStore}
	if answer.Folded, err = k.store.Positions(); err != nil {
		return nil, err
	}
	ids := q.Scopes
	for _, tag := range q.Tags {
		tagged, err := k.store.Tagged(tag)
		if err != nil {
			return nil, err
		}
		for _, id := range tagged {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		key, state, err := k.store.Get(id)
		if err != nil {
			return nil, err
		}
		w := Wrapped{Scope: id, State: [...]string{"unknown", "live", "erased"}[state]}
		if state == keystore.Live {
			w.Stream, w.Start, w.Class, w.Encap, w.Wrapped = key.Stream, time.Unix(0, key.Start).UTC(), key.Class, key.Encap, key.Inner[:]
		}
		answer.Keys = append(answer.Keys, w)
	}
	k.log.Info("keys given out", "reader", q.Reader, "why", q.Why, "scopes", len(ids), "tags", len(q.Tags))
	return answer, nil
}

// admit checks who asks, and that the request is fresh.
func (k *Service) admit(ctx context.Context, request []byte) (*Request, error) {
	text, _, ok := strings.Cut(string(request), "\n\n")
	if !ok || len(request) > maxRequest {
		return nil, fmt.Errorf("%w: not a signed note", errRefused)
	}
	var q Request
	if err := commit.UnmarshalLine(text+"\n", keysFormat, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	if err := k.control.Refresh(ctx); err != nil {
		return nil, err
	}
	var key string
	k.control.View(func(s *control.State) { key = s.ReaderKey(q.Reader) })
	v, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no reader of this archive", errRefused, q.Reader)
	}
	if _, err := note.Open(request, note.VerifierList(v)); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	now := time.Now()
	if age := now.Sub(q.Time).Abs(); age > requestSkew || q.Archive != k.trust.Archive {
		return nil, fmt.Errorf("%w: it is of another archive, or %v from this clock", errRefused, age.Round(time.Second))
	}
	if len(q.Scopes) > MaxScopes || len(q.Tags) > maxTags {
		return nil, fmt.Errorf("%w: over %d scopes or %d tags", errRefused, MaxScopes, maxTags)
	}
	return &q, k.fresh(q.Nonce.String(), now)
}

// fresh refuses a nonce that was seen within the time in which requests are taken.
func (k *Service) fresh(nonce string, now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for n, at := range k.nonces {
		if now.Sub(at) > 2*requestSkew {
			delete(k.nonces, n)
		}
	}
	if _, seen := k.nonces[nonce]; seen {
		return fmt.Errorf("%w: it was answered already", errRefused)
	}
	k.nonces[nonce] = now
	return nil
}

// Handler serves requests over HTTP, see docs/formats/keyservice.md.
func (k *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/keys", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		var answer *Answer
		if err == nil {
			answer, err = k.Keys(r.Context(), body)
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

// PayloadReaders returns the files under dir that can open payloads. A compactor must not have any.
func PayloadReaders(dir string) ([]string, error) { return identity.PayloadReaders(dir) }
