package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// Requests of our own, and the versions that we write and read. The layouts
// are those of the Apache Kafka protocol guide.
const (
	metadataVersion      = 10 // first with topic ids; flexible encoding
	fetchVersion         = 11 // last before flexible encoding
	deleteRecordsVersion = 1
)

// maxResponse bounds what one of our own requests reads into memory beyond
// what was asked for. The first batch of a fetch is sent whole whatever its
// size, and brokers limit batches far below this.
const maxResponse = 128 << 20

var (
	errShort        = errors.New("response is cut short or malformed")
	errIncompatible = errors.New("broker lacks API versions that this client needs")
)

// exchange is one request that is encoded and decoded here. It borrows an
// authenticated connection from kafka-go and does its own I/O on it.
type exchange struct {
	key      protocol.ApiKey
	version  int16
	flexible bool // header versions 2 and 1 with tagged fields
	id       int32
	clientID string
	body     []byte
	limit    int // bytes of response, beyond maxResponse
}

// ApiKey implements protocol.Message.
func (e *exchange) ApiKey() protocol.ApiKey { return e.key }

// Required implements protocol.RawExchanger.
func (e *exchange) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements protocol.RawExchanger. An error closes the connection.
func (e *exchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if _, err := rw.Write(e.encode()); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(rw, size[:]); err != nil {
		return nil, noEOF(err)
	}
	n := int64(binary.BigEndian.Uint32(size[:]))
	if n < 4 || n > int64(e.limit)+maxResponse {
		return nil, fmt.Errorf("%s response of %d bytes refused", e.key, n)
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(rw, buf); err != nil {
		return nil, noEOF(err)
	}
	r := reader{b: buf}
	if id := r.int32(); id != e.id {
		return nil, fmt.Errorf("%s response answers another request", e.key)
	}
	if e.flexible {
		r.tags()
	}
	if r.err != nil {
		return nil, r.err
	}
	return &reply{key: e.key, body: r.b}, nil
}

// encode lays out size, header and body.
func (e *exchange) encode() []byte {
	b := make([]byte, 4, 32+len(e.clientID)+len(e.body))
	b = binary.BigEndian.AppendUint16(b, uint16(e.key))
	b = binary.BigEndian.AppendUint16(b, uint16(e.version))
	b = binary.BigEndian.AppendUint32(b, uint32(e.id))
	b = appendString(b, e.clientID) // not compact, in any header version
	if e.flexible {
		b = append(b, 0) // no tagged fields
	}
	b = append(b, e.body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// toLeader is an exchange that must reach the leader of a partition.
type toLeader struct {
	exchange
	topic     string
	partition int32
}

// Broker implements protocol.BrokerMessage.
func (l *toLeader) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	none := protocol.Broker{ID: -1}
	topic, ok := cluster.Topics[l.topic]
	if !ok {
		return none, protocol.NewErrNoTopic(l.topic)
	}
	partition, ok := topic.Partitions[l.partition]
	if !ok {
		return none, protocol.NewErrNoPartition(l.topic, l.partition)
	}
	broker, ok := cluster.Brokers[partition.Leader]
	if !ok {
		return none, protocol.NewErrNoLeader(l.topic, l.partition)
	}
	return broker, nil
}

// reply is the undecoded body of a response.
type reply struct {
	key  protocol.ApiKey
	body []byte
}

// ApiKey implements protocol.Message.
func (r *reply) ApiKey() protocol.ApiKey { return r.key }

// ask sends body to any broker and returns the body of the answer.
func (c *Client) ask(ctx context.Context, key protocol.ApiKey, version int16, flexible bool, body []byte) ([]byte, error) {
	e := c.exchange(key, version, body)
	e.flexible = flexible
	return c.roundTrip(ctx, &e, 0)
}

// askLeader sends body to the leader of partition. The broker may hold the
// answer back for wait; limit is how many bytes were asked for.
func (c *Client) askLeader(ctx context.Context, key protocol.ApiKey, version int16, partition int, body []byte, wait time.Duration, limit int) ([]byte, error) {
	l := toLeader{exchange: c.exchange(key, version, body), topic: c.cfg.Topic, partition: int32(partition)}
	l.limit = limit
	return c.roundTrip(ctx, &l, wait)
}

func (c *Client) exchange(key protocol.ApiKey, version int16, body []byte) exchange {
	return exchange{key: key, version: version, id: c.lastID.Add(1), clientID: c.cfg.ClientID, body: body}
}

func (c *Client) roundTrip(ctx context.Context, m protocol.Message, wait time.Duration) ([]byte, error) {
	ctx, cancel := c.attempt(ctx, wait)
	defer cancel()
	res, err := c.transport.RoundTrip(ctx, c.api.Addr, m)
	if err != nil {
		return nil, err
	}
	return res.(*reply).body, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func appendCompactString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s))+1)
	return append(b, s...)
}

// reader decodes Kafka's primitive types from a slice. After the first error
// every call returns zero values; nothing is allocated beyond what is left.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err, r.b = errShort, nil
		return nil
	}
	head := r.b[:n:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) int8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.err != nil || n <= 0 {
		r.err, r.b = errShort, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// length turns a length from the wire into one that take refuses if absurd.
func length(n uint64) int { return int(min(n, math.MaxInt32)) }

// varint reads a zigzag number, as used inside record batches.
func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count checks the length of an array whose elements take at least one byte.
func (r *reader) count(n int64) int {
	if n > int64(len(r.b)) {
		r.err, r.b = errShort, nil
	}
	if r.err != nil || n < 0 { // -1 is a null array
		return 0
	}
	return int(n)
}

func (r *reader) array() int { return r.count(int64(r.int32())) }

func (r *reader) compactArray() int {
	n := r.uvarint()
	return r.count(int64(length(n)) - 1)
}

func (r *reader) string() string {
	n := int(r.int16())
	if n < 0 { // null
		return ""
	}
	return string(r.take(n))
}

func (r *reader) compactString() string {
	n := r.uvarint()
	if n == 0 { // null
		return ""
	}
	return string(r.take(length(n - 1)))
}

// tags skips the tagged fields that end every flexible structure.
func (r *reader) tags() {
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		r.uvarint()
		r.take(length(r.uvarint()))
	}
}
