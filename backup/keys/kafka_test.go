package keys_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/kafka"
)

// Grants come from the grants topic, and are removed from it below a record that was read back. Of two services the one
// that is left takes the role, and both answer all along.
func TestGrantsTopic(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "chat", "chat.grants"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	w := newWorld(t)
	g := w.granter()
	client, err := kafka.Open(kafka.Config{Brokers: cluster.ListenAddrs(), Topic: "chat.grants"})
	w.must(err)
	defer client.Close()
	send := func(subject string) [][16]byte {
		msg, scopes := g.message(4, subject, "", "default", 0)
		_, err := client.Produce(t.Context(), 0, [][]byte{msg})
		w.must(err)
		return scopes
	}
	cfg := w.config()
	cfg.From, cfg.FoldEvery = "kafka://"+cluster.ListenAddrs()[0]+"/chat", 50*time.Millisecond
	first, second := w.open(cfg), w.open(cfg)
	a := send("ada")
	w.all(first, "live", a)
	w.all(second, "live", a)
	w.must(first.Fold(t.Context()))
	if start, end, err := client.Offsets(t.Context(), 0); err != nil || start != end || end == 0 {
		t.Errorf("the topic goes from %d to %d, %v", start, end, err)
	}
	w.all(second, "live", a)

	// Each that runs is stopped in turn; what comes meanwhile is folded by whoever is left.
	all := [][][16]byte{a}
	for _, s := range []*keys.Service{first, second} {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		all = append(all, send("bob"))
		folded(t, client)
		stop()
		if err := <-ended; err != context.Canceled {
			t.Errorf("Run: %v", err)
		}
	}
	w.all(first, "live", all...)
	w.all(second, "live", all...)
}

// TestTopicMadeAnewMeanwhile: a topic that is deleted and made again under a service that runs is not the one that the key store
// was filled from: nothing of it is taken in, or removed. What was read of the old one is kept.
func TestTopicMadeAnewMeanwhile(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "chat", "chat.grants"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	w := newWorld(t)
	g := w.granter()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("chat.grants"))
	w.must(err)
	defer client.Close()
	send := func(subject string) [][16]byte {
		msg, scopes := g.message(4, subject, "", "default", 0)
		w.must(client.ProduceSync(t.Context(), kgo.SliceRecord(msg)).FirstErr())
		return scopes
	}
	cfg := w.config()
	cfg.From = "kafka://" + cluster.ListenAddrs()[0] + "/chat"
	s := w.open(cfg)
	send("ada")
	w.must(s.Fold(t.Context()))
	a := send("ada")
	w.all(s, "live", a)
	away := kmsg.NewDeleteTopicsRequestTopic()
	away.Topic = kmsg.StringPtr("chat.grants")
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TopicNames, request.Topics = []string{"chat.grants"}, []kmsg.DeleteTopicsRequestTopic{away}
	_, err = request.RequestWith(t.Context(), client)
	w.must(err)
	again := kmsg.NewCreateTopicsRequestTopic()
	again.Topic, again.NumPartitions, again.ReplicationFactor = "chat.grants", 1, 1
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = append(create.Topics, again)
	_, err = create.RequestWith(t.Context(), client)
	w.must(err)
	client.PurgeTopicsFromClient("chat.grants")
	for range 3 {
		send("bob")
	}
	roots := len(w.keysOf("keys/roots/"))
	if err := s.Fold(t.Context()); err == nil || !strings.Contains(err.Error(), "not the transport") {
		t.Errorf("it was taken in: %v", err)
	}
	if err := s.Fold(t.Context()); err == nil {
		t.Error("it is taken in the next time")
	}
	if n := len(w.keysOf("keys/roots/")); n != roots+1 {
		t.Errorf("%d records became %d, want one more for what was read of the old topic", roots, n)
	}
	w.must(s.Close())
	w.all(w.open(cfg), "live", a)
	other, err := kafka.Open(kafka.Config{Brokers: cluster.ListenAddrs(), Topic: "chat.grants"})
	w.must(err)
	defer other.Close()
	if start, end, err := other.Offsets(t.Context(), 0); err != nil || start != 0 || end != 3 {
		t.Errorf("the new topic goes from %d to %d, %v", start, end, err)
	}
}

// folded waits until a topic has nothing that was not folded.
func folded(t *testing.T, client *kafka.Client) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		start, last, err := client.Offsets(t.Context(), 0)
		if err == nil && start == last {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the topic goes from %d to %d, %v", start, last, err)
		}
	}
}
