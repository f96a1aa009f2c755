package testbed

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
)

// Ports are taken from below the range that the system uses for outgoing connections (32768 and up on Linux). A client
// that dials a stopped server again and again could otherwise be given that very port as its own, and even connect to
// itself, so that the server could not come back to it.
const firstPort, lastPort = 20000, 32000

// port is a port on 127.0.0.1 that no other testbed uses until it is released, also while its server is down.
type port struct {
	number  int
	release func()
}

func (p *port) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)) }

// takePorts returns n free ports.
func takePorts(n int) ([]*port, error) {
	var ports []*port
	for range n {
		p, err := takePort()
		if err != nil {
			for _, p := range ports {
				p.release()
			}
			return nil, err
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func takePort() (*port, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	const tries = 200
	for range tries {
		p := &port{number: firstPort + rand.IntN(lastPort-firstPort)}
		p.release, err = lockByte(filepath.Join(cache, "ports.lock"), int64(p.number))
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return nil, err
		}
		listener, err := net.Listen("tcp", p.addr())
		if err != nil {
			p.release()
			continue
		}
		if err := listener.Close(); err != nil {
			p.release()
			return nil, err
		}
		return p, nil
	}
	return nil, fmt.Errorf("found no free port from %d to %d in %d tries", firstPort, lastPort, tries)
}
