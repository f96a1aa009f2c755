package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/internal/kafka"
	"github.com/stelelog/stele/internal/transport"
)

// Topics names the two topics of an archive and how to reach them.
type Topics struct {
	URL                string // kafka://host:port[,host:port]/topic; the grants topic is <topic>.grants
	Username, Password string
	TLS                *tls.Config
	Archive            string // id, hex, of the archive that they belong to; without it Check does not look whose messages they hold
}

// open makes a client of each topic.
func (t Topics) open() (frames, grants *kafka.Client, err error) {
	return transport.Open(t.URL, transport.Access{Username: t.Username, Password: t.Password, TLS: t.TLS})
}

// Create makes both topics: partitions for the frames, one for the grants, with the settings that the archive needs.
// Topics that are there with these settings are left alone.
func (t Topics) Create(ctx context.Context, partitions, replication int) error {
	frames, grants, err := t.open()
	if err != nil {
		return err
	}
	defer frames.Close()
	defer grants.Close()
	if err := frames.Create(ctx, kafka.TopicSpec{Partitions: partitions, Replication: replication}); err != nil {
		return err
	}
	return grants.Create(ctx, kafka.TopicSpec{Partitions: 1, Replication: replication, Configs: map[string]string{"retention.ms": "-1", "retention.bytes": "-1"}})
}

// Check looks at both topics: that they exist, have the right number of partitions and settings that lose nothing. An error
// says that no broker was reached.
func (t Topics) Check(ctx context.Context, partitions int) ([]probe.Result, error) {
	frames, grants, err := t.open()
	if err != nil {
		return nil, err
	}
	defer frames.Close()
	defer grants.Close()
	var out []probe.Result
	for _, c := range []struct {
		client     *kafka.Client
		partitions int
		forever    bool
	}{{frames, partitions, false}, {grants, 1, true}} {
		topic, err := c.client.Check(ctx)
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, new(*net.OpError)) {
			return nil, err
		}
		if err != nil {
			out = append(out, probe.Result{Name: "topic", Detail: err.Error()})
			continue
		}
		out = append(out, judgeTopic(topic, c.partitions, c.forever)...)
		if t.Archive != "" {
			out = append(out, t.checkContents(ctx, c.client))
		}
	}
	return out, nil
}

// judgeTopic compares the settings of a topic with what the archive needs.
func judgeTopic(t kafka.Topic, partitions int, forever bool) []probe.Result {
	out := []probe.Result{{Name: t.Name + " partitions", OK: t.Partitions() == partitions,
		Detail: fmt.Sprintf("%d, the archive was made for %d", t.Partitions(), partitions)}}
	s := t.Settings
	if s == nil {
		return append(out, probe.Result{Name: t.Name + " settings", Detail: "this user may not read them; allow DescribeConfigs"})
	}
	if forever {
		detail := "grants do not expire by time"
		if s.Retention >= 0 {
			detail = fmt.Sprintf("%v, but grants must not expire by time: set retention.ms=-1", s.Retention)
		}
		return append(out, probe.Result{Name: t.Name + " retention", OK: s.Retention < 0, Detail: detail})
	}
	return append(out,
		probe.Result{Name: t.Name + " retention", OK: s.Retention < 0 || s.Retention >= 24*time.Hour,
			Detail: kept(s.Retention) + "; keep at least seven times the longest outage of the compactors"},
		probe.Result{Name: t.Name + " min.insync.replicas", OK: t.Replicas == 1 || s.MinInSync >= 2,
			Detail: fmt.Sprintf("%d of %s", s.MinInSync, replicas(t.Replicas))})
}

func kept(d time.Duration) string {
	if d < 0 {
		return "kept for ever"
	}
	return fmt.Sprintf("kept for %v", d)
}

func replicas(n int) string {
	if n == 1 {
		return "1 replica"
	}
	return fmt.Sprintf("%d replicas", n)
}
