package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestProduceReturnsBaseOffsets(t *testing.T) {
	c := openFake(t, fake(t))
	for i := range 3 {
		base, err := c.Produce(t.Context(), 1, numbered(i*10, 10))
		must(t, err)
		if base != int64(i*10) {
			t.Fatalf("base %d, want %d", base, i*10)
		}
	}
	if base, err := c.Produce(t.Context(), 1, nil); err != nil || base != -1 {
		t.Fatalf("nothing to send: %d, %v", base, err)
	}
	if copies := checkOrder(t, readBack(t, c, 1), 30); copies != 0 {
		t.Fatalf("%d copies without a fault", copies)
	}
}

// TestProduceRetries meets every error that passes, once refused before and
// once answered after the append.
func TestProduceRetries(t *testing.T) {
	cluster := fake(t)
	c := openFake(t, cluster)
	faults := []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.BrokerNotAvailable,
		kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut, kerr.KafkaStorageError,
		kerr.UnknownServerError, kerr.NetworkException, kerr.CorruptMessage, kerr.ThrottlingQuotaExceeded,
	}
	for i, fault := range faults {
		h := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: testTopic, Err: fault, Count: 2})
		if _, err := c.Produce(within(t, patience), 0, numbered(i, 1)); err != nil {
			t.Fatalf("%v: %v", fault, err)
		}
		if h.Hits() != 2 {
			t.Fatalf("%v was met %d times", fault, h.Hits())
		}
	}
	copies := checkOrder(t, readBack(t, c, 0), len(faults))
	if copies == 0 {
		t.Error("errors after the append left no copy: the test proves less than it says")
	}
}

// TestProduceAfterTheClockWasWrong: the broker refuses the time of the first attempt, however often it is sent.
func TestProduceAfterTheClockWasWrong(t *testing.T) {
	cluster := fake(t)
	c := openFake(t, cluster)
	var first int64
	cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		topic := &r.(*kmsg.ProduceRequest).Topics[0]
		at := parseHeader(topic.Partitions[0].Records).firstTime
		if first == 0 {
			first = at
		}
		if at != first {
			return nil, nil, false
		}
		res := r.ResponseKind().(*kmsg.ProduceResponse)
		res.Topics = []kmsg.ProduceResponseTopic{{Topic: topic.Topic, TopicID: topic.TopicID,
			Partitions: []kmsg.ProduceResponseTopicPartition{{Partition: topic.Partitions[0].Partition, ErrorCode: kerr.InvalidTimestamp.Code}}}}
		return res, nil, true
	})
	if _, err := c.Produce(within(t, 10*time.Second), 0, numbered(0, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestProduceFinalErrors(t *testing.T) {
	cluster := fake(t)
	c := openFake(t, cluster)
	for _, tc := range []struct {
		fault *kerr.Error
		want  error
		hint  string
	}{
		{kerr.MessageTooLarge, ErrTooLarge, "max.message.bytes"},
		{kerr.RecordListTooLarge, ErrTooLarge, "max.message.bytes"},
		{kerr.TopicAuthorizationFailed, ErrDenied, "grant"},
		{kerr.ClusterAuthorizationFailed, ErrDenied, "grant"},
		{kerr.InvalidTopicException, ErrNoTopic, "name"},
		{kerr.InvalidRecord, nil, ""},
	} {
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: testTopic, Err: tc.fault})
		_, err := c.Produce(within(t, patience), 2, numbered(0, 1))
		var typed *Error
		if !errors.As(err, &typed) || typed.Op != "produce" || typed.Topic != testTopic || typed.Partition != 2 {
			t.Fatalf("%v: %v", tc.fault, err)
		}
		if tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(typed.Hint, tc.hint) {
			t.Errorf("%v: %v", tc.fault, err)
		}
	}
	if got := readBack(t, c, 2); len(got) != 0 {
		t.Fatalf("refused batches are in the log: %v", got)
	}
}

