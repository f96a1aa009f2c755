package logpipe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/kafka"
)

// producer is what is needed of a topic.
type producer interface {
	Produce(ctx context.Context, partition int, values [][]byte) (base int64, err error)
}

// brokers are the two topics of a destination: frames, and grants with one partition.
type brokers struct {
	frames, grants producer
	clients        [2]*kafka.Client // nil in tests
	partitions     uint32
}

const grantsSuffix = ".grants"

func openBrokers(set *settings) (*brokers, error) {
	cfg, err := kafka.ParseURL(set.To)
	if err != nil {
		return nil, err
	}
	if set.TLS != nil {
		cfg.TLS = set.TLS
	}
	if set.SASL != nil {
		cfg.SASL = mechanism{set.SASL}
	} else if err := cfg.Login(set.Username, set.Password); err != nil {
		return nil, err
	}
	cfg.Logger = set.Logger
	frames, err := kafka.Open(cfg)
	if err != nil {
		return nil, err
	}
	cfg.Topic += grantsSuffix
	grants, err := kafka.Open(cfg)
	if err != nil {
		return nil, errors.Join(err, frames.Close())
	}
	return &brokers{frames: frames, grants: grants, clients: [2]*kafka.Client{frames, grants}, partitions: set.writer.Partitions}, nil
}

func (b *brokers) close() {
	for _, c := range b.clients {
		if c != nil {
			c.Close()
		}
	}
}

// check asks whether both topics are as the archive needs them.
func (b *brokers) check(ctx context.Context) error {
	topic, err := b.clients[0].Check(ctx)
	if err != nil {
		return err
	}
	if topic.Partitions() != int(b.partitions) {
		return fmt.Errorf("topic %s has %d partitions, the credential says %d; streams are bound to partitions for life: make a topic with %d, or take the credential of this topic's archive",
			topic.Name, topic.Partitions(), b.partitions, b.partitions)
	}
	if s := topic.Settings; s != nil && s.MaxMessageBytes < frame.MaxLen+4096 {
		return fmt.Errorf("topic %s takes messages of %d bytes, frames have up to %d: set max.message.bytes to at least 1048588",
			topic.Name, s.MaxMessageBytes, frame.MaxLen)
	}
	_, err = b.clients[1].Check(ctx)
	return err
}

// How long Open waits for brokers before it starts without them: for the first sign of life, and, when there was one, for
// all that it asks. Slow brokers must not hide from Open that they refuse the credentials.
const (
	signTime  = 3 * time.Second
	checkTime = 15 * time.Second
)

// reachable is check for Open: an outage is no error, a refusal is one, however late it comes.
func (b *brokers) reachable(ctx context.Context) (outage, err error) {
	bounded, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	silence := time.AfterFunc(signTime, func() {
		if !b.answered() {
			cancel()
		}
	})
	defer silence.Stop()
	err = b.check(bounded)
	var failed *kafka.Error
	passes := bounded.Err() != nil || errors.As(err, &failed) && failed.Outage
	if ctx.Err() == nil && passes && !errors.Is(err, kafka.ErrDenied) {
		return err, nil
	}
	return nil, err
}

// answered says whether a broker has answered at all.
func (b *brokers) answered() bool {
	return b.clients[0].Answered() || b.clients[1].Answered()
}

// sendFrames and sendGrants return nil when all in-sync replicas have the messages. They try again until ctx ends or the
// cluster says that there is no use in it.
func (b *brokers) sendFrames(ctx context.Context, partition int, messages [][]byte) error {
	return send(ctx, b.frames, partition, messages)
}

func (b *brokers) sendGrants(ctx context.Context, messages [][]byte) error {
	return send(ctx, b.grants, 0, messages)
}

// send cuts messages into batches that brokers take: a topic that has room for any message need not have it for maxBatch.
func send(ctx context.Context, p producer, partition int, messages [][]byte) error {
	for limit := maxBatch; len(messages) > 0; {
		n, bytes := 0, 0
		for n < len(messages) && (n == 0 || bytes+len(messages[n]) <= limit) {
			bytes += len(messages[n])
			n++
		}
		_, err := p.Produce(ctx, partition, messages[:n])
		switch {
		case err == nil:
			messages = messages[n:]
		case n > 1 && errors.Is(err, kafka.ErrTooLarge):
			limit = bytes / 2
		default:
			return err
		}
	}
	return nil
}

// mechanism makes a SASL what the client wants.
type mechanism struct{ SASL }

func (m mechanism) Start(ctx context.Context) (kafka.Session, []byte, error) {
	next, initial, err := m.SASL.Start(ctx)
	return exchange(next), initial, err
}

type exchange func(ctx context.Context, challenge []byte) (bool, []byte, error)

func (e exchange) Next(ctx context.Context, challenge []byte) (bool, []byte, error) {
	return e(ctx, challenge)
}
