package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

const (
	defaultTimeout  = 10 * time.Second
	defaultClientID = "stele"
	dialTimeout     = 5 * time.Second
	metadataTTL     = 30 * time.Second
)

// Config says which topic of which cluster a Client talks to.
type Config struct {
	Brokers  []string      // host:port of any brokers of the cluster; at least one
	Topic    string        // the only topic that the client ever names
	TLS      *tls.Config   // nil: plain TCP; ServerName is filled in per broker when empty
	SASL     Mechanism     // nil: no authentication
	SASLName string        // mechanism that a URL asks for; Login turns it into SASL
	ClientID string        // shown in broker logs and quotas; default "stele"
	Timeout  time.Duration // bound on one request, and on retries of everything but Produce; default 10 s
	Logger   *slog.Logger  // nil: silent. Never receives payloads or secrets

	user string // of Login, for errors
}

// Client talks to one topic. All methods may be called concurrently.
type Client struct {
	cfg       Config
	log       *slog.Logger
	transport *kafkago.Transport
	api       *kafkago.Client
	lastID    atomic.Int32 // correlation ids of our own requests
	answered  atomic.Bool  // a broker has sent something
	closed    chan struct{}
	closeOnce sync.Once

	mu      sync.Mutex
	epoch   int                 // counts refreshes of connections and metadata
	lanes   map[int]*lane       // producing state by partition
	members map[string]groupGen // live group membership by group, for Hint
}

// Open checks cfg and returns a client. It does not connect: the first call
// that needs the cluster does, so that a service starts while it is down.
func Open(cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	c := &Client{
		cfg:     cfg,
		log:     cfg.Logger.With("topic", cfg.Topic),
		closed:  make(chan struct{}),
		lanes:   make(map[int]*lane),
		members: make(map[string]groupGen),
	}
	if cfg.SASL != nil && cfg.TLS == nil && cfg.SASL.Name() == saslPlain {
		c.log.Warn("the Kafka password is sent in clear: sasl=plain without tls=true")
	}
	c.transport = &kafkago.Transport{
		Dial:           dialer(dialTimeout, cfg.Timeout, &c.answered),
		DialTimeout:    dialTimeout,
		ClientID:       cfg.ClientID,
		TLS:            cfg.TLS,
		SASL:           kafkaSASL(cfg.SASL),
		MetadataTTL:    metadataTTL,
		MetadataTopics: []string{cfg.Topic},
	}
	c.api = &kafkago.Client{
		Addr:      kafkago.TCP(cfg.Brokers...),
		Timeout:   cfg.Timeout,
		Transport: c.transport,
	}
	return c, nil
}

