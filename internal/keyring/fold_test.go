package keyring

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
)

// TestCheckFold lets merges that are wrong in one thing each come to the check.
func TestCheckFold(t *testing.T) {
	ctx := context.Background()
	w, _ := filled(t, 60)
	for len(w.Runs) < 6 {
		w.fold(t, Batch{Scopes: []Scope{w.offer(30, 0)}})
	}
	var b Batch
	for range 500 {
		b.Scopes = append(b.Scopes, w.offer(30, 3))
	}
	good := w.write(t, func(out *keytrie.Writer) (*Ring, error) { return w.Fold(ctx, out, b) })
	if len(good.Runs) >= len(w.Runs) {
		t.Fatalf("%d runs became %d: nothing was merged", len(w.Runs), len(good.Runs))
	}
	if err := CheckFold(ctx, w.Ring, good, b); err != nil {
		t.Fatal(err)
	}
	less := b
	less.Scopes = b.Scopes[1:]
	fewer := w.write(t, func(out *keytrie.Writer) (*Ring, error) { return w.Fold(ctx, out, less) })
	last := len(good.Runs) - 1
	// Streams stand behind all tags and marks.
	dropLast := func(in []keytrie.Entry) []keytrie.Entry { return in[:len(in)-1] }
	for name, after := range map[string]*Ring{
		"a grant is missing":      fewer,
		"a key is missing":        w.rebuilt(t, good, last, false, dropLast),
		"a key more":              w.rebuilt(t, good, last, false, func(in []keytrie.Entry) []keytrie.Entry { return append(in, keytrie.Entry{Path: []byte{0x7f}}) }),
		"a value is changed":      w.rebuilt(t, good, last, false, func(in []keytrie.Entry) []keytrie.Entry { in[40].Value = []byte("x"); return in }),
		"a stream is missing":     w.rebuilt(t, good, last, true, dropLast),
		"a tag is missing":        w.rebuilt(t, good, last, true, func(in []keytrie.Entry) []keytrie.Entry { return in[1:] }),
		"a run is missing":        {Archive: good.Archive, Packs: good.Packs, Runs: good.Runs[:last]},
		"nothing was done":        w.Ring,
		"the pack cannot be read": {Archive: good.Archive, Packs: packs{}, Runs: good.Runs},
	} {
		if err := CheckFold(ctx, w.Ring, after, b); !errors.Is(err, ErrGate) {
			t.Errorf("%s: passes: %v", name, err)
		}
	}
}

// TestMergePolicy: runs stay few, and entries are written again few times, whatever comes in.
func TestMergePolicy(t *testing.T) {
	for _, size := range []func(i int) uint64{
		func(int) uint64 { return 1000 },
		func(i int) uint64 { return uint64(1 + i*7919%5000) },
		func(i int) uint64 { return uint64(1 << (i % 11)) },
		func(i int) uint64 { return uint64(i % 2) },
	} {
		var weights []uint64
		var total, written uint64
		most := 0
		for i := range 5000 {
			n := size(i)
			from := mergeFrom(weights, n)
			sum := n
			for _, x := range weights[from:] {
				sum += x
			}
			weights = append(weights[:from], sum)
			total += n
			written += sum
			most = max(most, len(weights))
		}
		t.Logf("%d entries, written %.1f times, at most %d runs", total, float64(written)/float64(total), most)
		if most > 20 || written > 14*total {
			t.Errorf("%d runs, %d entries written for %d", most, written, total)
		}
	}
}

// TestMergeKeepsValues: what a merge moves has the value that it had, also where no check of a key shows it.
func TestMergeKeepsValues(t *testing.T) {
	w := newWorld(3)
	w.fold(t, Batch{Intake: []IntakeKey{intake(keyscope.Week(keyscope.DayStart(firstDay))), intake(9999)}})
	for range 3 {
		w.fold(t, Batch{Scopes: []Scope{w.offer(5, 0)}})
	}
	var b Batch
	for range 50 {
		b.Scopes = append(b.Scopes, w.offer(5, 0))
	}
	good := w.write(t, func(out *keytrie.Writer) (*Ring, error) { return w.Fold(t.Context(), out, b) })
	if len(good.Runs) != 1 {
		t.Fatalf("%d runs: nothing was merged", len(good.Runs))
	}
	intakes := func(in []keytrie.Entry) (out []*keytrie.Entry) {
		for i := range in {
			if in[i].Path[0] == spaceIntake {
				in[i].Value = bytes.Clone(in[i].Value)
				out = append(out, &in[i])
			}
		}
		return out
	}
	for name, change := range map[string]func(*[]keytrie.Entry){
		"another seed":      func(in *[]keytrie.Entry) { intakes(*in)[0].Value[0]++ },
		"seeds changed":     func(in *[]keytrie.Entry) { x := intakes(*in); x[0].Value, x[1].Value = x[1].Value, x[0].Value },
		"another week":      func(in *[]keytrie.Entry) { x := intakes(*in)[1]; x.Path = bytes.Clone(x.Path); x.Path[2]++ },
		"the last one less": func(in *[]keytrie.Entry) { *in = (*in)[:len(*in)-1] },
		"one more": func(in *[]keytrie.Entry) {
			*in = append(*in, keytrie.Entry{Path: join(spaceSpent, make([]byte, scopePath-1))})
		},
	} {
		bad := w.rebuilt(t, good, 0, false, func(in []keytrie.Entry) []keytrie.Entry { change(&in); return in })
		if err := CheckFold(t.Context(), w.Ring, bad, b); !errors.Is(err, errDiffer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckFold(t.Context(), good, good, Batch{}); err != nil {
		t.Errorf("nothing is folded: %v", err)
	}
	if err := CheckFold(t.Context(), w.Ring, &Ring{Archive: w.Archive, Packs: w.packs, Runs: slices.Repeat(good.Runs, 3)}, b); !errors.Is(err, ErrGate) {
		t.Errorf("one run became three: %v", err)
	}
}
