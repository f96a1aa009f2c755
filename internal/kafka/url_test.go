package kafka

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestParseURL(t *testing.T) {
	good := map[string]Config{
		"kafka://h/t":                                {Brokers: []string{"h:9092"}, Topic: "t"},
		"kafka://h:1,[::1]:2,[fe80::1]/a.b-c_D":      {Brokers: []string{"h:1", "[::1]:2", "[fe80::1]:9092"}, Topic: "a.b-c_D"},
		"kafka://h/t?tls=false&sasl=PLAIN":           {Brokers: []string{"h:9092"}, Topic: "t", SASLName: "plain"},
		"kafka://10.0.0.1:9093/t?sasl=scram-sha-256": {Brokers: []string{"10.0.0.1:9093"}, Topic: "t", SASLName: "scram-sha-256"},
	}
	for raw, want := range good {
		got, err := ParseURL(raw)
		if err != nil || strings.Join(got.Brokers, " ") != strings.Join(want.Brokers, " ") ||
			got.Topic != want.Topic || got.SASLName != want.SASLName || got.TLS != nil {
			t.Errorf("%s: %+v, %v", raw, got, err)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	bad := map[string]string{
		"":                               "does not start with kafka://",
		"http://h/t":                     "does not start with kafka://",
		"kafka://user:hunter2@h:9092/t":  "user information",
		"kafka://h/t@hunter2":            "user information",
		"kafka:///t":                     "no host name",
		"kafka://h,,g/t":                 "no host name",
		"kafka://h":                      "no topic",
		"kafka://h/":                     "no topic",
		"kafka://h/a/b":                  "letters, digits",
		"kafka://h/a%2fb":                "letters, digits",
		"kafka://h/%zz":                  "escaped",
		"kafka://h/..":                   "is neither . nor ..",
		"kafka://h/" + longName:          "1 to 249",
		"kafka://h:0/t":                  "host:port",
		"kafka://h:99999/t":              "host:port",
		"kafka://h:x/t":                  "host:port",
		"kafka://::1/t":                  "brackets",
		"kafka://h h/t":                  "host:port",
		"kafka://h/t?tls=maybe":          "neither true nor false",
		"kafka://h/t?sasl=gssapi":        "scram-sha-512",
		"kafka://h/t?password=hunter2":   `unknown option "password"`,
		"kafka://h/t?tls=true&tls=false": "more than once",
		"kafka://h/t?tls=%zz":            "escaped",
	}
	for raw, want := range bad {
		_, err := ParseURL(raw)
		var typed *Error
		if !errors.As(err, &typed) || !strings.Contains(err.Error(), want) || typed.Hint == "" {
			t.Errorf("%q: %v, want %q", raw, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error shows the secret", raw)
		}
	}
}

var longName = strings.Repeat("x", maxTopicName+1)

func FuzzParseURL(f *testing.F) {
	f.Add("kafka://a:1,[::1]/t?tls=true&sasl=plain")
	f.Fuzz(func(t *testing.T, raw string) {
		cfg, err := ParseURL(raw)
		if err != nil {
			return
		}
		if len(cfg.Brokers) == 0 || checkTopicName(cfg.Topic) != nil {
			t.Fatalf("%q gives %+v", raw, cfg)
		}
	})
}

func TestLoginRefuses(t *testing.T) {
	for _, c := range []struct{ mechanism, user, password, want string }{
		{"", "u", "p", "names no mechanism"},
		{"plain", "", "p", "needs a user name"},
		{"scram-sha-512", "u", "", "needs a user name"},
		{"gssapi", "u", "p", "unknown SASL mechanism"},
	} {
		cfg := Config{SASLName: c.mechanism}
		if err := cfg.Login(c.user, c.password); err == nil || !strings.Contains(err.Error(), c.want) || cfg.SASL != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	var none Config
	if err := none.Login("", ""); err != nil || none.SASL != nil {
		t.Errorf("nothing asked for: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for want, cfg := range map[string]Config{
		"no broker":         {Topic: "t"},
		"no topic":          {Brokers: []string{"h:1"}},
		"needs credentials": {Brokers: []string{"h:1"}, Topic: "t", SASLName: "plain"},
	} {
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

func TestSASL(t *testing.T) {
	cluster := fake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "anna", "right"),
		kfake.Superuser("SCRAM-SHA-256", "anna", "right"), kfake.Superuser("SCRAM-SHA-512", "anna", "right"))
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			cfg := Config{Brokers: cluster.ListenAddrs(), SASLName: mechanism}
			must(t, cfg.Login("anna", "right"))
			if _, err := open(t, cfg).Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			// Refused for a moment, as by a broker that has just started.
			refusal := kfake.Fault{Keys: []kmsg.Key{kmsg.SASLAuthenticate}, TopLevel: true, Err: kerr.SaslAuthenticationFailed}
			refusal.Count = 2
			cluster.Fault(refusal)
			c := open(t, cfg)
			if _, err := c.Produce(within(t, patience), 0, numbered(0, 1)); err != nil {
				t.Fatal(err)
			}
			// Refused for good.
			refusal.Count = -1
			defer cluster.Fault(refusal).Remove()
			denied := func(err error) {
				t.Helper()
				wantError(t, err, ErrDenied)
				if errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("retried to the end: %v", err)
				}
				if !strings.Contains(err.Error(), "STELE_KAFKA_PASSWORD") || strings.Contains(err.Error(), "right") {
					t.Fatalf("error is %v", err)
				}
			}
			c = open(t, cfg)
			_, err := c.Produce(within(t, patience), 0, numbered(0, 1))
			denied(err)
			_, err = c.Check(within(t, patience))
			denied(err)
			denied(c.RunGroup(within(t, patience), "g", nil, func(context.Context, []int) error { return nil }))
		})
	}
}

// TestHungWhileAuthenticating: kafka-go authenticates without a deadline.
func TestHungWhileAuthenticating(t *testing.T) {
	cluster := fake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "anna", "right"))
	cluster.ControlKey(int16(kmsg.SASLHandshake), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, nil, true
	})
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cfg := Config{Brokers: cluster.ListenAddrs(), SASLName: "plain", Timeout: 200 * time.Millisecond}
	must(t, cfg.Login("anna", "right"))
	c := open(t, cfg)
	if _, err := c.Produce(within(t, time.Second), 0, numbered(0, 1)); err == nil {
		t.Fatal("produced without an answer")
	}
	must(t, c.Close())
}
