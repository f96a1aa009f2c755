package kafka

import (
	"context"
	"fmt"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Mechanism is one SASL mechanism (RFC 4422), used for every new connection
// and by several goroutines at once. PLAIN and SCRAM come from Login; others,
// such as AWS_MSK_IAM or OAUTHBEARER, are supplied by the user. A mechanism
// written for kafka-go fits after wrapping its Start, which returns the same
// state machine under another name.
type Mechanism interface {
	// Name is the mechanism's registered name, as sent to the broker.
	Name() string
	// Start begins one exchange and returns the initial response; nil means
	// none. An error is retried like a broken connection.
	Start(ctx context.Context) (Session, []byte, error)
}

// Session is one authentication exchange, used by one goroutine.
type Session interface {
	// Next answers a challenge and reports whether the exchange is complete.
	Next(ctx context.Context, challenge []byte) (done bool, response []byte, err error)
}

const saslPlain = "PLAIN"

// Login builds c.SASL for c.SASLName ("plain", "scram-sha-256" or
// "scram-sha-512"). Without a mechanism and without credentials it does nothing.
func (c *Config) Login(username, password string) error {
	if c.SASLName == "" && username == "" && password == "" {
		return nil
	}
	if c.SASLName == "" {
		return configError("Kafka credentials are set but the URL names no mechanism",
			"add ?sasl=scram-sha-512, or unset STELE_KAFKA_USERNAME")
	}
	if username == "" || password == "" {
		return configError("sasl="+c.SASLName+" needs a user name and a password",
			"set STELE_KAFKA_USERNAME and STELE_KAFKA_PASSWORD")
	}
	m, err := newMechanism(c.SASLName, username, password)
	if err != nil {
		return configError(err.Error(), "")
	}
	c.SASL, c.user = fromKafkaGo{m}, username
	return nil
}

func newMechanism(name, username, password string) (sasl.Mechanism, error) {
	switch name {
	case "plain":
		return plain.Mechanism{Username: username, Password: password}, nil
	case "scram-sha-256":
		return scram.Mechanism(scram.SHA256, username, password)
	case "scram-sha-512":
		return scram.Mechanism(scram.SHA512, username, password)
	}
	return nil, fmt.Errorf("unknown SASL mechanism %q: use plain, scram-sha-256 or scram-sha-512", name)
}

func knownMechanism(name string) bool {
	return name == "plain" || name == "scram-sha-256" || name == "scram-sha-512"
}

// fromKafkaGo and toKafkaGo translate between two interfaces that differ only
// in the name of the state machine's type.
type fromKafkaGo struct{ sasl.Mechanism }

func (f fromKafkaGo) Start(ctx context.Context) (Session, []byte, error) {
	return f.Mechanism.Start(ctx)
}

type toKafkaGo struct{ Mechanism }

func (t toKafkaGo) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	return t.Mechanism.Start(ctx)
}

func kafkaSASL(m Mechanism) sasl.Mechanism {
	if m == nil {
		return nil
	}
	return toKafkaGo{m}
}
