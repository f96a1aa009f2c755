package keys_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/stelelog/stele/internal/kafka"
)

// While the brokers are away readers get the keys that are in the key store, and are told that newer ones may be missing.
// What was erased, or is to be, stays so.
func TestAnswersWithoutTransport(t *testing.T) {
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
	cfg.From = "kafka://" + cluster.ListenAddrs()[0] + "/chat"
	folding := w.open(cfg)
	a, b := send("ada"), send("bob")
	w.must(folding.Fold(t.Context()))
	newest := send("ada")
	cluster.Close()

	w.asks(subject("bob"), true) // approved while the brokers are away
	cfg.Identity = nil
	s := w.open(cfg)
	begun := time.Now()
	w.all(s, "live", a)
	w.all(s, "erased", b)
	w.all(s, "unknown", newest)
	if s.Stats().Unread != 1 {
		t.Errorf("in %s the transport was found unread %d times", time.Since(begun), s.Stats().Unread)
	}
}
