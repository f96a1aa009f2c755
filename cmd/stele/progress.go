package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells a person at a terminal how far something is. Elsewhere it is silent. It is safe for concurrent use.
type progress struct {
	w    io.Writer // nil: silent
	what string

	mu    sync.Mutex
	begun time.Time
	shown time.Time
}

const redraw = 100 * time.Millisecond

func (a *app) progress(what string) *progress {
	p := &progress{what: what, begun: time.Now()}
	if terminal(a.stderr) && !a.json {
		p.w = a.stderr
	}
	return p
}

// leaves shows that done of total leaves are finished.
func (p *progress) leaves(done, total uint64) {
	p.draw("%s %3d%%  %s of %s", p.what, done*100/max(total, 1), grouped(done), count(total, "leaf"))
}

// records shows that n records are finished.
func (p *progress) records(n uint64) { p.draw("%s %s", p.what, count(n, "record")) }

func (p *progress) draw(format string, args ...any) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.shown) >= redraw {
		p.shown = now
		fmt.Fprintf(p.w, "\r\x1b[K%s  %s", fmt.Sprintf(format, args...), now.Sub(p.begun).Round(time.Second))
	}
}

// end takes the line away.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
