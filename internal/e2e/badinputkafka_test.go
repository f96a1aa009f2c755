package e2e_test

import (
	"context"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// TestBadTopics: no topic, and one with another number of partitions.
func TestBadTopics(t *testing.T) {
	t.Parallel()
	broker := testbed.Kafka(t, testbed.Property("auto.create.topics.enable", "false"))
	at, topic, wrong := "kafka://"+broker.Addr+"/", testbed.Name(t), testbed.Name(t)
	s := newSite(t, fileURL(t, "archive"), at+topic, nil, "--partitions", "2")
	if _, stderr, code := s.stele("topics", "create", "--to", at+wrong, "--partitions", "3"); code != 0 {
		t.Logf("stele topics create: %s", stderr)
	}
	pipe := s.service(2, logpipe.Config{})
	sent := synthetic(3, 4)
	feed(t, pipe, sent, 0, nil)
	for _, c := range []struct {
		name, topic string
		phrases     []string
	}{
		{"no topic", "nothing-here", []string{"no such topic", "stele topics create", "nothing-here"}},
		{"wrong partition count", wrong, []string{"3 partitions", "2"}},
	} {
		s.refused(c.name+", pipe", logpipe.Config{To: at + c.topic}, c.phrases...)
		there := s.with("STELE_FROM=" + at + c.topic)
		_, text, code := there.run(there.command("compactor", "--once"))
		if code != 1 {
			t.Errorf("%s: the compactor exits with %d", c.name, code)
		}
		wantText(t, c.name+", compactor", text, c.phrases...)
	}
	s.close(pipe)
	s.compactOnce()
	s.verify(0, "--unlock")
	compare(t, flat(sent), s.restore())
}

// TestDenied: a service and a compactor without rights are told which are missing; with them everything goes on.
func TestDenied(t *testing.T) {
	t.Parallel()
	alice := testbed.Credentials{User: "alice", Password: "alice-secret"}
	broker := testbed.Kafka(t, testbed.Users(alice))
	topic := testbed.Name(t)
	as := func(c testbed.Credentials) []string {
		return []string{"STELE_KAFKA_USERNAME=" + c.User, "STELE_KAFKA_PASSWORD=" + c.Password}
	}
	to := "kafka://" + broker.Addr + "/" + topic + "?sasl=plain"
	admin := newSite(t, fileURL(t, "archive"), to, as(broker.Admin), "--partitions", "1")
	s := admin.with(as(alice)...)
	login := logpipe.Config{Username: alice.User, Password: alice.Password}
	denied := []string{topic, "denied", "rights"}

	s.refused("no rights", login, denied...)
	s.refused("wrong password", logpipe.Config{Username: alice.User, Password: "wrong"},
		topic, "denied", "user alice: wrong password or unknown user", "STELE_KAFKA_PASSWORD")
	for _, c := range []struct {
		name    string
		as      *site
		phrases []string
	}{
		{"no rights", s, denied},
		{"wrong password", s.with("STELE_KAFKA_PASSWORD=wrong"), []string{topic, "denied", "STELE_KAFKA_PASSWORD"}},
	} {
		_, text, code := c.as.run(c.as.command("compactor", "--once"))
		if code != 1 {
			t.Errorf("%s: the compactor exits with %d", c.name, code)
		}
		wantText(t, c.name+", compactor", text, c.phrases...)
	}

	broker.Grant(t, alice.User, topic, "Describe")
	pipe := s.service(1, login) // to describe is enough to start
	sent := synthetic(2, 5)
	feed(t, pipe, sent, 0, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := pipe.Flush(ctx); err == nil {
		t.Error("flushed without the right to write")
	} else {
		wantText(t, "flush", err.Error(), denied...)
	}
	broker.Grant(t, alice.User, topic, "Write")
	s.close(pipe)
	broker.Grant(t, alice.User, topic, "Read", "DescribeConfigs")
	s.compactOnce()
	s.verify(0, "--unlock")
	compare(t, flat(sent), s.restore())
}
