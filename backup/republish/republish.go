// Package republish publishes restored records to a Kafka topic, unsealed, one JSON line a message. Whoever may read the
// topic reads them, so it leaves a trace: before the first record and after the last, a disclosure signed by the reader
// goes to the control log of the archive.
package republish

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/internal/kafka"
)

const (
	maxBatch = 900 << 10 // bytes of a request, below the usual max.message.bytes
	// overhead is more than a message adds to a batch beside its value.
	overhead = 24
	// patience is how long brokers may fail before a publication ends: it can go on later, behind its position.
	patience = 2 * time.Minute
)

// Config says who publishes what, and where to. Reader and URL are required.
type Config struct {
	Reader    *backup.Reader
	URL       string // kafka://host:port[,host:port]/topic of a topic that exists
	Selection []byte // what is published, in the caller's words; the control log gets a salted hash of it

	Username, Password string
	TLS                *tls.Config
	Logger             *slog.Logger

	After *Position // go on behind an earlier publication to this topic
}

// Position is how far a publication came. It may be kept as JSON.
type Position struct {
	Topic string        `json:"topic"` // ids of cluster and topic
	Next  map[int]int64 `json:"next"`  // by partition, the offset behind all that was acknowledged
}

// Topic is an open publication. Not safe for concurrent use.
type Topic struct {
	reader  *backup.Reader
	client  *kafka.Client
	to      string // as the control log may show it
	largest int    // batch that the topic takes; 0 if nobody says
	at      Position
	stored  map[digest]int // messages behind cfg.After that were not written again yet
	begun   Position       // where stored begins

	selection    []byte
	salt, salted [32]byte
	disclosed    bool // it is entered that records leave
	records      uint64

	partition int // of what is pending
	pending   []byte
	ends      []int // of the messages in pending
	failed    error // what is pending may be stored or not, so nothing more is sent
}

// Open checks the topic. It refuses one that carries frames or grants. Nothing is entered in the control log yet: a
// publication that publishes nothing discloses nothing.
func Open(ctx context.Context, cfg Config) (*Topic, error) {
	t := &Topic{reader: cfg.Reader, to: location.Redact(cfg.URL), selection: cfg.Selection}
	k, err := kafka.ParseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if err := k.Login(cfg.Username, cfg.Password); err != nil {
		return nil, err
	}
	if cfg.TLS != nil {
		k.TLS = cfg.TLS
	}
	k.Logger = cfg.Logger
	if t.client, err = kafka.Open(k); err != nil {
		return nil, err
	}
	if err = t.begin(ctx, k, cfg.After); err != nil {
		return nil, errors.Join(err, t.client.Close())
	}
	return t, nil
}

// begin looks at the topic and finds out where its partitions end.
func (t *Topic) begin(ctx context.Context, k kafka.Config, after *Position) error {
	topic, err := t.client.Check(ctx)
	if errors.Is(err, kafka.ErrNoTopic) {
		return fmt.Errorf("there is no topic %s; make it with Kafka's own tools: who may read it and how long it keeps messages is for you to decide", k.Topic)
	}
	if err != nil {
		return err
	}
	if err := t.free(ctx, k, topic); err != nil {
		return err
	}
	if topic.Settings != nil {
		t.largest = topic.Settings.MaxMessageBytes
	}
	t.at = Position{Topic: identity(topic), Next: map[int]int64{}}
	ends, err := t.client.EndOffsets(ctx)
	if err != nil {
		return err
	}
	for p, end := range ends {
		t.at.Next[p] = end
	}
	if after == nil {
		return nil
	}
	return t.readBack(ctx, after)
}

func identity(t kafka.Topic) string { return t.Cluster + "/" + hex.EncodeToString(t.ID[:]) }

// free makes sure that no archive uses the topic as its transport: that never holds plaintext.
func (t *Topic) free(ctx context.Context, k kafka.Config, topic kafka.Topic) error {
	const grants = ".grants"
	refuse := fmt.Errorf("topic %s is the transport of an archive, which never holds plaintext; publish to a topic of its own", topic.Name)
	if t.reader.ReadsFrom(topic.Cluster, hex.EncodeToString(topic.ID[:])) {
		return refuse
	}
	base, is := strings.CutSuffix(k.Topic, grants)
	if !is {
		base += grants
	}
	k.Topic = base
	c, err := kafka.Open(k)
	if err != nil {
		return nil // no topic can have that name
	}
	defer c.Close()
	switch _, err := c.Describe(ctx); {
	case err == nil:
		return refuse
	case errors.Is(err, kafka.ErrNoTopic), errors.Is(err, kafka.ErrDenied):
		return nil
	default:
		return err
	}
}

