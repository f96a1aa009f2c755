package logpipe

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/sealhook"
	"github.com/stelelog/stele/internal/spool"
)

// Pipe captures records and carries them, sealed, to an archive. Its methods are safe for concurrent use. A service needs
// one Pipe for its life.
type Pipe struct {
	set       *settings
	memory    *memory
	spool     *spool.Dir // nil if there is none
	brokers   *brokers   // nil for file://
	streams   []*stream
	carry     []transport // of the streams
	shards    []*shard    // of all streams
	perStream int         // shards
	seed      maphash.Seed
	named     map[string]*class
	unnamed   *class // of the class "default"
	other     *class // of classes that the configuration does not name
	closed    atomic.Bool
	waits     atomic.Uint64

	closing  sync.Once
	closeErr error
	ended    chan struct{}      // closed when Close has done what it could
	cancel   context.CancelFunc // ends the transports
	carried  sync.WaitGroup
}

// class is how records of a class are treated.
type class struct {
	durability Durability
	onFull     OnFull
	wait       time.Duration
}

const defaultWait = 100 * time.Millisecond

func newClass(c ClassConfig) *class {
	if c.Wait == 0 {
		c.Wait = defaultWait
	}
	return &class{c.Durability, c.OnFull, c.Wait}
}

// Open starts a pipe. When it returns nil, the credential and the directories are usable, the topics are as the archive
// needs them or their brokers do not answer, and the streams are open. Brokers that refuse the password, or lack a right
// or a topic, are an error. For brokers that are silent Open waits 3 s, for slow ones 15 s; then it goes on without them.
// The context bounds Open only. Only Open starts goroutines; Close ends them.
func Open(ctx context.Context, cfg Config) (*Pipe, error) {
	return open(ctx, cfg, (*Pipe).newTransport)
}

// open is Open with the transports that make makes.
func open(ctx context.Context, cfg Config, make func(*Pipe, *stream) (transport, error)) (*Pipe, error) {
	set, err := cfg.settle()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, &OpError{"open", "", err}
	}
	p := newPipe(set)
	if err = p.open(ctx); err == nil {
		err = p.connect(sealhook.From(ctx), make)
	}
	if err != nil {
		p.abort()
		return nil, err
	}
	p.start()
	return p, nil
}

const maxShards = 64

func newPipe(set *settings) *Pipe {
	p := &Pipe{set: set, seed: maphash.MakeSeed(), named: map[string]*class{}, other: newClass(set.Default),
		ended: make(chan struct{})}
	p.perStream = max(1, min(runtime.GOMAXPROCS(0), maxShards/set.Streams))
	p.memory = newMemory(set.Memory, p.perStream*set.Streams)
	for name, c := range set.Classes {
		p.named[name] = newClass(c)
	}
	p.unnamed = p.class(defaultClass)
	return p
}

// weakest is the weakest durability that any class has.
func (s *settings) weakest() keyscope.Durability {
	least := s.Default.Durability
	for _, c := range s.Classes {
		least = min(least, c.Durability)
	}
	return keyscope.Memory + keyscope.Durability(least)
}

func (p *Pipe) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	for i, s := range p.streams {
		t := p.carry[i]
		go s.run()
		p.carried.Go(func() { t.run(ctx) })
	}
}

// abort undoes an Open that failed.
func (p *Pipe) abort() {
	for _, t := range p.carry {
		t.abort()
	}
	for _, s := range p.streams {
		s.slot.close()
		s.sealer.codec.Close()
	}
	if p.brokers != nil {
		p.brokers.close()
	}
}

// ask hands a request to a stream and waits for its ticket.
func (p *Pipe) ask(ctx context.Context, s *stream, r *request) error {
	select {
	case s.requests <- r:
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.await(ctx, r.ticket)
}

// await waits for a ticket, as long as the pipe can still get on.
func (p *Pipe) await(ctx context.Context, t *ticket) error {
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ended:
	}
	select {
	case <-t.done:
		return t.err
	default:
		return &OpError{"close", "", fmt.Errorf("%w before this was on stable storage", ErrClosed)}
	}
}

// Flush seals everything captured before and returns when that is on stable storage: acknowledged by the brokers, or
// synced to the spool.
func (p *Pipe) Flush(ctx context.Context) error {
	errs := make([]error, len(p.streams))
	var wg sync.WaitGroup
	for i, s := range p.streams {
		wg.Go(func() { errs[i] = p.ask(ctx, s, newRequest()) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return &OpError{"flush", "", err}
	}
	return nil
}

// Close seals what was captured, closes the streams and ends all goroutines, within the time that ctx gives. What is not
// sealed then is declared as lost; what is sealed but not acknowledged stays in the spool, if there is one. Who still
// waits for a durability gets an error. An error says what could not be done. Later calls return the same.
func (p *Pipe) Close(ctx context.Context) error {
	p.closing.Do(func() {
		p.closeErr = p.close(ctx)
		close(p.ended)
	})
	return p.closeErr
}

const (
	closeGrace = 200 * time.Millisecond // what a transport gets after the deadline to put away what it holds
	sealGrace  = 2 * time.Second        // what a stream gets to declare what it has not sealed; only a hook takes longer
)

func (p *Pipe) close(ctx context.Context) error {
	p.closed.Store(true)
	sealed := ended(ctx, sealGrace, func() {
		for _, s := range p.streams {
			r := newRequest()
			r.expired = ctx.Done()
			if r.expired == nil {
				r.expired = make(chan struct{})
			}
			s.requests <- r
		}
		for _, s := range p.streams {
			<-s.done
		}
	})
	stop := context.AfterFunc(ctx, p.cancel)
	ended(ctx, closeGrace, p.carried.Wait)
	stop()
	p.cancel()
	err := p.release(ctx)
	if !sealed {
		err = errors.Join(&OpError{"close", "", fmt.Errorf("a stream did not close, because Config.Redact has not returned: %w", ctx.Err())}, err)
	}
	return err
}

// ended runs f and says whether it ended, which it has until ctx ends and a grace more.
func ended(ctx context.Context, grace time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-done:
		return true
	case <-time.After(grace):
		return false
	}
}

// release gives up the state directory and tells what is left.
func (p *Pipe) release(ctx context.Context) error {
	if p.brokers != nil {
		p.brokers.close()
	}
	left := 0
	for _, s := range p.streams {
		left += s.out.size()
		s.slot.close()
	}
	if left > 0 {
		return &OpError{"close", "", fmt.Errorf("%d bytes of sealed records were not acknowledged: %w", left, ctx.Err())}
	}
	return nil
}
