package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/internal/testbed"
)

// faulty fails one request: before the server has it, or after, so that only the answer is lost.
type faulty struct {
	mu    sync.Mutex // guards the fields below
	left  int        // requests until the one that fails
	after bool
	hit   string // the request that failed
}

func (f *faulty) RoundTrip(request *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.left--
	now, after := f.left == 0, f.after
	if now {
		f.hit = request.Method + " " + request.URL.Path
	}
	f.mu.Unlock()
	if now && !after {
		return nil, errors.New("injected: not sent")
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if now && err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		return nil, errors.Join(errors.New("injected: answer lost"), response.Body.Close())
	}
	return response, err
}

// TestAnyRequestFails lets each request of a generation's life fail, both ways, and goes on from there.
func TestAnyRequestFails(t *testing.T) {
	v := testbed.Vault(t)
	config := Config{Address: v.Endpoint, Mount: v.Mount(t), Token: fixed(v.Root())}
	clean := mustOpen(t, config, testID())
	var generation uint64
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			generation++
			f := &faulty{left: n, after: after}
			config.Transport = f
			c := mustOpen(t, config, testID())
			blob, err := live(t.Context(), c, generation)
			if f.hit == "" {
				if err != nil {
					t.Fatal(err)
				}
				if n < 15 {
					t.Errorf("only %d requests failed", n-1)
				}
				break
			}
			name := fmt.Sprintf("%s, sent %v", f.hit, after)
			if err == nil { // it did not matter: health is evidence only, and a key was seen to be gone
				if s, err := clean.Status(t.Context(), generation); err != nil || s.State != custodian.Destroyed {
					t.Errorf("%s: no error, and the state is %v, %v", name, s.State, err)
				}
			}
			if err != nil && !errors.Is(err, custodian.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
			resumes(t, name, clean, generation, blob)
		}
	}
}

func live(ctx context.Context, c *Custodian, generation uint64) ([]byte, error) {
	if _, err := c.Create(ctx, generation); err != nil {
		return nil, err
	}
	blob, err := c.Wrap(ctx, generation, custodian.Share{7})
	if err != nil {
		return nil, err
	}
	s, err := c.Destroy(ctx, generation)
	if err == nil && s.State != custodian.Destroyed {
		err = fmt.Errorf("destroyed, and the state is %v", s.State)
	}
	return blob, err
}

func resumes(t *testing.T, name string, c *Custodian, generation uint64, blob []byte) {
	t.Helper()
	ctx := t.Context()
	s, err := c.Status(ctx, generation)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if blob != nil && s.State == custodian.Unknown {
		t.Errorf("%s: a generation that was used is unknown", name)
	}
	if blob == nil {
		if _, err := c.Create(ctx, generation); err != nil {
			t.Errorf("%s: create again: %v", name, err)
		}
		if blob, err = c.Wrap(ctx, generation, custodian.Share{8}); err != nil {
			t.Errorf("%s: wrap again: %v", name, err)
		}
	} else if _, err := c.Unwrap(ctx, generation, blob); (err == nil) != (s.State == custodian.Live) && !errors.Is(err, custodian.ErrDestroyed) {
		t.Errorf("%s: in state %v: %v", name, s.State, err)
	}
	if s, err := c.Destroy(ctx, generation); err != nil || s.State != custodian.Destroyed {
		t.Errorf("%s: destroy again: %v, %v", name, s.State, err)
	}
	if _, err := c.Unwrap(ctx, generation, blob); !errors.Is(err, custodian.ErrDestroyed) {
		t.Errorf("%s: unwrap at last: %v", name, err)
	}
}

// answers is a server that says one thing.
func answers(t *testing.T, status int, body string) *Custodian {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return mustOpen(t, Config{Address: server.URL, Token: fixed("t0p-secret")}, testID())
}