// disclose enters that a publication begins, once.
func (t *Topic) disclose(ctx context.Context) error {
	if t.disclosed {
		return nil
	}
	rand.Read(t.salt[:])
	h := sha256.New()
	h.Write([]byte("stele/disclosure/v1\x00"))
	h.Write(t.salt[:])
	h.Write(t.selection)
	h.Sum(t.salted[:0])
	if err := t.reader.Disclosed(ctx, "kafka", t.to, t.salted, 0); err != nil {
		return fmt.Errorf("nothing was published, because the disclosure could not be entered under control/inbox/ (that needs the right to write there): %w", err)
	}
	t.disclosed = true
	return nil
}

// TooLargeError says that the topic takes no message as large as that of one record. What was written before is not
// affected: it can be flushed.
type TooLargeError struct {
	Topic string
	Size  int // bytes of the smallest batch with the message
	Limit int // max.message.bytes of the topic; 0 if it may not be read
}

// Error implements error.
func (e *TooLargeError) Error() string {
	limit := fmt.Sprintf("at most %d", e.Limit)
	if e.Limit == 0 {
		limit = "less"
	}
	return fmt.Sprintf("a record makes a message of %d bytes, and topic %s takes %s: raise its max.message.bytes, with Kafka's own tools", e.Size, e.Topic, limit)
}

// Disclosure returns what stands in the control log for the selection, and the salt that shows it to be its hash. Both are
// zero as long as nothing was written.
func (t *Topic) Disclosure() (salted, salt [32]byte) { return t.salted, t.salt }

// Name is the URL of the topic as it may be shown.
func (t *Topic) Name() string { return t.to }

// Write publishes one line as one message without a key. Lines of one lane, the partition of an archive's log say, keep
// their order. The line is copied; it is published when Flush returns. A line that an earlier run had published behind
// cfg.After is passed over. Before the first line is sent the disclosure is durable in the inbox of the control log. An error
// may be a [*TooLargeError], after which lines that are not as large can be written.
func (t *Topic) Write(ctx context.Context, lane int, line []byte) error {
	if t.failed != nil {
		return t.failed
	}
	line = bytes.TrimSuffix(line, []byte("\n"))
	known := t.known(line)
	if size := kafka.BatchSize([][]byte{line}); !known && t.largest > 0 && size > t.largest {
		return &TooLargeError{t.to, size, t.largest}
	}
	if err := t.disclose(ctx); err != nil {
		return err
	}
	if t.records++; known {
		return nil
	}
	partition := lane % len(t.at.Next)
	limit := maxBatch
	if t.largest > 0 {
		limit = min(limit, t.largest)
	}
	size := 3*overhead + len(t.pending) + len(line) + overhead*len(t.ends)
	if len(t.ends) > 0 && (partition != t.partition || size > limit) {
		if err := t.Flush(ctx); err != nil {
			return err
		}
	}
	t.partition = partition
	t.pending = append(t.pending, line...)
	t.ends = append(t.ends, len(t.pending))
	return nil
}

// Flush returns when all in-sync replicas have all that was written. After an error nothing more is sent: brokers may
// have stored what they did not acknowledge, which the next run finds out.
func (t *Topic) Flush(ctx context.Context) error {
	if t.failed != nil || len(t.ends) == 0 {
		return t.failed
	}
	values := make([][]byte, 0, len(t.ends))
	from := 0
	for _, end := range t.ends {
		values = append(values, t.pending[from:end])
		from = end
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	base, err := t.client.Produce(ctx, t.partition, values)
	if errors.Is(err, kafka.ErrTooLarge) && t.largest == 0 {
		err = t.oversize(values)
	}
	if err != nil {
		t.failed = fmt.Errorf("publishing to %s: %w", t.to, err)
		return t.failed
	}
	t.at.Next[t.partition] = base + int64(len(values))
	t.pending, t.ends = t.pending[:0], t.ends[:0]
	return nil
}

// oversize says which message was too large for a topic whose limit may not be read: the largest of those that it refused.
func (t *Topic) oversize(values [][]byte) error {
	most := slices.MaxFunc(values, func(a, b []byte) int { return len(a) - len(b) })
	return &TooLargeError{Topic: t.to, Size: kafka.BatchSize([][]byte{most})}
}

// Position is how far the publication came when Flush last returned nil. It stays where it was as long as messages
// behind it may be an earlier run's.
func (t *Topic) Position() Position {
	if len(t.stored) > 0 {
		return Position{Topic: t.at.Topic, Next: maps.Clone(t.begun.Next)}
	}
	return Position{Topic: t.at.Topic, Next: maps.Clone(t.at.Next)}
}

// Close flushes, and enters how many records were published, if any were.
func (t *Topic) Close(ctx context.Context) error {
	err := t.Flush(ctx)
	if !t.disclosed {
		return errors.Join(err, t.client.Close())
	}
	if told := t.reader.Disclosed(ctx, "kafka", t.to, t.salted, t.records); told != nil {
		err = errors.Join(err, fmt.Errorf("how many records were published could not be entered under control/inbox/: %w", told))
	}
	return errors.Join(err, t.client.Close())
}
