package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/segmentio/kafka-go/compress"
)

const (
	maxInflated = 64 << 20 // decompressed bytes held for one fetch
	maxRecords  = 1 << 16  // records of one batch; a batch claiming more is damaged
	minRecord   = 7        // encoded size of the smallest record
)

var (
	errChecksum = errors.New("record batch fails its CRC-32C")
	errRecords  = errors.New("record batch with a valid checksum holds malformed records")
	errOldBatch = errors.New("record batch of a format before Kafka 0.11")
)

// batchReader walks the record batches of one fetch response.
type batchReader struct {
	b      []byte
	from   int64 // messages before it are skipped
	next   int64 // offset after the last batch read
	budget int   // decompressed bytes still allowed
	out    []Message
}

// readAll reads batches until the bytes end. A broker may cut the last batch;
// the part is left for the next fetch. On an error out holds what came before.
func (r *batchReader) readAll() error {
	for len(r.b) > batchMagicAt {
		length := int64(binary.BigEndian.Uint32(r.b[batchLengthAt:]))
		if length > int64(len(r.b)-batchPrefix) {
			return nil
		}
		size := batchPrefix + int(length)
		more, err := r.readBatch(r.b[:size:size])
		if err != nil || !more {
			return err
		}
		r.b = r.b[size:]
	}
	return nil
}

// readBatch appends the messages of one batch. It reports false if the batch
// has to wait for the next fetch because the decompression budget is spent.
func (r *batchReader) readBatch(batch []byte) (bool, error) {
	base := int64(binary.BigEndian.Uint64(batch))
	switch {
	case len(batch) <= batchMagicAt:
		return false, errShort
	case batch[batchMagicAt] != magicV2:
		r.damaged(batch, base, base, errOldBatch)
		return true, nil
	case len(batch) < batchHeader:
		return false, errShort
	}
	h := parseHeader(batch)
	if crc32.Checksum(batch[batchAttrsAt:], crc32.MakeTable(crc32.Castagnoli)) != h.crc {
		return false, fmt.Errorf("%w at offset %d", errChecksum, base)
	}
	last := base + int64(max(h.lastDelta, 0))
	if last < r.from {
		return true, nil
	}
	if h.attrs&attrControl != 0 { // a transaction marker, not a message
		r.next = max(r.next, last+1)
		return true, nil
	}
	spent := r.budget < maxInflated
	records, err := r.body(h, batch[batchHeader:])
	if errors.Is(err, errInflated) && spent && r.next > r.from {
		return false, nil // it may fit into a budget of its own
	}
	kept := len(r.out)
	if err == nil {
		err = r.readRecords(h, base, records)
	}
	if err != nil {
		r.out = r.out[:kept]
		r.damaged(batch, base, last, err)
	}
	r.next = max(r.next, last+1)
	return true, nil
}

// body returns the records of a batch, decompressed.
func (r *batchReader) body(h header, raw []byte) ([]byte, error) {
	codec := compress.Compression(h.attrs & attrCodec)
	if codec == compress.None {
		return raw, nil
	}
	plain, err := inflate(codec, raw, r.budget)
	r.budget -= min(len(plain), r.budget)
	return plain, err
}

func (r *batchReader) readRecords(h header, base int64, b []byte) error {
	if h.count < 0 || h.count > maxRecords || int(h.count) > len(b)/minRecord || h.lastDelta < 0 {
		return errRecords
	}
	rd := reader{b: b}
	before := int64(-1)
	for range h.count {
		body := reader{b: rd.take(valueLength(rd.varint()))}
		body.int8() // attributes
		timeDelta, delta := body.varint(), body.varint()
		skipKey(&body)
		value := body.take(valueLength(body.varint()))
		if rd.err != nil || body.err != nil || delta <= before || delta > int64(h.lastDelta) {
			return errRecords
		}
		before = delta
		if base+delta < r.from {
			continue
		}
		m := Message{Offset: base + delta, Value: value, Appended: h.attrs&attrAppendTime != 0}
		m.Time = time.UnixMilli(h.firstTime + timeDelta)
		if m.Appended {
			m.Time = time.UnixMilli(h.maxTime)
		}
		r.out = append(r.out, m)
	}
	if len(rd.b) > 0 {
		return errRecords
	}
	return nil
}

func skipKey(r *reader) { r.take(valueLength(r.varint())) }

// valueLength maps the length of a null (-1) to 0 and anything absurd to a
// length that no slice has.
func valueLength(n int64) int {
	switch {
	case n == -1:
		return 0
	case n < 0 || n > math.MaxInt32:
		return -1
	}
	return int(n)
}

// damaged records a batch that cannot be decoded as one message, so that a
// hostile writer cannot stop the partition.
func (r *batchReader) damaged(batch []byte, base, last int64, err error) {
	if last < r.from {
		return
	}
	r.out = append(r.out, Message{Offset: max(base, r.from), Value: batch, Err: err})
	r.next = max(r.next, last+1)
}

// header is the fixed part of a batch of format 2.
type header struct {
	crc       uint32
	attrs     uint16
	lastDelta int32
	firstTime int64
	maxTime   int64
	count     int32
}

// parseHeader wants at least batchHeader bytes.
func parseHeader(b []byte) header {
	be := binary.BigEndian
	return header{
		crc:       be.Uint32(b[batchCRCAt:]),
		attrs:     be.Uint16(b[batchAttrsAt:]),
		lastDelta: int32(be.Uint32(b[23:])),
		firstTime: int64(be.Uint64(b[27:])),
		maxTime:   int64(be.Uint64(b[35:])),
		count:     int32(be.Uint32(b[57:])),
	}
}