// TestStrangeAnswers: nothing that is not a clear answer of a Transit engine counts as one.
func TestStrangeAnswers(t *testing.T) {
	blob := []byte("vault:v1:AAAA")
	for _, test := range []struct {
		status      int
		body        string
		unavailable bool
	}{
		{200, "", false}, {200, "<html>hello</html>", false}, {200, "{}", false}, {200, `{"data":null}`, false}, {200, `{"data":"x"}`, false},
		{200, `{"data":{"ciphertext":"vault:v0:AAAA","plaintext":"AAAA"}}`, false},
		{200, `{"data":{"ciphertext":"` + strings.Repeat("A", 2000) + `"}}`, false},
		{200, strings.Repeat("x", maxAnswer+10), false},
		{404, "", false}, {404, "<html>no such page</html>", false}, {404, "{}", false}, {404, `{"errors":["no handler for route"]}`, false},
		{400, "", false}, {401, "", false}, {403, `{"errors":["permission denied"]}`, false},
		{412, "", true}, {429, "", true}, {472, "", true}, {473, "", true}, {500, `{"errors":["x"]}`, true}, {502, "", true},
		{503, `{"errors":["Vault is sealed"]}`, true}, {504, "", true},
	} {
		c := answers(t, test.status, test.body)
		_, create := c.Create(t.Context(), 1)
		destroyedStatus, destroy := c.Destroy(t.Context(), 1)
		s, status := c.Status(t.Context(), 1)
		wrapped, wrap := c.Wrap(t.Context(), 1, custodian.Share{1})
		share, unwrap := c.Unwrap(t.Context(), 1, blob)
		for op, err := range map[string]error{"create": create, "destroy": destroy, "status": status, "wrap": wrap, "unwrap": unwrap} {
			if err == nil {
				t.Errorf("%d %.60q: %s succeeds", test.status, test.body, op)
			}
			if errors.Is(err, custodian.ErrUnknown) || errors.Is(err, custodian.ErrDestroyed) {
				t.Errorf("%d %.60q: %s takes it for an answer: %v", test.status, test.body, op, err)
			}
			if err != nil && errors.Is(err, custodian.ErrUnavailable) != test.unavailable {
				t.Errorf("%d %.60q: %s: %v", test.status, test.body, op, err)
			}
			if err != nil && (strings.Contains(err.Error(), "t0p-secret") || len(err.Error()) > 1000) {
				t.Errorf("%d %.60q: %s: the error says too much: %v", test.status, test.body, op, err)
			}
		}
		if s.State == custodian.Destroyed || destroyedStatus.State == custodian.Destroyed || wrapped != nil || share != (custodian.Share{}) {
			t.Errorf("%d %.60q: %v, %v, blob %q", test.status, test.body, s.State, destroyedStatus.State, wrapped)
		}
	}
}

// TestSoftDeleted: OpenBao has a way to take a key out of use that is no deletion.
func TestSoftDeleted(t *testing.T) {
	label := testID().Label(1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/keys/"+label) {
			_, _ = fmt.Fprintf(w, `{"data":{"name":%q,"type":"aes256-gcm96","keys":{"1":1},"soft_deleted":true}}`, label)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"errors":["the key is soft deleted"]}`)
	}))
	defer server.Close()
	c := mustOpen(t, Config{Address: server.URL, Token: fixed("t")}, testID())
	_, err := c.Unwrap(t.Context(), 1, []byte("vault:v1:AAAA"))
	if errors.Is(err, custodian.ErrBlob) || errors.Is(err, custodian.ErrDestroyed) || err == nil || !strings.Contains(err.Error(), "soft-delete-restore") {
		t.Errorf("unwrap: %v", err)
	}
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Live {
		t.Errorf("%v, %v", s.State, err)
	}
}

// TestHangs: a server that does not answer holds nobody beyond the context.
func TestHangs(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(release)
	c := mustOpen(t, Config{Address: server.URL, Token: fixed("t")}, testID())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Destroy(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("destroy: %v", err)
	}
}

// TestEndlessAnswer: what a server sends without end fills no memory.
func TestEndlessAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for chunk := []byte(strings.Repeat("x", 64<<10)); ; {
			if _, err := w.Write(chunk); err != nil {
				return // the client has gone
			}
		}
	}))
	defer server.Close()
	c := mustOpen(t, Config{Address: server.URL, Token: fixed("t")}, testID())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.Wrap(ctx, 1, custodian.Share{}); err == nil || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
}

// TestRequests looks at what is sent: token and namespace each time anew, and along a redirect of a standby.
func TestRequests(t *testing.T) {
	var seen atomic.Int64
	active := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Vault-Token") == "second" && r.Header.Get("X-Vault-Namespace") == "team" &&
			r.URL.Path == "/v1/deep/mount/encrypt/"+testID().Label(5) && strings.Contains(string(body), `"plaintext":"AQ`) {
			seen.Add(1)
		}
		_, _ = io.WriteString(w, `{"data":{"ciphertext":"vault:v1:AAAA"}}`)
	}))
	defer active.Close()
	standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, active.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer standby.Close()
	tokens := []string{"first", "second"}
	c := mustOpen(t, Config{Address: standby.URL + "/", Mount: "/deep/mount/", Namespace: "team", Token: func() (string, error) {
		token := tokens[0]
		tokens = tokens[1:]
		return token, nil
	}}, testID())
	for i, want := range []int64{0, 1} {
		if blob, err := c.Wrap(t.Context(), 5, custodian.Share{1}); err != nil || string(blob) != "vault:v1:AAAA" || seen.Load() != want {
			t.Errorf("request %d: %q, %v, seen %d", i, blob, err, seen.Load())
		}
	}
	loop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer loop.Close()
	c = mustOpen(t, Config{Address: loop.URL, Token: fixed("t")}, testID())
	if _, err := c.Status(t.Context(), 1); !errors.Is(err, custodian.ErrUnavailable) {
		t.Errorf("redirected in circles: %v", err)
	}
}

