package logpipe

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stelelog/stele/internal/kafka"
	"github.com/stelelog/stele/internal/testbed"
)

// login is a configuration for brokers that want a password.
func login(t *testing.T, to, user, password string) (*archive, Config) {
	t.Helper()
	a := newArchive(t, to)
	return a, Config{Credential: a.credential, Username: user, Password: password}
}

func makeTopic(t testing.TB, cfg kafka.Config, partitions int) {
	t.Helper()
	c, err := kafka.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Create(t.Context(), kafka.TopicSpec{Partitions: partitions, Replication: 1}); err != nil {
		t.Fatal(err)
	}
}

// wantRefusal wants Open to fail over the credentials, by a text that helps and does not hold the password.
func wantRefusal(t *testing.T, cfg Config) {
	t.Helper()
	start := time.Now()
	p, err := Open(t.Context(), cfg)
	if err == nil {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		p.Close(ended)
		t.Fatal("the pipe opened, as if this were an outage")
	}
	t.Logf("refused after %v: %v", time.Since(start).Round(time.Millisecond), err)
	text := err.Error()
	if !errors.Is(err, kafka.ErrDenied) || !strings.Contains(text, "user "+cfg.Username+": wrong password or unknown user") ||
		!strings.Contains(text, "STELE_KAFKA_PASSWORD") || strings.Contains(text, cfg.Password) {
		t.Errorf("%v", err)
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	user := testbed.Credentials{User: "alice", Password: "alice-secret"}
	broker := testbed.Kafka(t, testbed.Users(user))
	topic := testbed.Name(t)
	to := "kafka://" + broker.Addr + "/" + topic + "?sasl="
	for name, partitions := range map[string]int{topic: 3, topic + grantsSuffix: 1} {
		cfg := kafka.Config{Brokers: []string{broker.Addr}, Topic: name, SASLName: "plain"}
		if err := cfg.Login(broker.Admin.User, broker.Admin.Password); err != nil {
			t.Fatal(err)
		}
		makeTopic(t, cfg, partitions)
	}
	broker.Grant(t, user.User, topic, "Describe", "DescribeConfigs", "Write")
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			_, cfg := login(t, to+mechanism, user.User, "another-secret")
			wantRefusal(t, cfg)
			_, cfg = login(t, to+mechanism, "nobody", user.Password)
			wantRefusal(t, cfg)

			_, cfg = login(t, to+mechanism, user.User, user.Password)
			p := mustOpen(t, cfg)
			if err := p.Capture(t.Context(), &Record{Kind: Input}); err != nil {
				t.Error(err)
			}
			if err := p.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			mustClose(t, p)
		})
	}
}

// Brokers that take longer to refuse than an outage is waited for.
func TestWrongPasswordAtSlowBrokers(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "frames"), kfake.SeedTopics(1, "frames.grants"),
		kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", "alice-secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.SASLAuthenticate}, TopLevel: true, Err: kerr.SaslAuthenticationFailed, Count: -1})
	over := make(chan struct{}) // or the last of these sleepers would look like a leak
	t.Cleanup(func() { close(over) })
	cluster.ControlKey(int16(kmsg.SASLHandshake), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		cluster.SleepControl(func() {
			select {
			case <-time.After(signTime + time.Second):
			case <-over:
			}
		})
		return nil, nil, false
	})
	_, cfg := login(t, "kafka://"+cluster.ListenAddrs()[0]+"/frames?sasl=plain", "alice", "another-secret")
	wantRefusal(t, cfg)
}

// Brokers that answered once and are then too slow, or away, are an outage.
func TestStartWithAilingBrokers(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "frames"), kfake.SeedTopics(1, "frames.grants"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.BrokerNotAvailable, Count: -1})
	a := newArchive(t, "kafka://"+cluster.ListenAddrs()[0]+"/frames")
	mustClose(t, mustOpen(t, Config{Credential: a.credential}))
}

// Somebody who takes connections and says nothing is no broker to wait for.
func TestStartWithSilentBrokers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, cfg := login(t, "kafka://"+l.Addr().String()+"/frames?sasl=plain", "alice", "alice-secret")
	cfg.SpoolDir = t.TempDir()
	start := time.Now()
	p := mustOpen(t, cfg)
	if d := time.Since(start); d > signTime+6*time.Second {
		t.Errorf("Open took %v", d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Errorf("Close with everything in the spool: %v", err)
	}
}
