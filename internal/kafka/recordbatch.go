package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"time"
)

// Offsets into a record batch of format 2 (Kafka message format, "RecordBatch").
const (
	batchLengthAt = 8
	batchMagicAt  = 16
	batchCRCAt    = 17
	batchAttrsAt  = 21
	batchHeader   = 61
	batchPrefix   = 12 // base offset and length, not counted by the length itself

	magicV2 = 2

	attrCodec      = 0x07
	attrAppendTime = 0x08
	attrControl    = 0x20
)

// BatchSize is the encoded size of a batch of values, as the broker compares
// it with max.message.bytes.
func BatchSize(values [][]byte) int {
	size := batchHeader
	for i, v := range values {
		n := recordBody(i, v)
		size += varintSize(int64(n)) + n
	}
	return size
}

// recordBody is the size of a record behind its length: attributes, time
// delta, offset delta, null key, value with length, no headers.
func recordBody(i int, v []byte) int {
	return 1 + 1 + varintSize(int64(i)) + 1 + varintSize(int64(len(v))) + len(v) + 1
}

// appendRecordSet appends one uncompressed batch of format 2 preceded by its
// size in 4 bytes, as a produce request carries it. Records have no key, no
// headers and the same creation time. It allocates only to grow b.
func appendRecordSet(b []byte, created time.Time, values [][]byte) []byte {
	size := BatchSize(values)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	start := len(b)
	b = appendBatchHeader(b, size, len(values), created.UnixMilli())
	for i, v := range values {
		b = appendVarint(b, int64(recordBody(i, v)))
		b = append(b, 0, 0) // attributes, time delta
		b = appendVarint(b, int64(i))
		b = append(b, 1) // key of length -1: null
		b = appendVarint(b, int64(len(v)))
		b = append(b, v...)
		b = append(b, 0) // headers
	}
	batch := b[start:]
	sum := crc32.Checksum(batch[batchAttrsAt:], crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(batch[batchCRCAt:], sum)
	return b
}

func appendBatchHeader(b []byte, size, count int, ms int64) []byte {
	be := binary.BigEndian
	b = be.AppendUint64(b, 0) // base offset: set by the broker
	b = be.AppendUint32(b, uint32(size-batchPrefix))
	b = be.AppendUint32(b, 1<<32-1) // partition leader epoch: set by the broker
	b = append(b, magicV2)
	b = be.AppendUint32(b, 0) // checksum: set by the caller
	b = be.AppendUint16(b, 0) // attributes: no compression, creation time
	b = be.AppendUint32(b, uint32(count-1))
	b = be.AppendUint64(b, uint64(ms))
	b = be.AppendUint64(b, uint64(ms))
	b = be.AppendUint64(b, 1<<64-1) // no producer id
	b = be.AppendUint16(b, 1<<16-1) // no producer epoch
	b = be.AppendUint32(b, 1<<32-1) // no sequence
	return be.AppendUint32(b, uint32(count))
}

// appendVarint appends a zigzag number.
func appendVarint(b []byte, v int64) []byte {
	return binary.AppendUvarint(b, uint64(v<<1)^uint64(v>>63))
}

func varintSize(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}
