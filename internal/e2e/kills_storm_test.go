package e2e_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// moment says when in the work of a compactor it is killed.
type moment int

const (
	anyTime      moment = iota
	beforeCommit        // the data of a segment is in the store, its commit is not
	beforeReply         // the commit is in the store, and its writer has not heard of that
	moments
)

func (m moment) String() string { return [...]string{"any time", "before commit", "before reply"}[m] }

// gateway stands between one compactor and its S3 store, passes everything on, and can kill the compactor at a moment of
// the commit protocol, which it knows by the keys of requests.
type gateway struct {
	url  string
	kill func()

	mu      sync.Mutex
	trap    moment        // anyTime: none
	sprung  chan struct{} // closed when the trap has killed
	uploads int           // objects stored by the compactor since its last commit
}

func newGateway(t *testing.T, endpoint string) *gateway {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	g := new(gateway)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // which is signed
		},
		ModifyResponse: g.answered,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isCommit(r) && g.springs(beforeCommit) {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

func isCommit(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/commits/")
}

// answered sees each answer of the store before the compactor does.
func (g *gateway) answered(r *http.Response) error {
	if r.Request.Method != http.MethodPut || r.StatusCode != http.StatusOK {
		return nil
	}
	if strings.Contains(r.Request.URL.Path, "/objects/") {
		g.mu.Lock()
		g.uploads++
		g.mu.Unlock()
		return nil
	}
	if !isCommit(r.Request) {
		return nil
	}
	if g.springs(beforeReply) {
		return errors.New("nobody is left to hear this")
	}
	g.mu.Lock()
	g.uploads = 0
	g.mu.Unlock()
	return nil
}

// springs kills the compactor if the trap is set for this moment, and if the compactor has uploaded a segment.
func (g *gateway) springs(m moment) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.trap != m || g.uploads == 0 {
		return false
	}
	g.kill()
	g.trap, g.uploads = anyTime, 0
	close(g.sprung)
	return true
}

// set sets the trap.
func (g *gateway) set(m moment) (sprung <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trap, g.sprung = m, make(chan struct{})
	return g.sprung
}

// unset takes the trap away, and reports whether that came in time.
func (g *gateway) unset() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.trap
	g.trap, g.uploads = anyTime, 0
	return was != anyTime
}

// resumeWithin is how soon after a kill every partition must be committed again.
const resumeWithin = 30 * time.Second

// storm kills the compactors of running nodes, and starts each again at once.
type storm struct {
	t          *testing.T
	nodes      []*node
	gateways   []*gateway // of the nodes; nil: kills come at any time
	partitions int
	pause      time.Duration // before the next kill

	kills   []time.Time
	by      [moments]int
	resumed time.Duration // the longest
}

// rage makes so many kills. Between two of them all partitions go on, or no compactor would live to do any work.
func (s *storm) rage(kills int) {
	s.t.Helper()
	for i := range kills {
		n := i % len(s.nodes)
		m := anyTime
		if s.gateways != nil {
			m = moment(i % int(moments))
		}
		s.kill(n, m)
		s.nodes[n].start()
		s.resume(s.kills[len(s.kills)-1])
		time.Sleep(s.pause)
	}
}

// kill kills the compactor of node n. A moment that does not come within seconds, because another node has the
// partitions just now, is none.
func (s *storm) kill(n int, m moment) {
	if m != anyTime {
		s.gateways[n].kill = s.nodes[n].kill
		sprung := s.gateways[n].set(m)
		select {
		case <-sprung:
		case <-time.After(5 * time.Second):
			if s.gateways[n].unset() {
				m = anyTime
			}
		}
	}
	at := time.Now()
	if m == anyTime {
		s.nodes[n].kill()
		if s.gateways != nil {
			s.gateways[n].unset() // what this life uploaded does not count for the next
		}
	}
	s.by[m]++
	s.kills = append(s.kills, at)
}

// resume waits until every partition has a commit that is later than a kill.
func (s *storm) resume(after time.Time) {
	s.t.Helper()
	for {
		first := make(map[int]time.Time)
		for _, n := range s.nodes {
			for _, c := range n.commits() {
				if f, ok := first[c.Partition]; c.Time.After(after) && (!ok || c.Time.Before(f)) {
					first[c.Partition] = c.Time
				}
			}
		}
		if len(first) == s.partitions {
			for p, at := range first {
				s.resumed = max(s.resumed, at.Sub(after))
				if at.Sub(after) > resumeWithin {
					s.t.Errorf("partition %d went on %v after a kill", p, at.Sub(after))
				}
			}
			return
		}
		if time.Since(after) > resumeWithin+10*time.Second {
			for _, n := range s.nodes {
				s.t.Log(tail(n.log))
			}
			s.t.Fatalf("%v after a kill only partitions %v go on", time.Since(after).Round(time.Second), first)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
