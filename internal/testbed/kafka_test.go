package testbed

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func kafkaClient(t *testing.T, b *Broker, as sasl.Mechanism) *kafka.Client {
	transport := &kafka.Transport{SASL: as}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(b.Addr), Timeout: visibleWithin, Transport: transport}
}

// settled tries until the broker answers for good. What it is still about to do, such as to choose a leader, takes some
// seconds under load.
func settled(ctx context.Context, try func() error) error {
	for end := time.Now().Add(visibleWithin); ; {
		err := try()
		if !unsettled(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollInterval):
		}
	}
}

func unsettled(err error) bool {
	var code kafka.Error
	if !errors.As(err, &code) { // kafka-go's own view of the cluster, or a connection to a broker that was restarted
		return err != nil && !errors.Is(err, context.DeadlineExceeded)
	}
	return code == kafka.UnknownTopicOrPartition || code == kafka.LeaderNotAvailable || code == kafka.NotLeaderForPartition
}

func createTopic(t *testing.T, c *kafka.Client) string {
	t.Helper()
	topic := Name(t)
	res, err := c.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}},
	})
	if err == nil {
		err = res.Errors[topic]
	}
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

func produce(ctx context.Context, c *kafka.Client, topic, value string) error {
	return settled(ctx, func() error {
		res, err := c.Produce(ctx, &kafka.ProduceRequest{
			Topic: topic, RequiredAcks: kafka.RequireAll,
			Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte(value))}),
		})
		if err != nil {
			return err
		}
		return res.Error
	})
}

func fetch(t *testing.T, c *kafka.Client, topic string, offset int64) string {
	t.Helper()
	var value []byte
	err := settled(t.Context(), func() error {
		res, err := c.Fetch(t.Context(), &kafka.FetchRequest{Topic: topic, Offset: offset, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 5 * time.Second})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			return err
		}
		record, err := res.Records.ReadRecord()
		if err != nil {
			return err
		}
		value, err = kafka.ReadAll(record.Value)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

func TestKafkaRoundTrip(t *testing.T) {
	b := Kafka(t)
	if again := Kafka(t); again != b {
		t.Errorf("asked twice, got brokers at %s and %s, want one shared", b.Addr, again.Addr)
	}
	c := kafkaClient(t, b, nil)
	topic := createTopic(t, c)
	if err := produce(t.Context(), c, topic, "kept"); err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, c, topic, 0); got != "kept" {
		t.Errorf("fetched %q", got)
	}
	read, err := exec.Command(Kcat(t), "-C", "-e", "-q", "-b", b.Addr, "-t", topic).CombinedOutput()
	if err != nil || strings.TrimSpace(string(read)) != "kept" {
		t.Errorf("kcat read %q, %v", read, err)
	}
	for name, end := range map[string]func() error{"Stop": b.Stop, "Kill": b.Kill} {
		if err := end(); err == nil {
			t.Errorf("%s of a shared broker succeeded", name)
		}
	}
}

func TestKafkaOutage(t *testing.T) {
	b := Kafka(t, Dedicated(), Property("message.max.bytes", "1000"))
	c := kafkaClient(t, b, nil)
	topic := createTopic(t, c)
	if err := produce(t.Context(), c, topic, "before"); err != nil {
		t.Fatal(err)
	}
	for i, end := range []func() error{b.Stop, b.Kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := produce(ctx, c, topic, "lost"); err == nil {
			t.Errorf("outage %d: produced to a broker that is down", i)
		}
		cancel()
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.Start(t.Context()); err == nil {
			t.Error("started a broker that runs")
		}
		if got := fetch(t, c, topic, 0); got != "before" {
			t.Errorf("outage %d: fetched %q", i, got)
		}
	}
	if err := produce(t.Context(), c, topic, strings.Repeat("x", 2000)); !errors.Is(err, kafka.MessageSizeTooLarge) {
		t.Errorf("produce above message.max.bytes = %v: the property was not set", err)
	}
	if _, err := os.Stat(b.Dir + "/data/" + topic + "-0"); err != nil {
		t.Errorf("the partition's directory is not below Dir: %v", err)
	}
}

func TestKafkaDeniesWithoutACL(t *testing.T) {
	alice := Credentials{User: "alice", Password: "alice-secret"}
	b := Kafka(t, Users(alice))
	admin := kafkaClient(t, b, plain.Mechanism{Username: b.Admin.User, Password: b.Admin.Password})
	topic := createTopic(t, admin)

	mechanism, err := scram.Mechanism(scram.SHA512, alice.User, alice.Password)
	if err != nil {
		t.Fatal(err)
	}
	mechanisms := []sasl.Mechanism{plain.Mechanism{Username: alice.User, Password: alice.Password}, mechanism}
	b.Grant(t, alice.User, topic, "Describe")
	for _, as := range mechanisms {
		if err := produce(t.Context(), kafkaClient(t, b, as), topic, "x"); !errors.Is(err, kafka.TopicAuthorizationFailed) {
			t.Errorf("%s: produce without an ACL = %v, want %v", as.Name(), err, kafka.TopicAuthorizationFailed)
		}
	}
	b.Grant(t, alice.User, topic, "Write")
	for _, as := range mechanisms {
		if err := produce(t.Context(), kafkaClient(t, b, as), topic, "x"); err != nil {
			t.Errorf("%s: produce with an ACL: %v", as.Name(), err)
		}
	}
	for name, as := range map[string]sasl.Mechanism{
		"a wrong password": plain.Mechanism{Username: alice.User, Password: "wrong"}, "no authentication": nil,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if err := produce(ctx, kafkaClient(t, b, as), topic, "x"); err == nil {
			t.Errorf("produced with %s", name)
		}
		cancel()
	}
}

func TestGrantNeedsAnOperation(t *testing.T) {
	if err := grant(t.Context(), nil, "alice", "topic", []string{"Describe", "Wriet"}); err == nil || !strings.Contains(err.Error(), "Wriet") {
		t.Errorf("grant = %v", err)
	}
}

func TestKafkaUsersAreChecked(t *testing.T) {
	for _, bad := range []Credentials{{"", "x"}, {"a", ""}, {"a b", "x"}, {"a", `x"`}, {"admin", "x"}} {
		if checkUsers([]Credentials{bad}) == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
}

func TestPython(t *testing.T) {
	script := "import pyarrow, duckdb; print(duckdb.sql('select 40 + 2').fetchall()[0][0], len(pyarrow.array([1, 2])))"
	out, err := exec.Command(Python(t), "-c", script).CombinedOutput()
	if err != nil || string(bytes.TrimSpace(out)) != "42 2" {
		t.Errorf("python printed %q, %v", out, err)
	}
}
