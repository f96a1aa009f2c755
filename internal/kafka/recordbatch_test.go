package kafka

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"pgregory.net/rapid"
)

var goldenTime = time.UnixMilli(1_700_000_000_123)

// TestRecordSetGolden pins the bytes. The file is a dump of size, batch
// header and two records, laid out by hand from the protocol guide.
func TestRecordSetGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/recordset.hex")
	must(t, err)
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		field, _, _ := strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(field), ""))
	}
	want, err := hex.DecodeString(digits.String())
	must(t, err)
	got := appendRecordSet(nil, goldenTime, [][]byte{[]byte("one"), bytes.Repeat([]byte{0xab}, 70)})
	if !bytes.Equal(got, want) {
		t.Fatalf("got\n%x\nwant\n%x", got, want)
	}
}

// TestRecordSetReadByKafkaGo decodes with the library's own reader, which
// verifies the checksum.
func TestRecordSetReadByKafkaGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 1, 200).Draw(t, "values")
		set := appendRecordSet(nil, goldenTime, values)
		if len(set) != 4+BatchSize(values) {
			t.Fatalf("%d bytes, BatchSize says %d", len(set), BatchSize(values))
		}
		var rs protocol.RecordSet
		if _, err := rs.ReadFrom(bytes.NewReader(set)); err != nil {
			t.Fatal(err)
		}
		for i, want := range values {
			rec, err := rs.Records.ReadRecord()
			if err != nil {
				t.Fatal(err)
			}
			got, err := protocol.ReadAll(rec.Value)
			if err != nil || rec.Key != nil || rec.Offset != int64(i) || !rec.Time.Equal(goldenTime) || !bytes.Equal(got, want) {
				t.Fatalf("record %d: key %v offset %d time %v: %x, %v", i, rec.Key, rec.Offset, rec.Time, got, err)
			}
		}
		if _, err := rs.Records.ReadRecord(); !errors.Is(err, io.EOF) {
			t.Fatalf("more records than written: %v", err)
		}
	})
}

// TestRecordSetRoundTrip decodes with our own reader from every offset.
func TestRecordSetRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 1, 200).Draw(t, "values")
		from := rapid.IntRange(0, len(values)-1).Draw(t, "from")
		r := batchReader{b: appendRecordSet(nil, goldenTime, values)[4:], from: int64(from), budget: maxInflated}
		if err := r.readAll(); err != nil {
			t.Fatal(err)
		}
		if len(r.out) != len(values)-from || r.next != int64(len(values)) {
			t.Fatalf("%d messages and next %d from %d of %d", len(r.out), r.next, from, len(values))
		}
		for i, m := range r.out {
			if m.Offset != int64(from+i) || m.Err != nil || !m.Time.Equal(goldenTime) || !bytes.Equal(m.Value, values[from+i]) {
				t.Fatalf("message %d: %+v", i, m)
			}
		}
	})
}

func TestRecordSetAllocations(t *testing.T) {
	values := numbered(0, 1000)
	buf := appendRecordSet(nil, goldenTime, values)
	if n := testing.AllocsPerRun(20, func() { buf = appendRecordSet(buf[:0], goldenTime, values) }); n != 0 {
		t.Fatalf("%v allocations with a warm buffer", n)
	}
}

func BenchmarkRecordSet(b *testing.B) {
	for _, size := range []int{128, 1024, 64 << 10} {
		b.Run(fmt.Sprintf("value=%d", size), func(b *testing.B) {
			values := make([][]byte, max(1, 512<<10/size))
			for i := range values {
				values[i] = make([]byte, size)
			}
			var buf []byte
			b.ReportAllocs()
			b.SetBytes(int64(len(values) * size))
			for b.Loop() {
				buf = appendRecordSet(buf[:0], goldenTime, values)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(values)), "ns/record")
		})
	}
}