func TestTLS(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":{"ciphertext":"vault:v1:AAAA"}}`)
	})
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	server.StartTLS()
	defer server.Close()
	plain := httptest.NewServer(handler)
	defer plain.Close()
	c := mustOpen(t, Config{Address: server.URL, Token: fixed("t")}, testID())
	if _, err := c.Wrap(t.Context(), 1, custodian.Share{}); err == nil || !strings.Contains(err.Error(), "ca=FILE") {
		t.Errorf("an unknown authority: %v", err)
	}
	known := x509.NewCertPool()
	known.AddCert(server.Certificate())
	c = mustOpen(t, Config{Address: server.URL, Token: fixed("t"), RootCAs: known}, testID())
	if _, err := c.Wrap(t.Context(), 1, custodian.Share{}); err != nil {
		t.Error(err)
	}
	down := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	down.StartTLS()
	defer down.Close()
	known.AddCert(down.Certificate())
	c = mustOpen(t, Config{Address: down.URL, Token: fixed("t"), RootCAs: known}, testID())
	if _, err := c.Wrap(t.Context(), 1, custodian.Share{}); err == nil {
		t.Error("followed a redirect from https to http, with the token")
	}
}

func TestOpenRefuses(t *testing.T) {
	good := Config{Address: "https://vault.example.com:8200", Token: fixed("t")}
	if _, err := Open(good, testID()); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Config){
		"no address":       func(c *Config) { c.Address = "" },
		"no scheme":        func(c *Config) { c.Address = "vault.example.com:8200" },
		"other scheme":     func(c *Config) { c.Address = "ftp://vault.example.com" },
		"a path":           func(c *Config) { c.Address += "/v1" },
		"a user":           func(c *Config) { c.Address = "https://token:s3cret@vault.example.com" },
		"no token":         func(c *Config) { c.Token = nil },
		"mount with ..":    func(c *Config) { c.Mount = "a/../sys" },
		"mount with query": func(c *Config) { c.Mount = "a?b" },
		"class A":          func(c *Config) { c.Erasure.Class = custodian.Immediate },
		"class N":          func(c *Config) { c.Erasure.Class = custodian.Never },
		"B without delay":  func(c *Config) { c.Erasure.Class = custodian.Delayed },
		"delay only":       func(c *Config) { c.Erasure.Delay = time.Hour },
	} {
		config := good
		change(&config)
		if _, err := Open(config, testID()); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Open(good, custodian.Identity{}); err == nil {
		t.Error("opened for nobody")
	}
}
