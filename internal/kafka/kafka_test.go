package kafka

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/stelelog/stele/internal/testbed"
)

// Tests against a real broker. Those against an in-process one are beside the
// code that they test.

const memberEnv = "STELE_TEST_GROUP_MEMBER" // broker,topic,group

func TestMain(m *testing.M) {
	if spec := os.Getenv(memberEnv); spec != "" {
		runMember(strings.Split(spec, ","))
		return
	}
	os.Exit(testbed.Main(m))
}

func openKafka(t testing.TB, addr string) *Client {
	t.Helper()
	return open(t, Config{Brokers: []string{addr}, Topic: testbed.Name(t), Timeout: 30 * time.Second})
}

func TestKafkaTopic(t *testing.T) {
	broker := testbed.Kafka(t)
	c := openKafka(t, broker.Addr)
	ctx := within(t, 2*time.Minute)
	_, err := c.Describe(ctx)
	wantError(t, err, ErrNoTopic)
	spec := TopicSpec{Partitions: 3, Replication: 1, Configs: map[string]string{cfgRetention: "3600000"}}
	must(t, c.Create(ctx, spec))
	must(t, c.Create(ctx, spec))
	wantError(t, c.Create(ctx, TopicSpec{Partitions: 5}), os.ErrExist)
	topic, err := c.Check(ctx)
	must(t, err)
	if topic.ID == [16]byte{} || topic.Cluster == "" || topic.Partitions() != 3 || topic.Replicas != 1 ||
		topic.Leaders[2] < 0 || topic.Settings.Retention != time.Hour || !topic.Settings.AppendTime {
		t.Fatalf("got %+v %+v", topic, topic.Settings)
	}
	deleteTopic(t, c)
	must(t, c.Create(ctx, spec))
	again, err := c.Describe(ctx)
	must(t, err)
	if again.ID == topic.ID {
		t.Fatal("the topic kept its id when it was created again")
	}
}

// deleteTopic returns when the topic is gone.
func deleteTopic(t testing.TB, c *Client) {
	t.Helper()
	res, err := c.api.DeleteTopics(t.Context(), &kafkago.DeleteTopicsRequest{Topics: []string{c.cfg.Topic}})
	must(t, err)
	must(t, res.Errors[c.cfg.Topic])
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := c.metadata(t.Context()); errors.Is(err, kafkago.UnknownTopicOrPartition) {
			return
		}
	}
	t.Fatal("the topic is still there")
}

func TestKafkaProduceFetchDelete(t *testing.T) {
	c := openKafka(t, testbed.Kafka(t).Addr)
	ctx := within(t, 2*time.Minute)
	must(t, c.Create(ctx, TopicSpec{Partitions: 2, Replication: 1}))
	before := time.Now().Add(-time.Second)
	for i := range 20 {
		base, err := c.Produce(ctx, 1, numbered(i*50, 50))
		must(t, err)
		if base != int64(i*50) {
			t.Fatalf("base %d, want %d", base, i*50)
		}
	}
	if copies := checkOrder(t, readBack(t, c, 1), 1000); copies != 0 {
		t.Fatalf("%d copies", copies)
	}
	batch, err := c.Fetch(ctx, 1, 123, 1<<20, time.Second)
	must(t, err)
	if m := batch.Messages[0]; m.Offset != 123 || !m.Appended || m.Time.Before(before) || m.Time.After(time.Now().Add(time.Second)) {
		t.Fatalf("first message %+v", m)
	}
	start, err := c.DeleteRecords(ctx, 1, 400)
	must(t, err)
	batch, err = c.Fetch(ctx, 1, 399, 1<<20, time.Second)
	wantError(t, err, ErrOutOfRange)
	if start != 400 || batch.LogStart != 400 || batch.HighWatermark != 1000 {
		t.Fatalf("log start %d, %+v", start, batch)
	}
	ends, err := c.EndOffsets(ctx)
	must(t, err)
	if ends[0] != 0 || ends[1] != 1000 {
		t.Fatalf("ends %v", ends)
	}
}

