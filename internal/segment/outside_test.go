package segment

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/google/go-cmp/cmp"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/merkle"
)

func outsideRun(t *testing.T) (*run, *Segment) {
	t.Helper()
	r := makeRun(t, 11, 2, 6, shape{rows: 1500, blockRows: 40, blockLen: 4000, models: 3})
	return r, r.write(t, NewWriter(testArchive, testLog, merkle.Frontier{}))
}

// What Arrow's own readers see in the file, and in the stream that it also is.
func TestArrowReads(t *testing.T) {
	r, s := outsideRun(t)
	file, err := ipc.NewFileReader(bytes.NewReader(s.Index))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := ipc.NewReader(bytes.NewReader(s.Index[8:]))
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for i := range file.NumRecords() {
		rec, err := file.Record(i)
		if err != nil {
			t.Fatal(err)
		}
		again, err := stream.Read()
		if err != nil || !array.RecordEqual(rec, again) {
			t.Fatalf("batch %d of the stream differs: %v", i, err)
		}
		model, seq := rec.Column(colClass+1+record.Model).(*array.Dictionary), rec.Column(colSeq).(*array.Uint64)
		for k := range int(rec.NumRows()) {
			if model.ValueStr(k) != r.leaves[at].Clear[record.Model] || seq.Value(k) != r.leaves[at].Seq {
				t.Fatalf("row %d differs", at)
			}
			at++
		}
	}
	if _, err := stream.Read(); !errors.Is(err, io.EOF) || at != len(r.leaves) {
		t.Fatalf("%d of %d rows, then %v", at, len(r.leaves), err)
	}
}

// What pyarrow and DuckDB see.
func TestPythonReads(t *testing.T) {
	python := testbed.Python(t)
	r, s := outsideRun(t)
	dir := t.TempDir()
	files := map[string][]byte{"index.arrow": s.Index, "head": cut(s.Index, s.IndexSpans.Head), "batch": cut(s.Index, s.IndexSpans.Batches[1])}
	for _, d := range s.Data {
		files["data."+d.Class+".arrow"] = d.Bytes
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/read.py", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	var got seen
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(expect(t, r, s), got); diff != "" {
		t.Error(diff)
	}
}

// seen is what testdata/read.py prints.
type seen struct {
	Rows        int               `json:"rows"`
	Batches     int               `json:"batches"`
	Schema      map[string]string `json:"schema"`
	Metadata    map[string]string `json:"metadata"`
	StreamEqual bool              `json:"stream_equal"`
	AloneEqual  bool              `json:"alone_equal"`
	ByHour      [][3]any          `json:"by_hour"` // model, hour, count
	Inputs      int               `json:"inputs"`
	Scopes      int               `json:"scopes"`
	Blocks      map[string]int    `json:"blocks"`
	Matching    int               `json:"matching"`
}

func expect(t *testing.T, r *run, s *Segment) seen {
	t.Helper()
	scopes := map[[16]byte]bool{}
	want := seen{Rows: len(r.leaves), Batches: len(s.IndexSpans.Batches), StreamEqual: true, AloneEqual: true,
		Blocks: map[string]int{}, Schema: map[string]string{},
		Metadata: map[string]string{"stele": "index/v1", "archive": "a1020304000000000000000000000000", "log": testLog, "first": "0"}}
	for _, f := range indexSchema(testArchive, testLog, 0).Fields() {
		want.Schema[f.Name] = map[string]string{
			"dictionary<values=utf8, indices=int8, ordered=false>":                   "dictionary<values=string, indices=int8, ordered=0>",
			"dictionary<values=utf8, indices=int16, ordered=false>":                  "dictionary<values=string, indices=int16, ordered=0>",
			"dictionary<values=fixed_size_binary[16], indices=int16, ordered=false>": "dictionary<values=fixed_size_binary[16], indices=int16, ordered=0>",
			"dictionary<values=fixed_size_binary[16], indices=int32, ordered=false>": "dictionary<values=fixed_size_binary[16], indices=int32, ordered=0>",
		}[f.Type.String()]
		if want.Schema[f.Name] == "" {
			want.Schema[f.Name] = f.Type.String()
		}
	}
	want.Schema["time"] = "timestamp[ns, tz=UTC]"
	for _, c := range s.Data {
		want.Blocks[c.Class] = len(openBlocks(t, c))
	}
	hours := map[string]map[int64]int{}
	for i := range r.leaves {
		l := &r.leaves[i]
		if l.Kind == 1 {
			want.Inputs++
		}
		if hasBlock(l.Type) {
			want.Matching++
			scopes[l.Scope] = true
		}
		if m := l.Clear[record.Model]; l.Type == record.Plain {
			if hours[m] == nil {
				hours[m] = map[int64]int{}
			}
			hours[m][l.Time/3_600_000_000_000]++
		}
	}
	want.ByHour, want.Scopes = sortedHours(hours), len(scopes)
	return want
}

func sortedHours(hours map[string]map[int64]int) (rows [][3]any) {
	for _, model := range slices.Sorted(maps.Keys(hours)) {
		for _, hour := range slices.Sorted(maps.Keys(hours[model])) {
			rows = append(rows, [3]any{model, float64(hour), float64(hours[model][hour])}) // as JSON numbers come
		}
	}
	return rows
}
