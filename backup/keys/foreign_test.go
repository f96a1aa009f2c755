package keys_test

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/internal/kafka"
)

// shared is one grants topic that two archives were given.
type shared struct {
	t      *testing.T
	client *kafka.Client
	url    string
}

func newShared(t *testing.T) *shared {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "chat", "chat.grants"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kafka.Open(kafka.Config{Brokers: cluster.ListenAddrs(), Topic: "chat.grants"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return &shared{t, client, "kafka://" + cluster.ListenAddrs()[0] + "/chat"}
}

// grant sends grants of an archive.
func (c *shared) grant(g *granter) [][16]byte {
	c.t.Helper()
	msg, scopes := g.message(3, "ada", "", "default", 0)
	_, err := c.client.Produce(c.t.Context(), 0, [][]byte{msg})
	g.w.must(err)
	return scopes
}

func (c *shared) start() int64 {
	c.t.Helper()
	start, _, err := c.client.Offsets(c.t.Context(), 0)
	if err != nil {
		c.t.Fatal(err)
	}
	return start
}

// Two archives were given one topic, and fold it in turn: neither removes what the other has not taken in.
func TestTwoArchivesOneTopic(t *testing.T) {
	topic := newShared(t)
	one, two := newWorld(t), newWorld(t)
	var said bytes.Buffer
	cfg := func(w *world) keys.Config {
		c := w.config()
		c.From = topic.url
		return c
	}
	a, b := one.granter(), two.granter()
	first := cfg(one)
	first.Logger = slog.New(slog.NewTextHandler(&said, nil))
	now := time.Now()
	first = keys.At(first, func() time.Time { return now })
	s := one.open(first)
	own := [][][16]byte{topic.grant(a)}
	others := [][][16]byte{topic.grant(b), topic.grant(b)}
	own = append(own, topic.grant(a))
	one.must(s.Fold(t.Context()))
	if at := topic.start(); at != 1 {
		t.Errorf("the topic begins at %d: the first archive removed its own grant, and stops at the other's", at)
	}
	if st := s.Stats(); st.Foreign != 2 || st.HeldSince.IsZero() {
		t.Errorf("%d foreign messages, held since %v", st.Foreign, st.HeldSince)
	}
	if n := strings.Count(said.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors in the log, want one:\n%s", n, said.String())
	}

	// A process that begins anew knows nothing of what was seen, and looks before it removes.
	one.must(s.Close())
	s = one.open(first)
	own = append(own, topic.grant(a))
	one.must(s.Fold(t.Context()))
	if at := topic.start(); at != 1 {
		t.Errorf("the topic begins at %d after a restart", at)
	}
	one.all(s, "live", own...)

	// The other archive takes in what is its own, and leaves what is not; so do both once they have a topic each.
	s2 := two.open(cfg(two))
	two.must(s2.Fold(t.Context()))
	two.all(s2, "live", others...)
	one.all(s, "live", own...)

	// After the horizon nothing keeps the first archive any more.
	now = now.Add(14*24*time.Hour + time.Minute)
	one.must(s.Fold(t.Context()))
	if start, end, err := topic.client.Offsets(t.Context(), 0); err != nil || start != end {
		t.Errorf("the topic goes from %d to %d, %v", start, end, err)
	}
	if st := s.Stats(); !st.HeldSince.IsZero() {
		t.Errorf("still held since %v", st.HeldSince)
	}
}

// The same in a spool: a file with grants of another archive stays.
func TestForeignGrantsInSpool(t *testing.T) {
	one, two := newWorld(t), newWorld(t)
	msg, _ := two.granter().message(2, "bob", "", "default", 0)
	a := one.granter()
	own := a.grant(2, "ada")
	a.send(msg)
	one.must(a.lane.Close())
	now := time.Now()
	s := one.open(keys.At(one.config(), func() time.Time { return now }))
	for _, after := range []struct {
		age  time.Duration
		left int
	}{{0, 1}, {13 * 24 * time.Hour, 1}, {14*24*time.Hour + time.Minute, 0}} {
		now = time.Now().Add(after.age)
		one.must(s.Fold(t.Context()))
		if left, err := filepath.Glob(one.path("spool/lanes/*/grants-*")); err != nil || len(left) != after.left {
			t.Errorf("after %v %d files of grants are left, want %d; %v", after.age, len(left), after.left, err)
		}
	}
	one.all(s, "live", own)
}
