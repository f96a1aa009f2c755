package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/logpipe"
)

var errCrash = errors.New("crash")

// fakeArchive gives records of three logs, in log order, some of which do not open at first.
type fakeArchive struct {
	sizes [3]uint64
	bad   map[string]bool
}

func (f *fakeArchive) body(log int, index uint64) string { return fmt.Sprintf("%d/%d", log, index) }

// records ends with errCrash after so many.
func (f *fakeArchive) records(crashAfter int) iter.Seq2[backup.Found, error] {
	return func(yield func(backup.Found, error) bool) {
		for log, n := range f.sizes {
			for i := range n {
				if crashAfter--; crashAfter < 0 {
					yield(backup.Found{}, errCrash)
					return
				}
				found := backup.Found{Log: fmt.Sprint("log", log), Index: 2 * i,
					Record: logpipe.Record{Kind: logpipe.Input, Body: []byte(f.body(log, i))}}
				var err error
				if f.bad[string(found.Body)] {
					err = &backup.RecordError{Log: found.Log, Index: found.Index, Err: errors.New("does not open")}
				}
				if !yield(found, err) {
					return
				}
			}
		}
	}
}

// TestRestoreGoesOn crashes restores at any record, with and without a saved state since, with half a line behind it,
// while the archive grows and some records cannot be opened for a time. In the end every record is there once.
func TestRestoreGoesOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "restore")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		archive := &fakeArchive{bad: map[string]bool{}}
		for run := rapid.IntRange(0, 4).Draw(t, "crashes"); run >= 0; run-- {
			for log := range archive.sizes {
				archive.sizes[log] += rapid.Uint64Range(0, 4).Draw(t, "grown")
			}
			clear(archive.bad)
			crashAfter := 1 << 30
			if run > 0 {
				crashAfter = rapid.IntRange(0, 20).Draw(t, "crash after")
				for _, body := range rapid.SliceOf(rapid.SampledFrom([]string{"0/0", "0/3", "1/1", "2/0", "2/2"})).Draw(t, "bad") {
					archive.bad[body] = true
				}
			}
			restoreOnce(t, archive, dir, crashAfter)
		}
		compareRestored(t, archive, filepath.Join(dir, "out", "records.jsonl"))
	})
}

// restoreOnce restores until the crash, which leaves the files as they are.
func restoreOnce(t *rapid.T, archive *fakeArchive, dir string, crashAfter int) {
	j := &restoring{app: &app{stderr: io.Discard}, answer: new(restoreAnswer),
		flags: restoreFlags{out: filepath.Join(dir, "out"), resume: filepath.Join(dir, "state"), erased: "omit"}}
	ctx := context.Background()
	err := j.open(ctx, "acme", func(state restoreState, resumed bool) (sink, error) {
		return openFileSink(j.flags.out, state.Bytes, resumed)
	})
	if err != nil {
		t.Fatal(err)
	}
	for f, err := range archive.records(crashAfter) {
		if rapid.IntRange(0, 3).Draw(t, "due") == 0 {
			j.saved = time.Time{}
		}
		err := j.run(ctx, func(yield func(backup.Found, error) bool) { yield(f, err) })
		if errors.Is(err, errCrash) {
			if rapid.Bool().Draw(t, "written") {
				_ = j.out.flush(ctx, &j.state)
				_, _ = j.out.(fileSink).f.WriteString(`{"kind":"input","body":"` + strings.Repeat("x", 500))
			}
			_ = j.out.(fileSink).f.Close()
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(ctx); err != nil {
		t.Fatal(err)
	}
}

func compareRestored(t *rapid.T, archive *fakeArchive, path string) {
	var want []string
	for log, n := range archive.sizes {
		for i := range n {
			want = append(want, fmt.Sprintf(`{"kind":"input","body":"%s"}`, archive.body(log, i)))
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if text := strings.TrimSuffix(string(data), "\n"); text != "" {
		got = strings.Split(text, "\n")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("restored %q\nwant %q", got, want)
	}
}
