package testbed

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Option changes the service that a test asks for.
type Option func(*options)

type options struct {
	dedicated  bool
	properties map[string]string
	users      []Credentials
}

// Credentials are a name and a password, both of letters, digits, '.', '_' and '-'.
type Credentials struct{ User, Password string }

// Dedicated asks for a service of the test's own. It is stopped when the test ends, and only a dedicated one may be
// stopped, killed and started again by the test.
func Dedicated() Option { return func(o *options) { o.dedicated = true } }

// Property sets one property of the broker, such as "message.max.bytes". Kafka only.
func Property(key, value string) Option {
	return func(o *options) { o.properties[key] = value }
}

// Users turns authentication and authorisation on: the listener takes SASL (PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512)
// without TLS, and a user may do nothing that no ACL allows it. [Broker.Admin] may do everything, ACLs included.
// Kafka only.
func Users(users ...Credentials) Option {
	return func(o *options) { o.users = append(o.users, users...) }
}

func collect(opts []Option) options {
	o := options{properties: map[string]string{}}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// key tells apart the shared services of one kind.
func (o options) key() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(o.properties)) {
		fmt.Fprintf(&b, " %s=%s", k, o.properties[k])
	}
	fmt.Fprintf(&b, " %v", o.users)
	return b.String()
}

// Name returns a new name that no other test has and that is valid for a Kafka topic and for an S3 bucket: at most 53
// lower-case letters, digits and '-', beginning with the test's name as far as that can be spelled with them.
func Name(t testing.TB) string {
	slug := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(t.Name()))
	slug = strings.Trim(slug[:min(len(slug), 40)], "-")
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails, by its documentation
	return slug + "-" + hex.EncodeToString(random[:])
}

// Long reports whether long runs were asked for with STELE_LONG=1, as "make test-long" does. Tests choose their sizes
// by it; none leaves out what it proves.
func Long() bool { return os.Getenv("STELE_LONG") == "1" }

// unavailable ends a test whose service cannot be had on this machine.
func unavailable(t testing.TB, service string, err error) {
	t.Helper()
	if inCI() {
		t.Fatalf("testbed: %s is not available: %v", service, err)
	}
	t.Skipf("testbed: %s is not available: %s", service, oneLine(err))
}

// oneLine is err without the output of the command that failed, which is kept for CI.
func oneLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func inCI() bool { return os.Getenv("CI") == "true" }

// shared holds the running services that the tests of this test binary share. It is a global because tests have nothing
// in common but their process: starting a broker for each of them would cost seconds every time.
var shared registry

// Main runs the tests, stops the shared services, and returns the exit code. It is for TestMain.
func Main(m *testing.M) int {
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		return max(code, 1)
	}
	return code
}

// registry starts each shared service once. The zero registry is empty and ready.
type registry struct {
	mu       sync.Mutex // guards the fields below, not what happens inside an entry
	dir      *runDir
	services map[string]*entry
}

type entry struct {
	once   sync.Once
	value  any
	server *Server
	err    error
}

// get returns the service under key, which the first caller starts in a directory of its own. A failed start is not
// tried again: every caller gets the same error.
func (r *registry) get(key string, start func(dir string) (any, *Server, error)) (any, error) {
	r.mu.Lock()
	if r.dir == nil {
		dir, err := newRunDir()
		if err != nil {
			r.mu.Unlock()
			return nil, err
		}
		r.dir, r.services = dir, map[string]*entry{}
	}
	e := r.services[key]
	if e == nil {
		e = new(entry)
		r.services[key] = e
	}
	parent := r.dir.path
	r.mu.Unlock()

	e.once.Do(func() {
		var dir string
		if dir, e.err = os.MkdirTemp(parent, ""); e.err == nil {
			e.value, e.server, e.err = start(dir)
		}
	})
	return e.value, e.err
}

// close stops all services and removes their directories.
func (r *registry) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, e := range r.services {
		if e.server != nil {
			errs = append(errs, e.server.stop())
		}
	}
	if r.dir != nil {
		errs = append(errs, r.dir.remove())
	}
	r.dir, r.services = nil, nil
	return errors.Join(errs...)
}

// serve returns the service that a test asked for: a dedicated one that ends with the test, or the shared one. When the
// test fails, the end of the server's log is shown.
func serve[T any](t testing.TB, kind string, o options, start func(dir string) (T, *Server, error)) T {
	t.Helper()
	if o.dedicated {
		value, server, err := start(t.TempDir())
		if err != nil {
			t.Fatalf("testbed: %v", err)
		}
		t.Cleanup(func() {
			server.logIfFailed(t)
			if err := server.stop(); err != nil {
				t.Errorf("testbed: %v", err)
			}
		})
		return value
	}
	value, err := shared.get(kind+o.key(), func(dir string) (any, *Server, error) {
		value, server, err := start(dir)
		if server != nil {
			server.shared = true
		}
		return sharedService[T]{value, server}, server, err
	})
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	service := value.(sharedService[T])
	t.Cleanup(func() { service.server.logIfFailed(t) })
	return service.value
}

type sharedService[T any] struct {
	value  T
	server *Server
}
