package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// maxBatch keeps a request far below the 100 MiB at which brokers close the
// connection without an answer (socket.request.max.bytes).
const maxBatch = 64 << 20

// lane is the producing state of one partition. Holding the token allows one
// request in flight and the use of buf.
type lane struct {
	token chan struct{}
	buf   []byte
}

func (c *Client) lane(partition int) *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lanes[partition]
	if l == nil {
		l = &lane{token: make(chan struct{}, 1)}
		c.lanes[partition] = l
	}
	return l
}

// Produce appends values to a partition as one record batch with null keys
// and returns the offset of the first. When it returns nil, all in-sync
// replicas have the batch (acks=all). Values are not kept.
//
// Calls for one partition take turns, so a partition never has two requests
// in flight and order is the order of the calls. A request that fails is sent
// again until ctx ends; only denied access, a size that the broker refuses,
// an impossible topic name and a missing partition end it earlier. A time-out
// does not tell whether the broker stored the batch: sending it again may
// store it twice, later copies after the first, and a call ended by ctx may
// have stored it too. Readers drop the copies by stream sequence.
//
// The batch has to fit max.message.bytes; see BatchSize. No values: no-op.
func (c *Client) Produce(ctx context.Context, partition int, values [][]byte) (base int64, err error) {
	op := operation{name: "produce", partition: partition, offset: -1}
	if len(values) == 0 {
		return -1, nil
	}
	if size := BatchSize(values); size > maxBatch {
		return -1, c.fail(op, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, maxBatch),
			verdict{hint: "send smaller batches"})
	}
	l := c.lane(partition)
	select {
	case l.token <- struct{}{}:
		defer func() { <-l.token }()
	case <-ctx.Done():
		return -1, c.fail(op, ctx.Err(), verdict{})
	case <-c.closed:
		return -1, c.fail(op, fs.ErrClosed, verdict{})
	}
	set := appendRecordSet(l.buf[:0], time.Now(), values)
	l.buf = set
	err = c.retry(ctx, op, func(ctx context.Context) error {
		base, err = c.produceOnce(ctx, partition, set)
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			l.buf = nil // an abandoned request may still be reading it
		}
		if errors.Is(err, kafkago.InvalidTimestamp) { // of a clock that was wrong, and may be right the next time
			set = appendRecordSet(nil, time.Now(), values)
			l.buf = set
		}
		return err
	})
	if err != nil {
		return -1, err
	}
	return base, nil
}

func (c *Client) produceOnce(ctx context.Context, partition int, set []byte) (int64, error) {
	res, err := c.api.RawProduce(ctx, &kafkago.RawProduceRequest{
		Topic:        c.cfg.Topic,
		Partition:    partition,
		RequiredAcks: kafkago.RequireAll,
		RawRecords:   protocol.RawRecordSet{Reader: bytes.NewReader(set)},
	})
	if err != nil {
		return -1, err
	}
	return res.BaseOffset, res.Error
}