func TestProduceTooLargeForAnyBroker(t *testing.T) {
	c := open(t, Config{Brokers: []string{"127.0.0.1:1"}})
	_, err := c.Produce(t.Context(), 0, [][]byte{make([]byte, maxBatch)})
	wantError(t, err, ErrTooLarge)
}

func TestProduceMissingPartition(t *testing.T) {
	c := openFake(t, fake(t))
	_, err := c.Produce(within(t, patience), 7, numbered(0, 1))
	wantError(t, err, ErrNoTopic)
	if !strings.Contains(err.Error(), "3 partitions") {
		t.Fatal(err)
	}
}

// TestProduceWaitsForTopic: a writer may start before its topic exists.
func TestProduceWaitsForTopic(t *testing.T) {
	cluster := fake(t)
	c := open(t, Config{Brokers: cluster.ListenAddrs(), Topic: "late"})
	var err error
	for d := 500 * time.Millisecond; !errors.Is(err, ErrNoTopic) && d < time.Minute; d *= 2 { // a busy machine takes long to hear so
		_, err = c.Produce(within(t, d), 0, numbered(0, 1))
		wantError(t, err, context.DeadlineExceeded)
	}
	wantError(t, err, ErrNoTopic)
	time.AfterFunc(300*time.Millisecond, func() { _ = cluster.CreateTopic("late", 1, nil) })
	if _, err := c.Produce(within(t, patience), 0, numbered(0, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestProduceEnds(t *testing.T) {
	refused := open(t, Config{Brokers: []string{freeAddr(t)}})
	t.Run("with its context", func(t *testing.T) {
		start := time.Now()
		_, err := refused.Produce(within(t, 400*time.Millisecond), 0, numbered(0, 1))
		wantError(t, err, context.DeadlineExceeded)
		if !strings.Contains(err.Error(), "connection refused") || time.Since(start) > patience {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
	})
	t.Run("while waiting its turn", func(t *testing.T) {
		go refused.Produce(within(t, time.Second), 1, numbered(0, 1))
		time.Sleep(50 * time.Millisecond)
		_, err := refused.Produce(within(t, 100*time.Millisecond), 1, numbered(0, 1))
		wantError(t, err, context.DeadlineExceeded)
	})
	t.Run("with the client", func(t *testing.T) {
		time.AfterFunc(200*time.Millisecond, func() { refused.Close() })
		_, err := refused.Produce(within(t, patience), 0, numbered(0, 1))
		wantError(t, err, fs.ErrClosed)
		_, err = refused.Describe(t.Context())
		wantError(t, err, fs.ErrClosed)
	})
}

// TestProduceTimeOut: a broker that stores the batch and never answers.
func TestProduceTimeOut(t *testing.T) {
	cluster := fake(t)
	c := open(t, Config{Brokers: cluster.ListenAddrs(), Timeout: 300 * time.Millisecond})
	var swallowed atomic.Int32
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		swallowed.Add(1)
		return nil, nil, true // no answer, once
	})
	for i := range 5 {
		if _, err := c.Produce(within(t, patience), 0, numbered(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if swallowed.Load() != 1 {
		t.Fatalf("%d requests were swallowed", swallowed.Load())
	}
	checkOrder(t, readBack(t, c, 0), 5)
}

// TestProduceAbandoned: what a cancelled call leaves behind must not be
// overwritten by the next one while it is still being sent.
func TestProduceAbandoned(t *testing.T) {
	c := openFake(t, fake(t))
	values := func(i int) [][]byte { return [][]byte{bytes.Repeat([]byte{byte(i)}, 300_000)} }
	produce(t, c, 0, values(0))
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%50)*20*time.Microsecond)
		_, _ = c.Produce(ctx, 0, values(i))
		cancel()
	}
	produce(t, c, 0, values(0))
	for _, v := range readBack(t, c, 0) {
		if len(v) != 300_000 || strings.Trim(v, v[:1]) != "" {
			t.Fatal("a value is a mixture")
		}
	}
}

// TestProduceOneInFlight: many goroutines, one partition, a slow broker.
func TestProduceOneInFlight(t *testing.T) {
	cluster := fake(t)
	c := openFake(t, cluster)
	var inFlight, most atomic.Int32
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		most.Store(max(most.Load(), inFlight.Add(1)))
		cluster.SleepControl(func() { time.Sleep(2 * time.Millisecond) })
		inFlight.Add(-1)
		return nil, nil, false
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if _, err := c.Produce(within(t, patience), 0, numbered(0, 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Fatalf("%d requests were in flight together", most.Load())
	}
	if got := readBack(t, c, 0); len(got) != 80 {
		t.Fatalf("%d messages", len(got))
	}
}

// TestProduceFollowsLeader moves the partition between brokers meanwhile.
func TestProduceFollowsLeader(t *testing.T) {
	cluster := fake(t, kfake.NumBrokers(3))
	c := openFake(t, cluster)
	const moves, perMove = 12, 10
	for i := range moves {
		must(t, cluster.MoveTopicPartition(testTopic, 0, int32(i%3)))
		start := time.Now()
		for j := range perMove {
			if _, err := c.Produce(within(t, patience), 0, numbered(i*perMove+j, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d > metadataTTL/2 { // after which it would be found by itself
			t.Fatalf("%v to follow the leader", d)
		}
	}
	if copies := checkOrder(t, readBack(t, c, 0), moves*perMove); copies != 0 {
		t.Fatalf("%d copies", copies)
	}
}

// TestProduceOutage stops and restarts a persistent cluster under load.
func TestProduceOutage(t *testing.T) {
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	var p int
	fmt.Sscan(port, &p)
	dir := t.TempDir()
	start := func() *kfake.Cluster {
		return fake(t, kfake.DataDir(dir), kfake.SyncWrites(), kfake.Ports(p))
	}
	cluster := start()
	c := open(t, Config{Brokers: []string{addr}, Timeout: 500 * time.Millisecond})
	const n = 300
	done := make(chan error, 1)
	var sent atomic.Int32
	go func() {
		for i := range n {
			if _, err := c.Produce(within(t, 60*time.Second), 0, numbered(i, 1)); err != nil {
				done <- err
				return
			}
			sent.Add(1)
			time.Sleep(5 * time.Millisecond)
		}
		done <- nil
	}()
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		cluster.Close()
		time.Sleep(time.Second)
		cluster = start()
	}
	must(t, <-done)
	checkOrder(t, readBack(t, c, 0), n)
}

// TestCloseLeavesNothing wants no goroutine to outlive a closed client that
// met time-outs, moved leaders and a cancelled fetch.
func TestCloseLeavesNothing(t *testing.T) {
	cluster := fake(t, kfake.NumBrokers(3))
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c := open(t, Config{Brokers: cluster.ListenAddrs(), Timeout: 300 * time.Millisecond})
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, nil, true })
	for i := range 4 {
		must(t, cluster.MoveTopicPartition(testTopic, 0, int32(i%3)))
		produce(t, c, 0, numbered(i, 1))
	}
	_, err := c.Fetch(within(t, 50*time.Millisecond), 1, 0, 1, 300*time.Millisecond)
	wantError(t, err, context.DeadlineExceeded)
	must(t, c.Close())
	leave(t, joined(t, cluster))
	time.Sleep(time.Second) // the abandoned requests' own time-outs
}

func joined(t testing.TB, cluster *kfake.Cluster) *member {
	t.Helper()
	c := openFake(t, cluster)
	m := join(t, c, "leaving")
	await(t, patience, 3, m)
	must(t, c.Close())
	return m
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func BenchmarkProduce64KiB(b *testing.B) {
	c := openFake(b, fake(b, kfake.BlackholeProduce(), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "10000000"})))
	values := [][]byte{make([]byte, 64<<10)}
	b.SetBytes(64 << 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Produce(b.Context(), 0, values); err != nil {
			b.Fatal(err)
		}
	}
}
