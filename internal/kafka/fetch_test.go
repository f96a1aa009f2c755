package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func produce(t testing.TB, c *Client, partition int, values [][]byte) {
	t.Helper()
	if _, err := c.Produce(within(t, patience), partition, values); err != nil {
		t.Fatal(err)
	}
}

func TestFetchFromInsideABatch(t *testing.T) {
	c := openFake(t, fake(t))
	produce(t, c, 0, numbered(0, 10))
	batch, err := c.Fetch(t.Context(), 0, 7, 1<<20, time.Second)
	must(t, err)
	if len(batch.Messages) != 3 || batch.Messages[0].Offset != 7 || batch.Next != 10 || batch.HighWatermark != 10 || batch.LogStart != 0 {
		t.Fatalf("got %+v", batch)
	}
	for i, m := range batch.Messages { // the memory is ours: appending to one must not touch the next
		_ = append(m.Value, "overwrite"...)
		if string(m.Value) != string(numbered(7+i, 1)[0]) {
			t.Fatalf("message %d is %q", i, m.Value)
		}
	}
}

func TestFetchSmallLimit(t *testing.T) {
	c := openFake(t, fake(t))
	produce(t, c, 0, [][]byte{make([]byte, 100_000)})
	batch, err := c.Fetch(t.Context(), 0, 0, 1, time.Second)
	must(t, err)
	if len(batch.Messages) != 1 || len(batch.Messages[0].Value) != 100_000 {
		t.Fatalf("%d messages", len(batch.Messages))
	}
}

func TestFetchWaits(t *testing.T) {
	c := openFake(t, fake(t))
	start := time.Now()
	batch, err := c.Fetch(t.Context(), 0, 0, 1<<20, 300*time.Millisecond)
	must(t, err)
	if len(batch.Messages) != 0 || batch.Next != 0 || time.Since(start) < 250*time.Millisecond {
		t.Fatalf("%d messages after %v", len(batch.Messages), time.Since(start))
	}
	time.AfterFunc(200*time.Millisecond, func() { produce(t, c, 0, numbered(0, 1)) })
	start = time.Now()
	batch, err = c.Fetch(t.Context(), 0, 0, 1<<20, 2*patience)
	must(t, err)
	if len(batch.Messages) != 1 || time.Since(start) > patience {
		t.Fatalf("%d messages after %v", len(batch.Messages), time.Since(start))
	}
	_, err = c.Fetch(within(t, 100*time.Millisecond), 0, 1, 1<<20, time.Minute)
	wantError(t, err, context.DeadlineExceeded)
}

func TestFetchOutOfRange(t *testing.T) {
	c := openFake(t, fake(t))
	produce(t, c, 0, numbered(0, 10))
	start, err := c.DeleteRecords(t.Context(), 0, 4)
	must(t, err)
	if start != 4 {
		t.Fatalf("log start %d", start)
	}
	for _, offset := range []int64{0, 3, 11, math.MaxInt64} {
		batch, err := c.Fetch(t.Context(), 0, offset, 1<<20, time.Second)
		wantError(t, err, ErrOutOfRange)
		var typed *Error
		if !errors.As(err, &typed) || typed.Offset != offset || batch.LogStart != 4 || batch.HighWatermark != 10 {
			t.Fatalf("offset %d: %+v, %v", offset, batch, err)
		}
	}
}

func TestFetchRetries(t *testing.T) {
	cluster := fake(t, kfake.NumBrokers(3))
	c := openFake(t, cluster)
	for i := range 6 {
		must(t, cluster.MoveTopicPartition(testTopic, 0, int32(i%3)))
		produce(t, c, 0, numbered(i, 1))
		must(t, cluster.MoveTopicPartition(testTopic, 0, int32((i+1)%3)))
		batch, err := c.Fetch(within(t, patience), 0, int64(i), 1<<20, time.Second)
		must(t, err)
		if len(batch.Messages) != 1 {
			t.Fatalf("round %d: %d messages", i, len(batch.Messages))
		}
	}
	h := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.LeaderNotAvailable, Count: -1})
	start := time.Now()
	_, err := c.Fetch(t.Context(), 0, 0, 1<<20, 0)
	if err == nil || time.Since(start) < c.cfg.Timeout || h.Hits() < 3 {
		t.Fatalf("gave up after %v and %d attempts: %v", time.Since(start), h.Hits(), err)
	}
}