func TestKafkaTooLarge(t *testing.T) {
	c := openKafka(t, testbed.Kafka(t).Addr)
	ctx := within(t, 2*time.Minute)
	must(t, c.Create(ctx, TopicSpec{Partitions: 1, Replication: 1, Configs: map[string]string{cfgMaxMessage: "100000"}}))
	fits := [][]byte{make([]byte, 100_000-BatchSize([][]byte{make([]byte, 90_000)})+90_000)}
	if n := BatchSize(fits); n != 100_000 {
		t.Fatalf("size %d", n)
	}
	produce(t, c, 0, fits)
	_, err := c.Produce(ctx, 0, [][]byte{make([]byte, len(fits[0])+1)})
	wantError(t, err, ErrTooLarge)
	if !strings.Contains(err.Error(), "max.message.bytes") {
		t.Fatal(err)
	}
}

// TestKafkaRecompressed: brokers may compress on their own.
func TestKafkaRecompressed(t *testing.T) {
	broker := testbed.Kafka(t)
	for _, codec := range []string{"gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			c := openKafka(t, broker.Addr)
			must(t, c.Create(t.Context(), TopicSpec{Partitions: 1, Replication: 1, Configs: map[string]string{"compression.type": codec}}))
			produce(t, c, 0, numbered(0, 2000))
			checkOrder(t, readBack(t, c, 0), 2000)
		})
	}
}

