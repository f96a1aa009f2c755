package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/segmentio/kafka-go/compress"
)

// batchOf encodes values at a base offset, with the given codec and attributes.
func batchOf(t testing.TB, base int64, codec compress.Compression, attrs uint16, values ...[]byte) []byte {
	t.Helper()
	batch := appendRecordSet(nil, goldenTime, values)[4:]
	if codec != compress.None {
		var b bytes.Buffer
		w := codec.Codec().NewWriter(&b)
		_, err := w.Write(batch[batchHeader:])
		must(t, err)
		must(t, w.Close())
		batch = append(batch[:batchHeader], b.Bytes()...)
	}
	return seal(batch, base, attrs|uint16(codec))
}

// seal sets base offset, attributes, length and checksum.
func seal(batch []byte, base int64, attrs uint16) []byte {
	be := binary.BigEndian
	be.PutUint64(batch, uint64(base))
	be.PutUint32(batch[batchLengthAt:], uint32(len(batch)-batchPrefix))
	be.PutUint16(batch[batchAttrsAt:], attrs)
	be.PutUint32(batch[batchCRCAt:], crc32.Checksum(batch[batchAttrsAt:], crc32.MakeTable(crc32.Castagnoli)))
	return batch
}

func readBatches(from int64, batches ...[]byte) (*batchReader, error) {
	r := &batchReader{b: bytes.Join(batches, nil), from: from, next: from, budget: maxInflated}
	return r, r.readAll()
}

func TestReadCompressed(t *testing.T) {
	long := []byte(strings.Repeat("sealed ", 5000))
	for _, codec := range []compress.Compression{compress.None, compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			r, err := readBatches(41, batchOf(t, 40, codec, 0, []byte("a"), []byte("b"), long), batchOf(t, 43, codec, 0, []byte("c")))
			must(t, err)
			if r.next != 44 || len(r.out) != 3 {
				t.Fatalf("next %d, %d messages", r.next, len(r.out))
			}
			for i, want := range [][]byte{[]byte("b"), long, []byte("c")} {
				if m := r.out[i]; m.Err != nil || m.Offset != int64(41+i) || !bytes.Equal(m.Value, want) {
					t.Fatalf("message %d: offset %d, error %v", i, m.Offset, m.Err)
				}
			}
		})
	}
}

// TestReadRawSnappy covers blocks without the Java library's framing.
func TestReadRawSnappy(t *testing.T) {
	batch := batchOf(t, 0, compress.None, 0, []byte("plain"))
	batch = append(batch[:batchHeader:batchHeader], snappy.Encode(nil, batch[batchHeader:])...)
	r, err := readBatches(0, seal(batch, 0, uint16(compress.Snappy)))
	must(t, err)
	if len(r.out) != 1 || string(r.out[0].Value) != "plain" {
		t.Fatalf("got %+v", r.out)
	}
}

// TestReadBomb wants a batch that expands beyond the limit to be handed on
// as it is, and what surrounds it to be read.
func TestReadBomb(t *testing.T) {
	zeros := make([]byte, maxInflated+1)
	for _, codec := range []compress.Compression{compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			bomb := batchOf(t, 1, codec, 0, zeros)
			r, err := readBatches(0, batchOf(t, 0, compress.None, 0, []byte("before")), bomb,
				batchOf(t, 2, compress.None, 0, []byte("after")))
			must(t, err)
			if len(r.out) != 3 || r.next != 3 || string(r.out[2].Value) != "after" {
				t.Fatalf("%d messages, next %d", len(r.out), r.next)
			}
			if m := r.out[1]; !errors.Is(m.Err, errInflated) || m.Offset != 1 || !bytes.Equal(m.Value, bomb) {
				t.Fatalf("bomb became offset %d of %d bytes, error %v", m.Offset, len(m.Value), m.Err)
			}
		})
	}
}

// endless counts what is read from it.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	e.read += len(b)
	return len(b), nil
}

func TestReadLimitedStops(t *testing.T) {
	var src endless
	if _, err := readLimited(&src, 1000); !errors.Is(err, errInflated) || src.read > 1001 {
		t.Fatalf("%d bytes read: %v", src.read, err)
	}
}

// TestReadBudget wants many batches that expand within the limit each, but
// not together, to be spread over several fetches.
func TestReadBudget(t *testing.T) {
	big := batchOf(t, 0, compress.Zstd, 0, make([]byte, maxInflated/2))
	second := seal(bytes.Clone(big), 1, uint16(compress.Zstd))
	third := seal(bytes.Clone(big), 2, uint16(compress.Zstd))
	r, err := readBatches(0, big, second, third)
	must(t, err)
	if len(r.out) != 1 || r.next != 1 {
		t.Fatalf("%d messages, next %d", len(r.out), r.next)
	}
	r, err = readBatches(1, second, third)
	must(t, err)
	if len(r.out) != 1 || r.next != 2 || r.out[0].Err != nil {
		t.Fatalf("%d messages, next %d", len(r.out), r.next)
	}
}