// fetchResponse lays out a FetchResponse v11 body.
func fetchResponse(throttle int32, code int16, high int64, records []byte) []byte {
	be := binary.BigEndian
	b := be.AppendUint32(nil, uint32(throttle))
	b = append(b, make([]byte, 2+4)...)
	b = appendString(be.AppendUint32(b, 1), testTopic)
	b = be.AppendUint32(b, 1)
	b = be.AppendUint32(b, 0) // partition
	b = be.AppendUint16(b, uint16(code))
	b = be.AppendUint64(b, uint64(high))
	b = be.AppendUint64(b, uint64(high))
	b = be.AppendUint64(b, 0) // log start
	b = be.AppendUint32(b, 1<<32-1)
	b = be.AppendUint32(b, 1<<32-1)
	b = be.AppendUint32(b, uint32(len(records)))
	return append(b, records...)
}

func TestDecodeFetch(t *testing.T) {
	records := batchOf(t, 5, compress.None, 0, []byte("x"))
	batch, err := decodeFetch(fetchResponse(0, 0, 6, records), testTopic, 0, 5)
	if err != nil || len(batch.Messages) != 1 || batch.Next != 6 {
		t.Fatalf("%+v, %v", batch, err)
	}
	if _, err = decodeFetch(fetchResponse(0, 0, 9, nil), testTopic, 0, 5); !errors.Is(err, errGap) {
		t.Fatalf("no message below the high watermark: %v", err)
	}
	if _, err = decodeFetch(fetchResponse(100, 0, 9, nil), testTopic, 0, 5); !errors.Is(err, errGap) || !judge(err).retry {
		t.Fatalf("throttled: %v", err)
	}
	if _, err = decodeFetch(fetchResponse(0, 0, 5, nil), testTopic, 0, 5); err != nil {
		t.Fatalf("at the end: %v", err)
	}
	marker := batchOf(t, 5, compress.None, attrControl, []byte("m"))
	if batch, err = decodeFetch(fetchResponse(0, 0, 9, marker), testTopic, 0, 5); err != nil || batch.Next != 6 {
		t.Fatalf("only a marker: %+v, %v", batch, err)
	}
	whole := fetchResponse(0, 0, 6, records)
	for n := range whole {
		if _, err := decodeFetch(whole[:n], testTopic, 0, 5); err == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(whole))
		}
	}
	if _, err := decodeFetch(whole, "other", 0, 5); !errors.Is(err, errShort) {
		t.Fatalf("another topic: %v", err)
	}
}

// FuzzResponses wants every decoder of a response to return, without a panic.
func FuzzResponses(f *testing.F) {
	f.Add(fetchResponse(0, 0, 6, batchOf(f, 5, compress.Zstd, 0, []byte("x"))))
	f.Add(append(make([]byte, 4), "\x02\x00\x00\x00\x01\x02h\x00\x00\x00\x01\x00\x00\x02c\x00\x00\x00\x01\x02\x00\x00\x07frames"...))
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeFetch(b, testTopic, 0, 5)
		_, _ = decodeDeleteRecords(b, testTopic, 0)
		if topic, err := decodeMetadata(b, testTopic); err == nil && topic.Name != testTopic {
			t.Fatalf("topic %q", topic.Name)
		}
	})
}

func BenchmarkDecodeFetch(b *testing.B) {
	values := make([][]byte, 128)
	for i := range values {
		values[i] = make([]byte, 64<<10)
	}
	body := fetchResponse(0, 0, 128, batchOf(b, 0, compress.None, 0, values...))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeFetch(body, testTopic, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
}
