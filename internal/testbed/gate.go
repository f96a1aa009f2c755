package testbed

import (
	"net"
	"sync"
)

// Gate is the network before a server in this process, open at first. While it is shut nothing connects and nothing stays
// connected. Its methods are safe for concurrent use.
type Gate struct {
	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]bool
}

// Listen is net.Listen behind the gate.
func (g *Gate) Listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return gated{l, g}, nil
}

// Shut cuts all connections and lets none in, or lets them in again.
func (g *Gate) Shut(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		for c := range g.conns {
			c.Close()
		}
		clear(g.conns)
	}
}

// enter reports whether c got in.
func (g *Gate) enter(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		g.conns = map[net.Conn]bool{}
	}
	if !g.shut {
		g.conns[c] = true
	}
	return !g.shut
}

type gated struct {
	net.Listener
	gate *Gate
}

func (l gated) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.gate.enter(c) {
			return c, nil
		}
		c.Close()
	}
}
