package keys_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stelelog/stele/backup/keys"
)

// cutTopic is a topic in which 4 messages were folded, and of which the brokers then forgot the last ones: a leader that lacked
// them took over, or a disk was put back.
func cutTopic(t *testing.T, keep int) (w *world, topic *keys.Topic, cfg keys.Config, s *keys.Service, old [][][16]byte, send func() [][16]byte) {
	t.Helper()
	w = newWorld(t)
	g := w.granter()
	topic = new(keys.Topic)
	send = func() [][16]byte {
		msg, scopes := g.message(2, "ada", "", "default", 0)
		topic.Messages = append(topic.Messages, msg)
		return scopes
	}
	cfg = keys.From(w.config(), topic)
	s = w.open(cfg)
	for range 4 {
		old = append(old, send())
	}
	w.must(s.Fold(t.Context()))
	topic.Messages, topic.Start = slices.Clone(topic.Messages[:keep]), 0
	return w, topic, cfg, s, old, send
}

// TestGrantsTopicWasCut: what is granted in the place of what was folded is taken in, not passed over, and nothing is removed before.
func TestGrantsTopicWasCut(t *testing.T) {
	for name, c := range map[string]struct{ keep, first, then int }{
		"shorter, then longer": {2, 1, 3}, "shorter": {2, 1, 0}, "as long": {2, 2, 0}, "longer": {1, 5, 2}, "empty": {0, 2, 3},
	} {
		for _, restart := range []bool{false, true}[:min(2, c.first)] {
			w, topic, cfg, s, all, send := cutTopic(t, c.keep)
			log := new(bytes.Buffer)
			cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
			if restart {
				w.must(s.Close())
				s = w.open(cfg)
			}
			for _, n := range []int{c.first, c.then} {
				for range n {
					all = append(all, send())
				}
				w.all(s, "live", all...)
				w.must(s.Fold(t.Context()))
				w.all(s, "live", all...)
			}
			roots := len(w.keysOf("keys/roots/"))
			w.must(s.Fold(t.Context()))
			if n := len(w.keysOf("keys/roots/")); n != roots {
				t.Errorf("%s: %d records, and then %d for nothing", name, roots, n)
			}
			end := int64(len(topic.Messages))
			if healed := end > 4; healed && topic.Start != end || !healed && topic.Start > end {
				t.Errorf("%s: %d messages, removed up to %d", name, end, topic.Start)
			}
			if said := strings.Count(log.String(), "level=ERROR"); restart && said != 1 {
				t.Errorf("%s: said %d times:\n%s", name, said, log)
			}
		}
	}
}

// TestTopicMadeAnew: what is erased while the topic is another one than the key store was filled from removes nothing of it.
func TestTopicMadeAnew(t *testing.T) {
	w, topic, cfg, s, old, send := cutTopic(t, 0)
	w.must(s.Close())
	topic.ID = "made anew"
	for range 6 {
		send()
	}
	s = w.open(cfg)
	if err := s.Fold(t.Context()); err == nil || !strings.Contains(err.Error(), "not the transport") {
		t.Errorf("it was taken in: %v", err)
	}
	w.ordered(w.desk(), "ada")
	_, err := s.CarryOut(t.Context())
	w.must(err)
	w.all(s, "erased", old...)
	if topic.Start > 0 {
		t.Errorf("%d messages that nobody has folded are gone", topic.Start)
	}
}

// TestMarkersAmongGrants: markers of transactions, which hold no grants, keep nobody from those behind them, even if a broker
// answers with one batch at a time.
func TestMarkersAmongGrants(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "chat", "chat.grants"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		fetch := req.(*kmsg.FetchRequest)
		fetch.MaxBytes = 1
		for i := range fetch.Topics {
			for k := range fetch.Topics[i].Partitions {
				fetch.Topics[i].Partitions[k].PartitionMaxBytes = 1
			}
		}
		return nil, nil, false
	})
	w := newWorld(t)
	g := w.granter()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.TransactionalID("x"), kgo.DefaultProduceTopic("chat.grants"))
	w.must(err)
	defer client.Close()
	var all [][][16]byte
	for range 3 {
		msg, scopes := g.message(2, "ada", "", "default", 0)
		w.must(client.BeginTransaction())
		w.must(client.ProduceSync(t.Context(), kgo.SliceRecord(msg)).FirstErr())
		w.must(client.EndTransaction(t.Context(), kgo.TryCommit))
		all = append(all, scopes)
	}
	cfg := w.config()
	cfg.From = "kafka://" + cluster.ListenAddrs()[0] + "/chat"
	s := w.open(cfg)
	w.must(s.Fold(t.Context()))
	w.all(s, "live", all...)
}
