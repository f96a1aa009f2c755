package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Sentinels for errors.Is. Everything else is described by *Error.
var (
	// ErrTooLarge: the broker, or the client's own bound, refuses the batch for its size.
	ErrTooLarge = errors.New("batch too large")
	// ErrDenied: authentication or authorization failed. Retrying does not help.
	ErrDenied = errors.New("access denied")
	// ErrNoTopic: the topic, or the partition asked for, does not exist.
	ErrNoTopic = errors.New("no such topic or partition")
	// ErrOutOfRange: the offset lies before the log start or after the end.
	ErrOutOfRange = errors.New("offset out of range")
)

// Error says which call on which topic failed, and what to do about it.
type Error struct {
	Op        string // "produce", "fetch", …
	Topic     string
	Partition int    // -1: the topic as a whole
	Offset    int64  // -1: none
	Hint      string // what a person can do; may be empty
	Outage    bool   // nothing is wrong with the call: it may succeed later
	Err       error
}

// Error formats as "kafka: op topic/partition@offset: cause (hint)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("kafka: " + e.Op)
	if e.Topic != "" {
		b.WriteString(" " + e.Topic)
	}
	if e.Partition >= 0 {
		fmt.Fprintf(&b, "/%d", e.Partition)
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, "@%d", e.Offset)
	}
	b.WriteString(": " + e.Err.Error())
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func configError(what, hint string) error {
	return &Error{Op: "config", Partition: -1, Offset: -1, Hint: hint, Err: errors.New(what)}
}

// fail wraps err for the caller of op.
func (c *Client) fail(op operation, err error, v verdict) error {
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	if v.sentinel != nil && !errors.Is(err, v.sentinel) {
		err = fmt.Errorf("%w: %w", v.sentinel, err)
	}
	if v.refused && c.cfg.user != "" {
		v.hint = "user " + c.cfg.user + ": wrong password or unknown user; set STELE_KAFKA_USERNAME and STELE_KAFKA_PASSWORD, or another sasl="
	}
	return &Error{Op: op.name, Topic: c.cfg.Topic, Partition: op.partition,
		Offset: op.offset, Hint: v.hint, Outage: v.retry && v.sentinel == nil, Err: err}
}

// verdict is what an error means for the call that met it.
type verdict struct {
	sentinel error
	retry    bool
	refresh  bool // connections or metadata are suspect
	refused  bool // credentials were refused: final when that is repeated
	hint     string
}

// refusals counts how often in a row credentials were refused.
type refusals struct {
	n     int
	first time.Time
}

// final says whether v is one refusal too many.
func (r *refusals) final(v verdict) bool {
	if !v.refused {
		r.n = 0
		return false
	}
	if r.n++; r.n == 1 {
		r.first = time.Now()
	}
	return r.n >= authAttempts || r.n >= leastAttempts && time.Since(r.first) >= authPatience
}

const (
	hintReach = "check that a broker is reachable, that tls= and sasl= fit its listener, and the credentials"
	hintTopic = "create the topic with `stele topics create`, or correct its name"
	hintACL   = "grant the user the missing rights on the topic, the group and the cluster"
	hintAuth  = "wrong password or unknown user: check the credentials and sasl="
	// A broker that has just started may refuse good credentials until it
	// has read them, and a connection cut while authenticating looks alike.
	// Brokers hold a refusal back, by 0.3 s and more.
	authAttempts  = 5
	leastAttempts = 3
	authPatience  = time.Second
)

// judge decides how to go on after err. Anything not known to be final is
// retried: during an outage brokers answer with almost every code.
func judge(err error) verdict {
	var done *Error
	if errors.As(err, &done) {
		return verdict{hint: done.Hint} // already judged
	}
	var code kafkago.Error
	if errors.As(err, &code) {
		return judgeCode(code)
	}
	var cert *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	switch {
	case errors.Is(err, ErrNoTopic):
		return verdict{sentinel: ErrNoTopic, hint: hintTopic}
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrOutOfRange), errors.Is(err, errIncompatible):
		return verdict{}
	case errors.As(err, &cert), errors.As(err, new(x509.UnknownAuthorityError)):
		return verdict{sentinel: ErrDenied, hint: "the broker's certificate is not trusted: give its CA"}
	case errors.As(err, &header):
		return verdict{sentinel: ErrDenied, hint: "this listener does not speak TLS: remove tls=true or use its TLS port"}
	}
	return verdict{retry: true, refresh: true, hint: hintReach}
}

func judgeCode(code kafkago.Error) verdict {
	switch code {
	case kafkago.TopicAuthorizationFailed, kafkago.GroupAuthorizationFailed,
		kafkago.ClusterAuthorizationFailed, kafkago.TransactionalIDAuthorizationFailed:
		return verdict{sentinel: ErrDenied, hint: hintACL}
	case kafkago.SASLAuthenticationFailed:
		return verdict{sentinel: ErrDenied, retry: true, refresh: true, refused: true, hint: hintAuth}
	case kafkago.UnsupportedSASLMechanism, kafkago.IllegalSASLState, kafkago.SecurityDisabled:
		return verdict{sentinel: ErrDenied, hint: "choose a mechanism that this listener offers with sasl="}
	case kafkago.MessageSizeTooLarge, kafkago.RecordListTooLarge:
		return verdict{sentinel: ErrTooLarge, hint: "raise max.message.bytes of the topic, or send smaller batches"}
	case kafkago.InvalidTopic:
		return verdict{sentinel: ErrNoTopic, hint: "correct the topic's name"}
	case kafkago.UnknownTopicOrPartition, kafkago.UnknownTopicID:
		return verdict{sentinel: ErrNoTopic, retry: true, refresh: true, hint: hintTopic}
	case kafkago.OffsetOutOfRange:
		return verdict{sentinel: ErrOutOfRange, hint: "read from the log start; what lies before it has been deleted"}
	case kafkago.TopicAlreadyExists, kafkago.UnsupportedVersion, kafkago.InvalidRecord, kafkago.PolicyViolation,
		kafkago.InvalidConfiguration, kafkago.InvalidReplicationFactor, kafkago.InvalidPartitionNumber,
		kafkago.InvalidGroupId, kafkago.InvalidSessionTimeout, kafkago.InconsistentGroupProtocol:
		return verdict{}
	case kafkago.NotEnoughReplicas, kafkago.NotEnoughReplicasAfterAppend:
		return verdict{retry: true, hint: "too few in-sync replicas: start the missing brokers"}
	case kafkago.ThrottlingQuotaExceeded, kafkago.GroupLoadInProgress:
		return verdict{retry: true}
	}
	return verdict{retry: true, refresh: true, hint: hintReach}
}

// diagnose looks for the real cause behind a routing failure. kafka-go reports
// "topic not found" whenever it holds no metadata, also when the cluster is
// down or refuses our credentials.
func (c *Client) diagnose(ctx context.Context, op operation, err error) error {
	local := errors.Is(err, protocol.ErrNoTopic) || errors.Is(err, protocol.ErrNoPartition)
	if !local || ctx.Err() != nil {
		return err
	}
	meta, cause := c.metadata(ctx)
	if cause != nil {
		return cause
	}
	if op.partition >= len(meta.Leaders) {
		return c.fail(op, fmt.Errorf("%w: the topic has %d partitions", ErrNoTopic, len(meta.Leaders)),
			verdict{hint: "configure no more partitions than the topic has"})
	}
	return err
}
