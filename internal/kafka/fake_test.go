package kafka

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

const testTopic = "frames"

// patience bounds what has to come about, on a machine that may be very busy.
const patience = time.Minute

// fake starts an in-process cluster with the topic in three partitions.
func fake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	opts = append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, testTopic)}, opts...)
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func open(t testing.TB, cfg Config) *Client {
	t.Helper()
	if cfg.Topic == "" {
		cfg.Topic = testTopic
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func openFake(t testing.TB, cluster *kfake.Cluster) *Client {
	t.Helper()
	return open(t, Config{Brokers: cluster.ListenAddrs()})
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

// numbered returns n values that tell their place.
func numbered(from, n int) [][]byte {
	values := make([][]byte, n)
	for i := range values {
		values[i] = fmt.Appendf(nil, "value-%06d", from+i)
	}
	return values
}

// readBack returns all values of a partition, checking that offsets are gapless.
func readBack(t testing.TB, c *Client, partition int) []string {
	t.Helper()
	ctx := within(t, patience)
	next, end, err := c.Offsets(ctx, partition)
	must(t, err)
	var values []string
	for next < end {
		batch, err := c.Fetch(ctx, partition, next, 1<<20, time.Second)
		must(t, err)
		for _, m := range batch.Messages {
			if m.Offset != next || m.Err != nil {
				t.Fatalf("offset %d (error %v), want %d", m.Offset, m.Err, next)
			}
			values = append(values, string(m.Value))
			next++
		}
		if batch.Next != next {
			t.Fatalf("next is %d after offset %d", batch.Next, next-1)
		}
	}
	return values
}

// checkOrder wants value-0…n-1, each at least once, first copies in order.
func checkOrder(t testing.TB, got []string, n int) (copies int) {
	t.Helper()
	next := 0
	for i, v := range got {
		switch want := fmt.Sprintf("value-%06d", next); {
		case v == want:
			next++
		case v < want:
			copies++
		default:
			t.Fatalf("message %d is %s before %s", i, v, want)
		}
	}
	if next != n {
		t.Fatalf("found %d of %d values", next, n)
	}
	return copies
}