func (c *Config) check() error {
	if len(c.Brokers) == 0 {
		return configError("no broker is named", "name at least one as host:port")
	}
	if err := checkTopicName(c.Topic); err != nil {
		return configError(err.Error(), "")
	}
	if c.SASLName != "" && c.SASL == nil {
		return configError("sasl="+c.SASLName+" needs credentials",
			"set STELE_KAFKA_USERNAME and STELE_KAFKA_PASSWORD")
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.ClientID == "" {
		c.ClientID = defaultClientID
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Close ends retries that are waiting and closes idle connections; calls made
// after it fail with fs.ErrClosed. It does not wait for calls in flight.
func (c *Client) Close() error {
	c.closeOnce.Do(func() { close(c.closed) })
	c.transport.CloseIdleConnections()
	return nil
}

// Answered says whether any broker has sent anything to this client: if so, a
// call that fails with a time-out met a slow cluster, if not, perhaps none.
func (c *Client) Answered() bool { return c.answered.Load() }

// currentEpoch identifies the set of connections and the metadata in use.
func (c *Client) currentEpoch() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// refresh drops all connections and cached metadata, unless another caller
// already did so after seen was read. kafka-go has no other way to ask for
// new metadata before its time to live ends.
func (c *Client) refresh(seen int) {
	c.mu.Lock()
	stale := c.epoch == seen
	if stale {
		c.epoch++
	}
	c.mu.Unlock()
	if stale {
		c.transport.CloseIdleConnections()
	}
}

func (c *Client) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// operation names a call in errors and bounds its retries.
type operation struct {
	name      string
	partition int           // -1: the topic as a whole
	offset    int64         // -1: none
	patience  time.Duration // 0: retry until the context ends
	failed    func(error)   // told of each failure that is tried again; nil: nobody
}

func (o *operation) tell(err error) {
	if o.failed != nil {
		o.failed(err)
	}
}

func (c *Client) topicOp(name string) operation {
	return operation{name: name, partition: -1, offset: -1, patience: c.cfg.Timeout}
}

// retry calls try until it succeeds, fails for good, the operation's patience
// or the context ends, or the client is closed.
func (c *Client) retry(ctx context.Context, op operation, try func(context.Context) error) error {
	start := time.Now()
	var cause error // the newest failure that is not just the end of ctx
	var refusals refusals
	for attempt := 1; ; attempt++ {
		if c.isClosed() {
			return c.fail(op, fs.ErrClosed, verdict{})
		}
		epoch := c.currentEpoch()
		err := try(ctx)
		if err == nil {
			c.logRecovery(op, attempt, start)
			return nil
		}
		err = c.diagnose(ctx, op, err)
		if end := ctx.Err(); end != nil && errors.Is(err, end) {
			return c.interrupted(ctx, op, cause, attempt, start)
		}
		cause = err
		v := judge(err)
		if !v.retry || refusals.final(v) || op.patience > 0 && time.Since(start) >= op.patience {
			return c.fail(op, err, v)
		}
		op.tell(c.fail(op, err, v))
		c.logRetry(op, attempt, v, err)
		if v.refresh {
			c.refresh(epoch)
		}
		if !c.pause(ctx, attempt) && !c.isClosed() {
			return c.interrupted(ctx, op, cause, attempt, start)
		}
	}
}

// interrupted joins the end of ctx with the failure that was being retried.
func (c *Client) interrupted(ctx context.Context, op operation, cause error, attempts int, start time.Time) error {
	if cause == nil {
		return c.fail(op, ctx.Err(), verdict{})
	}
	return c.fail(op, fmt.Errorf("%w after %d attempts in %s: %w", ctx.Err(), attempts,
		time.Since(start).Round(time.Millisecond), cause), judge(cause))
}

// attempt runs one request under the request timeout plus extra.
func (c *Client) attempt(ctx context.Context, extra time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.cfg.Timeout+extra)
}

func (c *Client) logRetry(op operation, attempt int, v verdict, err error) {
	// The first failure and then about every half minute at the longest pause.
	if attempt == 1 || attempt%20 == 0 {
		c.log.Warn("kafka: retrying", "op", op.name, "partition", op.partition,
			"attempt", attempt, "error", err, "hint", v.hint)
	}
}

func (c *Client) logRecovery(op operation, attempt int, start time.Time) {
	if attempt > 1 {
		c.log.Info("kafka: recovered", "op", op.name, "partition", op.partition,
			"attempts", attempt, "after", time.Since(start).Round(time.Millisecond))
	}
}

// dialer returns a dial function whose connections always have a deadline:
// kafka-go clears deadlines before it authenticates, and a broker that hangs
// there would otherwise hold a connection for ever.
// They set answered when they receive something.
func dialer(timeout, limit time.Duration, answered *atomic.Bool) func(context.Context, string, string) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		bounded := &boundedConn{Conn: conn, limit: limit, answered: answered}
		return bounded, bounded.SetDeadline(time.Time{})
	}
}

// boundedConn replaces "no deadline" by one that is limit away.
type boundedConn struct {
	net.Conn
	limit    time.Duration
	answered *atomic.Bool
}

func (b *boundedConn) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if n > 0 && !b.answered.Load() {
		b.answered.Store(true)
	}
	return n, err
}

func (b *boundedConn) bound(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now().Add(b.limit)
	}
	return t
}

func (b *boundedConn) SetDeadline(t time.Time) error      { return b.Conn.SetDeadline(b.bound(t)) }
func (b *boundedConn) SetReadDeadline(t time.Time) error  { return b.Conn.SetReadDeadline(b.bound(t)) }
func (b *boundedConn) SetWriteDeadline(t time.Time) error { return b.Conn.SetWriteDeadline(b.bound(t)) }