func TestReadDamage(t *testing.T) {
	good := batchOf(t, 10, compress.None, 0, []byte("first"))
	t.Run("checksum", func(t *testing.T) {
		for at := batchCRCAt; at < len(good); at++ {
			bad := bytes.Clone(good)
			bad[at] ^= 0x10
			if _, err := readBatches(10, bad); !errors.Is(err, errChecksum) {
				t.Fatalf("flip at %d: %v", at, err)
			}
		}
	})
	t.Run("checksum after a good batch", func(t *testing.T) {
		bad := batchOf(t, 11, compress.None, 0, []byte("second"))
		bad[len(bad)-2] ^= 1
		r, err := readBatches(10, good, bad)
		if !errors.Is(err, errChecksum) || len(r.out) != 1 || r.next != 11 {
			t.Fatalf("%d messages, next %d, %v", len(r.out), r.next, err)
		}
	})
	t.Run("cut", func(t *testing.T) {
		r, err := readBatches(10, good, batchOf(t, 11, compress.None, 0, []byte("second"))[:40])
		if err != nil || len(r.out) != 1 || r.next != 11 {
			t.Fatalf("%d messages, next %d, %v", len(r.out), r.next, err)
		}
	})
	t.Run("old format", func(t *testing.T) {
		old := bytes.Clone(good)
		old[batchMagicAt] = 1
		r, err := readBatches(10, old)
		must(t, err)
		if len(r.out) != 1 || !errors.Is(r.out[0].Err, errOldBatch) || r.next != 11 {
			t.Fatalf("got %+v, next %d", r.out, r.next)
		}
	})
}

// TestReadMalformed wants records that lie, under a valid checksum, to be
// handed on without a panic, and the next batch to be read.
func TestReadMalformed(t *testing.T) {
	be := binary.BigEndian
	cases := map[string]func([]byte) []byte{
		"count too high":   func(b []byte) []byte { be.PutUint32(b[57:], 1<<30); return b },
		"count negative":   func(b []byte) []byte { be.PutUint32(b[57:], 1<<31); return b },
		"count too low":    func(b []byte) []byte { be.PutUint32(b[57:], 1); return b },
		"delta too low":    func(b []byte) []byte { be.PutUint32(b[23:], 0); return b },
		"unknown codec":    func(b []byte) []byte { be.PutUint16(b[batchAttrsAt:], 7); return b },
		"not gzip":         func(b []byte) []byte { be.PutUint16(b[batchAttrsAt:], 1); return b },
		"not snappy":       func(b []byte) []byte { be.PutUint16(b[batchAttrsAt:], 2); return b },
		"not lz4":          func(b []byte) []byte { be.PutUint16(b[batchAttrsAt:], 3); return b },
		"not zstd":         func(b []byte) []byte { be.PutUint16(b[batchAttrsAt:], 4); return b },
		"length negative":  func(b []byte) []byte { b[batchHeader] = 0x13; return b },
		"length too high":  func(b []byte) []byte { b[batchHeader] = 0x7e; return b },
		"value too long":   func(b []byte) []byte { b[batchHeader+5] = 0x7e; return b },
		"bytes at the end": func(b []byte) []byte { return append(b, 0) },
		"cut records":      func(b []byte) []byte { return b[:len(b)-3] },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			bad := spoil(batchOf(t, 5, compress.None, 0, []byte("one"), []byte("two")))
			bad = seal(bad, 5, be.Uint16(bad[batchAttrsAt:]))
			r, err := readBatches(5, bad, batchOf(t, 7, compress.None, 0, []byte("next")))
			must(t, err)
			if len(r.out) != 2 || r.out[0].Err == nil || r.out[0].Offset != 5 || !bytes.Equal(r.out[0].Value, bad) {
				t.Fatalf("got %+v", r.out)
			}
			if string(r.out[1].Value) != "next" || r.next != 8 {
				t.Fatalf("after it: %+v, next %d", r.out[1], r.next)
			}
		})
	}
}

func TestReadControlAndTimes(t *testing.T) {
	appended := batchOf(t, 1, compress.None, 0, []byte("x"))
	later := goldenTime.Add(time.Hour)
	binary.BigEndian.PutUint64(appended[35:], uint64(later.UnixMilli()))
	seal(appended, 1, attrAppendTime)
	r, err := readBatches(0, batchOf(t, 0, compress.None, attrControl, []byte("marker")), appended)
	must(t, err)
	if len(r.out) != 1 || r.next != 2 || !r.out[0].Appended || !r.out[0].Time.Equal(later) {
		t.Fatalf("got %+v, next %d", r.out, r.next)
	}
	r, err = readBatches(2, batchOf(t, 0, compress.None, 0, []byte("old")))
	must(t, err)
	if len(r.out) != 0 || r.next != 2 {
		t.Fatalf("a batch before the offset gave %+v, next %d", r.out, r.next)
	}
}

// FuzzReadBatches wants no panic, no unbounded memory, and offsets that only
// rise. The checksum is repaired so that mutations reach the records.
func FuzzReadBatches(f *testing.F) {
	for _, codec := range []compress.Compression{compress.None, compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		f.Add(batchOf(f, 3, codec, 0, []byte("one"), []byte("two"), nil), int64(4), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, from int64, repair bool) {
		if repair && len(b) >= batchHeader {
			b = bytes.Clone(b)
			seal(b, int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint16(b[batchAttrsAt:]))
		}
		r := &batchReader{b: b, from: from, next: from, budget: 1 << 20}
		_ = r.readAll()
		last := from - 1
		for _, m := range r.out {
			if m.Offset <= last && m.Err == nil {
				t.Fatalf("offset %d after %d", m.Offset, last)
			}
			last = max(last, m.Offset)
		}
		if r.next < from {
			t.Fatalf("next %d moved back from %d", r.next, from)
		}
	})
}

func ExampleParseURL() {
	cfg, err := ParseURL("kafka://a.example:9092,b.example/frames?tls=true&sasl=scram-sha-512")
	fmt.Println(cfg.Brokers, cfg.Topic, cfg.TLS != nil, cfg.SASLName, err)
	// Output: [a.example:9092 b.example:9092] frames true scram-sha-512 <nil>
}