// TestKafkaOutage stops the broker under load on three partitions, then kills
// it: nothing may be lost and first copies stay in order.
func TestKafkaOutage(t *testing.T) {
	outage := 5 * time.Second
	if testbed.Long() {
		outage = 30 * time.Second
	}
	broker := testbed.Kafka(t, testbed.Dedicated())
	c := openKafka(t, broker.Addr)
	must(t, c.Create(t.Context(), TopicSpec{Partitions: 3, Replication: 1}))
	m := join(t, c, testbed.Name(t))
	await(t, patience, 3, m)

	stop := make(chan struct{})
	sent := make([]int, 3)
	var wg sync.WaitGroup
	for p := range sent {
		wg.Go(func() {
			for ; !closed(stop); sent[p]++ {
				if _, err := c.Produce(within(t, 10*time.Minute), p, numbered(sent[p], 1)); err != nil {
					t.Errorf("partition %d: %v", p, err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	time.Sleep(time.Second)
	for _, end := range []func() error{broker.Stop, broker.Kill} {
		must(t, end())
		time.Sleep(outage)
		must(t, broker.Start(t.Context()))
		back := time.Now()
		produce(t, openSame(t, c), 0, [][]byte{[]byte("aside")})
		t.Logf("produced %v after the broker was back", time.Since(back).Round(time.Millisecond))
	}
	await(t, patience, 3, m)
	close(stop)
	wg.Wait()
	leave(t, m)
	for p, n := range sent {
		got := readBack(t, c, p)
		values := got[:0]
		for _, v := range got {
			if v != "aside" {
				values = append(values, v)
			}
		}
		t.Logf("partition %d: %d sent, %d copies", p, n, checkOrder(t, values, n))
	}
}

func openSame(t testing.TB, c *Client) *Client {
	t.Helper()
	return open(t, c.cfg)
}

func closed(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// movedWithin is how soon the partitions of a member that died must be with
// others: half of it is what RunGroup says, the rest is for a busy machine.
const movedWithin = 30 * time.Second

// TestKafkaGroupCrash kills a process that holds partitions.
func TestKafkaGroupCrash(t *testing.T) {
	broker := testbed.Kafka(t)
	c := openKafka(t, broker.Addr)
	must(t, c.Create(t.Context(), TopicSpec{Partitions: 4, Replication: 1}))
	group := testbed.Name(t)
	a, b := join(t, c, group), join(t, openSame(t, c), group)
	await(t, patience, 4, a, b)

	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), memberEnv+"="+broker.Addr+","+c.cfg.Topic+","+group)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the third member got no assignment")
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	took := await(t, movedWithin, 4, a, b)
	t.Logf("partitions moved %v after the crash", took.Round(time.Millisecond))
	must(t, c.Hint(t.Context(), group, map[int]int64{0: 1}))
	leave(t, a)
	took = await(t, movedWithin, 4, b)
	t.Logf("partitions moved %v after a member left", took.Round(time.Millisecond))
	leave(t, b)
}

// runMember is the process that TestKafkaGroupCrash kills.
func runMember(spec []string) {
	c, err := Open(Config{Brokers: spec[:1], Topic: spec[1]})
	if err == nil {
		err = c.RunGroup(context.Background(), spec[2], nil, func(ctx context.Context, partitions []int) error {
			if len(partitions) > 0 {
				fmt.Println(partitions)
			}
			<-ctx.Done()
			return nil
		})
	}
	fmt.Fprintln(os.Stderr, err)
}

func TestKafkaAccess(t *testing.T) {
	user := testbed.Credentials{User: "writer", Password: "writer-password"}
	broker := testbed.Kafka(t, testbed.Users(user))
	as := func(who testbed.Credentials, mechanism, topic string) *Client {
		cfg := Config{Brokers: []string{broker.Addr}, Topic: topic, SASLName: mechanism, Timeout: 30 * time.Second}
		must(t, cfg.Login(who.User, who.Password))
		return open(t, cfg)
	}
	topic := testbed.Name(t)
	ctx := within(t, 2*time.Minute)
	admin := as(broker.Admin, "plain", topic)
	must(t, admin.Create(ctx, TopicSpec{Partitions: 1, Replication: 1}))

	writer := as(user, "scram-sha-512", topic)
	denied := func(call string, err error) {
		t.Helper()
		wantError(t, err, ErrDenied)
		if !strings.Contains(err.Error(), "grant the user") || !strings.Contains(err.Error(), call) {
			t.Errorf("%v", err)
		}
	}
	_, err := writer.Produce(ctx, 0, numbered(0, 1))
	denied("produce "+topic+"/0", err)
	_, err = writer.Describe(ctx)
	denied("describe "+topic, err)
	broker.Grant(t, user.User, topic, "Describe")
	_, err = writer.Produce(ctx, 0, numbered(0, 1))
	denied("produce "+topic+"/0", err)
	broker.Grant(t, user.User, topic, "Write")
	produce(t, writer, 0, numbered(0, 1))
	produce(t, as(user, "scram-sha-256", topic), 0, numbered(1, 1))
	described, err := writer.Check(ctx)
	if err != nil || described.Settings != nil || described.Partitions() != 1 {
		t.Fatalf("a writer without DescribeConfigs: %+v, %v", described, err)
	}
	_, err = writer.Fetch(ctx, 0, 0, 1<<20, 0)
	denied("fetch "+topic+"/0@0", err)
	_, err = writer.DeleteRecords(ctx, 0, 1)
	denied("delete records "+topic+"/0@1", err)
	denied("create topic", as(user, "plain", topic+"-other").Create(ctx, TopicSpec{Partitions: 1}))
	denied("group g", writer.RunGroup(ctx, "g", nil, func(context.Context, []int) error { return nil }))
	checkOrder(t, readBack(t, admin, 0), 2)

	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		wrong := as(testbed.Credentials{User: user.User, Password: "wrong-password"}, mechanism, topic)
		start := time.Now()
		_, err := wrong.Produce(ctx, 0, numbered(0, 1))
		wantError(t, err, ErrDenied)
		if text := err.Error(); strings.Contains(text, "wrong-password") || !strings.Contains(text, "STELE_KAFKA_PASSWORD") ||
			!strings.Contains(text, "user writer: wrong password") {
			t.Errorf("%v", err)
		}
		t.Logf("%s refused after %v: %v", mechanism, time.Since(start).Round(time.Millisecond), err)
	}
}

func BenchmarkKafkaProduce64KiB(b *testing.B) {
	c := openKafka(b, testbed.Kafka(b).Addr)
	must(b, c.Create(b.Context(), TopicSpec{Partitions: 1, Replication: 1}))
	values := make([][]byte, 8)
	for i := range values {
		values[i] = make([]byte, 64<<10)
	}
	b.SetBytes(int64(len(values)) * 64 << 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Produce(b.Context(), 0, values); err != nil {
			b.Fatal(err)
		}
	}
}
