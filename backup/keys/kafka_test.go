package keys_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

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
