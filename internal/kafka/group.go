package kafka

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// A member that dies is noticed after sessionTimeout; the others hear of it
// with their next heartbeat and join again at once.
const (
	sessionTimeout    = 8 * time.Second // brokers demand at least 6 s by default
	heartbeatInterval = 2 * time.Second
	rebalanceTimeout  = 8 * time.Second
	joinBackoff       = time.Second
	groupTimeout      = 5 * time.Second
	leaveGrace        = 2 * time.Second
)

// RunGroup takes part in a consumer group, only to share the partitions of
// the topic among processes: it neither reads nor commits offsets. It calls
// onAssign with this member's partitions, ascending and possibly none, each
// time the assignment changes. The context given to onAssign ends with the
// assignment, and onAssign must then return promptly: the group waits at most
// 8 s before it gives the partitions to others, so two processes may overlap
// for a moment and the store's create-only write has to decide between them.
// The partitions of a process that died move within about 12 s.
//
// RunGroup blocks until ctx ends (and returns ctx.Err() after leaving the
// group), until onAssign fails (and returns its error), or until access is
// denied. It fails at once if the topic does not exist. If onAssign returns
// nil early, membership goes on. Outages are waited out. Close does not end it.
//
// state, if not nil, is told of each failure to get into the group, which is tried again, and nil with each assignment.
func (c *Client) RunGroup(ctx context.Context, group string, state func(error), onAssign func(ctx context.Context, partitions []int) error) error {
	op := operation{name: "group " + group, partition: -1, offset: -1, failed: state}
	// The group's own look at the topic would create it where brokers do that.
	err := c.retry(ctx, op, func(ctx context.Context) error {
		_, err := c.existing(ctx, op)
		return err
	})
	if err != nil {
		return err
	}
	conns := &connSet{dial: dialer(dialTimeout, c.cfg.Timeout, &c.answered), open: make(map[*trackedConn]struct{})}
	cg, err := kafkago.NewConsumerGroup(c.groupConfig(group, conns))
	if err != nil {
		return c.fail(op, err, verdict{})
	}
	defer func() {
		// Close waits for a join in progress, which can take long.
		timer := time.AfterFunc(leaveGrace, conns.closeAll)
		defer timer.Stop()
		cg.Close()
		c.setMember(group, nil)
	}()
	return c.followGroup(ctx, op, cg, group, onAssign)
}

// followGroup starts one generation after the other.
func (c *Client) followGroup(ctx context.Context, op operation, cg *kafkago.ConsumerGroup, group string,
	onAssign func(context.Context, []int) error) error {
	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var refusals refusals
	for attempt := 1; ; attempt++ {
		gen, err := cg.Next(run)
		if run.Err() != nil {
			return context.Cause(run)
		}
		if err != nil {
			v := judge(err)
			if !errors.Is(err, kafkago.RebalanceInProgress) {
				op.tell(c.fail(op, err, v))
				c.logRetry(op, attempt, v, err)
			}
			if final := refusals.final(v); v.sentinel == ErrDenied && (!v.retry || final) {
				return c.fail(op, err, v)
			}
			continue
		}
		attempt, refusals.n = 0, 0
		op.tell(nil)
		c.startGeneration(run, stop, group, gen, onAssign)
	}
}

// startGeneration runs onAssign until the generation ends. kafka-go ends a
// generation when any function that it started returns.
func (c *Client) startGeneration(run context.Context, stop context.CancelCauseFunc, group string,
	gen *kafkago.Generation, onAssign func(context.Context, []int) error) {
	partitions := make([]int, 0, len(gen.Assignments[c.cfg.Topic]))
	for _, a := range gen.Assignments[c.cfg.Topic] {
		partitions = append(partitions, a.ID)
	}
	slices.Sort(partitions)
	c.setMember(group, gen)
	c.log.Info("kafka: group assignment", "group", group, "generation", gen.ID, "partitions", partitions)
	gen.Start(func(ended context.Context) {
		ctx, cancel := context.WithCancel(run)
		defer cancel()
		defer context.AfterFunc(ended, cancel)()
		if err := onAssign(ctx, partitions); err != nil && ctx.Err() == nil {
			stop(err)
		}
		<-ctx.Done()
		c.setMember(group, nil)
	})
}

// setMember notes the generation that this process is in; nil: none.
func (c *Client) setMember(group string, gen *kafkago.Generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gen == nil {
		delete(c.members, group)
		return
	}
	c.members[group] = groupGen{generation: int(gen.ID), member: gen.MemberID}
}

func (c *Client) groupConfig(group string, conns *connSet) kafkago.ConsumerGroupConfig {
	return kafkago.ConsumerGroupConfig{
		ID:      group,
		Brokers: c.cfg.Brokers,
		Topics:  []string{c.cfg.Topic},
		Dialer: &kafkago.Dialer{
			ClientID:      c.cfg.ClientID,
			DialFunc:      conns.dialContext,
			Timeout:       dialTimeout,
			TLS:           c.cfg.TLS,
			SASLMechanism: kafkaSASL(c.cfg.SASL),
		},
		GroupBalancers:    []kafkago.GroupBalancer{kafkago.RangeGroupBalancer{}},
		SessionTimeout:    sessionTimeout,
		HeartbeatInterval: heartbeatInterval,
		RebalanceTimeout:  rebalanceTimeout,
		JoinGroupBackoff:  joinBackoff,
		Timeout:           groupTimeout,
	}
}

// connSet remembers open connections so that blocked calls can be cut off.
type connSet struct {
	dial func(context.Context, string, string) (net.Conn, error)

	mu     sync.Mutex
	open   map[*trackedConn]struct{}
	closed bool
}

type trackedConn struct {
	net.Conn
	set *connSet
}

func (s *connSet) dialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := s.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	t := &trackedConn{Conn: conn, set: s}
	s.open[t] = struct{}{}
	return t, nil
}

// Close closes the connection and forgets it.
func (t *trackedConn) Close() error {
	t.set.mu.Lock()
	delete(t.set.open, t)
	t.set.mu.Unlock()
	return t.Conn.Close()
}

// closeAll closes every connection and fails later dials.
func (s *connSet) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for t := range s.open {
		t.Conn.Close()
	}
	clear(s.open)
}
