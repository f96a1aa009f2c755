package backup

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

// KeySource answers signed requests for wrapped keys: a [KeyService] in this process, or a client of one.
type KeySource interface {
	// Keys answers a request of docs/formats/keyservice.md, a signed note.
	Keys(ctx context.Context, request []byte) (*KeyAnswer, error)
}

// KeyAnswer holds wrapped keys. They open nothing without a reader's identity.
type KeyAnswer struct {
	Stele       string           `json:"stele"`
	Folded      map[string]int64 `json:"folded"`
	Keys        []WrappedKey     `json:"keys"`
	Certificate string           `json:"certificate"`
}

// WrappedKey is the answer about one scope.
type WrappedKey struct {
	Scope   commit.Hex16 `json:"scope"`
	State   string       `json:"state"` // "live", "erased", "unknown"
	Stream  commit.Hex16 `json:"stream"`
	Start   time.Time    `json:"start,omitzero"`
	Class   string       `json:"class,omitempty"`
	Encap   commit.Hex16 `json:"encap"`
	Wrapped []byte       `json:"wrapped,omitempty"`
}

// keyRequest is what a reader asks.
type keyRequest struct {
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
	keysFormat  = "keys/v1"
	maxScopes   = 10_000
	maxTags     = 16
	requestSkew = 2 * time.Minute
	maxRequest  = 1 << 20
)

var errRefused = errors.New("key service: request refused")

func signKeyRequest(q keyRequest, signer note.Signer) ([]byte, error) {
	q.Stele = keysFormat
	rand.Read(q.Nonce[:])
	line, err := commit.MarshalLine(q)
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: string(line)}, signer)
}

// Keys implements [KeySource]. It folds what the grants transport holds before it answers.
func (k *KeyService) Keys(ctx context.Context, request []byte) (*KeyAnswer, error) {
	q, err := k.admit(ctx, request)
	if err != nil {
		return nil, err
	}
	if err := k.Fold(ctx); err != nil {
		return nil, err
	}
	answer := &KeyAnswer{Stele: keysFormat, Certificate: DevelopmentStore}
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
		w := WrappedKey{Scope: id, State: [...]string{"unknown", "live", "erased"}[state]}
		if state == keystore.Live {
			w.Stream, w.Start, w.Class, w.Encap, w.Wrapped = key.Stream, time.Unix(0, key.Start).UTC(), key.Class, key.Encap, key.Inner[:]
		}
		answer.Keys = append(answer.Keys, w)
	}
	k.log.Info("keys given out", "reader", q.Reader, "why", q.Why, "scopes", len(ids), "tags", len(q.Tags))
	return answer, nil
}

// admit checks who asks, and that the request is fresh.
func (k *KeyService) admit(ctx context.Context, request []byte) (*keyRequest, error) {
	text, _, ok := strings.Cut(string(request), "\n\n")
	if !ok || len(request) > maxRequest {
		return nil, fmt.Errorf("%w: not a signed note", errRefused)
	}
	var q keyRequest
	if err := commit.UnmarshalLine(text+"\n", keysFormat, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	if err := k.control.refresh(ctx); err != nil {
		return nil, err
	}
	var key string
	k.control.view(func(s *control.State) { key = s.ReaderKey(q.Reader) })
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
	if len(q.Scopes) > maxScopes || len(q.Tags) > maxTags {
		return nil, fmt.Errorf("%w: over %d scopes or %d tags", errRefused, maxScopes, maxTags)
	}
	return &q, k.fresh(q.Nonce.String(), now)
}

// fresh refuses a nonce that was seen within the time in which requests are taken.
func (k *KeyService) fresh(nonce string, now time.Time) error {
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
func (k *KeyService) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/keys", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		var answer *KeyAnswer
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

// NewKeyClient asks the key service that serves a unix socket.
func NewKeyClient(socket string) KeySource {
	return &keyClient{socket, http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}}
}

type keyClient struct {
	socket string
	http   http.Client
}

func (c *keyClient) Keys(ctx context.Context, request []byte) (*KeyAnswer, error) {
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
	var a KeyAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&a); err != nil {
		return nil, fmt.Errorf("key service: answer: %w", err)
	}
	return &a, nil
}

// PayloadReaders returns the files under dir that can open payloads. A compactor must not have any.
func PayloadReaders(dir string) ([]string, error) { return identity.PayloadReaders(dir) }
