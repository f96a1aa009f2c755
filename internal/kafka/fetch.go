package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Message is one message of a partition. Its memory belongs to the caller.
type Message struct {
	Offset   int64
	Time     time.Time // milliseconds
	Appended bool      // Time is the broker's at arrival, not the writer's
	Value    []byte
	// Err is set when the record batch at Offset passed its checksum but
	// cannot be decoded: a format before Kafka 0.11, malformed records, or a
	// decompression bomb. Value then holds the batch as the broker sent it.
	Err error
}

// Batch is the answer to one Fetch.
type Batch struct {
	Messages      []Message // in offset order, none before the offset asked for
	Next          int64     // offset to fetch next
	HighWatermark int64     // offset after the last message that consumers may see
	LogStart      int64     // first offset that still exists
}

// errGap reports an empty answer although the broker holds messages.
var errGap = errors.New("broker returned no message although the log holds some")

// Fetch reads messages of a partition from offset on. It returns as soon as
// there is one, or with none after maxWait (at most about 24 days). The
// broker sends at most about maxBytes, but always at least one whole batch;
// all values share memory of that size, plus up to 64 MiB if the broker or a
// writer compressed them.
//
// Every batch's CRC-32C is verified. Aborted transactions are not filtered,
// transaction markers are passed over (Next moves). An offset outside the log
// is ErrOutOfRange, and the Batch then still holds LogStart and HighWatermark.
// Other failures are retried for Config.Timeout.
func (c *Client) Fetch(ctx context.Context, partition int, offset int64, maxBytes int, maxWait time.Duration) (Batch, error) {
	maxWait = min(max(maxWait, 0), math.MaxInt32*time.Millisecond)
	op := operation{name: "fetch", partition: partition, offset: offset, patience: c.cfg.Timeout + maxWait}
	maxBytes = min(max(maxBytes, 1), math.MaxInt32)
	body := appendFetchRequest(nil, c.cfg.Topic, partition, offset, maxBytes, maxWait)
	var batch Batch
	err := c.retry(ctx, op, func(ctx context.Context) error {
		res, err := c.askLeader(ctx, protocol.Fetch, fetchVersion, partition, body, maxWait, maxBytes)
		if err != nil {
			return err
		}
		batch, err = decodeFetch(res, c.cfg.Topic, partition, offset)
		return err
	})
	if errors.Is(err, ErrOutOfRange) {
		// Brokers leave the bounds out of this answer.
		start, end, boundsErr := c.Offsets(ctx, partition)
		if boundsErr != nil {
			return Batch{}, errors.Join(err, boundsErr)
		}
		return Batch{Next: offset, LogStart: start, HighWatermark: end}, err
	}
	return batch, err
}

// appendFetchRequest encodes FetchRequest v11 for one partition, outside any
// fetch session, reading uncommitted.
func appendFetchRequest(b []byte, topic string, partition int, offset int64, maxBytes int, maxWait time.Duration) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, 1<<32-1) // replica: a consumer
	b = be.AppendUint32(b, uint32(maxWait.Milliseconds()))
	b = be.AppendUint32(b, 1) // min bytes
	b = be.AppendUint32(b, uint32(maxBytes))
	b = append(b, 0)                // read uncommitted
	b = be.AppendUint32(b, 0)       // session
	b = be.AppendUint32(b, 1<<32-1) // session epoch: none
	b = be.AppendUint32(b, 1)       // topics
	b = appendString(b, topic)
	b = be.AppendUint32(b, 1) // partitions
	b = be.AppendUint32(b, uint32(partition))
	b = be.AppendUint32(b, 1<<32-1) // leader epoch: unknown
	b = be.AppendUint64(b, uint64(offset))
	b = be.AppendUint64(b, 1<<64-1) // log start: for followers
	b = be.AppendUint32(b, uint32(maxBytes))
	b = be.AppendUint32(b, 0)  // forgotten topics
	return appendString(b, "") // rack
}

// decodeFetch reads FetchResponse v11 for one partition.
func decodeFetch(body []byte, topic string, partition int, offset int64) (Batch, error) {
	r := reader{b: body}
	throttle := r.int32()
	if code := r.int16(); code != 0 {
		return Batch{}, kafkago.Error(code)
	}
	r.int32() // session
	if r.array() != 1 || r.string() != topic || r.array() != 1 || int(r.int32()) != partition {
		return Batch{}, errShort
	}
	code := r.int16()
	batch := Batch{Next: offset, HighWatermark: r.int64()}
	r.int64() // last stable offset
	batch.LogStart = r.int64()
	r.take(16 * r.array()) // aborted transactions
	r.int32()              // preferred replica
	records := r.take(valueLength(int64(r.int32())))
	if r.err != nil {
		return Batch{}, fmt.Errorf("fetch: %w", r.err)
	}
	if code != 0 {
		return batch, kafkago.Error(code)
	}
	in := batchReader{b: records, from: offset, next: offset, budget: maxInflated}
	err := in.readAll()
	batch.Messages, batch.Next = in.out, in.next
	switch {
	case batch.Next > offset:
		return batch, nil // an error further on is met again at Next
	case err != nil:
		return batch, err
	case batch.HighWatermark > offset && throttle > 0:
		return batch, fmt.Errorf("%w: %w", errGap, kafkago.ThrottlingQuotaExceeded)
	case batch.HighWatermark > offset:
		return batch, errGap
	}
	return batch, nil
}
