package logpipe

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestOffsetsAreBounded(t *testing.T) {
	for _, n := range []int{1, 2, maxOffsets, maxOffsets + 1, maxOffsets + 2, 100_001} {
		var o offsets
		for i := range n {
			o.add(int64(i+1), int64(10*(i+1)))
		}
		var got [][2]int64
		if err := json.Unmarshal(o.json(), &got); err != nil {
			t.Fatal(err)
		}
		ordered := slices.IsSortedFunc(got, func(a, b [2]int64) int { return int(a[0] - b[0]) })
		if len(got) > maxOffsets+1 || n <= maxOffsets && len(got) != n || got[len(got)-1] != [2]int64{int64(n), int64(10 * n)} || !ordered {
			t.Errorf("%d chunks: %d offsets, the last %v", n, len(got), got[len(got)-1])
		}
		for i := 2; i < len(got)-1; i++ {
			if got[i][0]-got[i-1][0] != got[1][0]-got[0][0] || got[i][1] != 10*got[i][0] {
				t.Fatalf("%d chunks: uneven at %v", n, got[i])
			}
		}
		if len(o.json()) > 64<<10 {
			t.Errorf("%d bytes", len(o.json()))
		}
	}
}

// What tells of the stream belongs to the output, not to the error beside it.
func TestStreamAttributesAreOfTheOutput(t *testing.T) {
	var records []*Record
	c := NewCall(t.Context(), func(_ context.Context, r *Record) error {
		records = append(records, r)
		return nil
	}, Record{})
	c.Chunk([]byte("a"))
	c.Chunk([]byte("bc"))
	c.End(t.Context(), errors.New("cut"))
	if len(records) != 2 || string(records[0].Body) != "abc" ||
		!strings.Contains(string(records[0].Attributes), `"stele.stream.offsets":[[0,1],[0,3]]`) ||
		strings.Contains(string(records[1].Attributes), "stele.stream.offsets") {
		t.Errorf("%s\n%s", records[0].Attributes, records[1].Attributes)
	}
}
