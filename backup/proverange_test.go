package backup_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/testbed"
)

// answer makes a proof, and has it checked with the trust file alone.
func (a *testArchive) answer(q rangeproof.Query, whole bool) (cost rangeproof.Cost, e *Evidence, r *evidence.Report) {
	a.t.Helper()
	e, err := a.open().Answer(a.t.Context(), q, whole, func(c rangeproof.Cost) error { cost = c; return nil })
	if err != nil {
		a.t.Fatal(err)
	}
	if r, err = evidence.Check(a.trust(), e.File); err != nil {
		a.t.Fatal(err)
	}
	if cost.File < int64(len(e.File)) {
		a.t.Errorf("the file has %d bytes, and %d were announced", len(e.File), cost.File)
	}
	return cost, e, r
}

// What a query selects is found by whoever has the file, with who signed it, and the segments that cannot hold any are not shown.
func TestAnswer(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	h := time.Now().UTC().Truncate(time.Hour).Add(-10 * time.Hour)
	s := a.stream(keyscope.Link{})
	for i := range 4 {
		s.sendAt(h.Add(time.Duration(i)*time.Hour), h.Add(time.Duration(i)*time.Hour+time.Minute), h.Add(time.Duration(i)*time.Hour+2*time.Minute))
		a.once(keys)
	}
	s.close()
	a.once(keys)

	p, e, r := a.answer(rangeproof.Query{}, false)
	if len(r.Ranges) != 1 || len(r.Ranges[0].Matches) != 12 || p.Leaves != 14 || p.Segments != 5 || e.Records != 12 || !r.Whole() || p.Open != 0 {
		t.Fatalf("all: %+v, %+v", p, r.Ranges)
	}
	if r.Answer.Signed != 12 || !slices.ContainsFunc(r.Holds, func(s evidence.Statement) bool { return s.What == "certified" && s.Detail == "stream of default" }) {
		t.Errorf("the matches are not shown as their writer signed them: %+v", r.Answer)
	}
	a.python(e.File)

	hour := rangeproof.Query{Kind: "input", Model: "m1", Since: h.Add(time.Hour + time.Minute), Until: h.Add(2*time.Hour + time.Minute)}
	p, _, r = a.answer(hour, false)
	if x := r.Ranges[0]; p.Segments != 2 || x.First != 4 || x.Leaves != 6 || len(x.Matches) != 3 || !r.Whole() || r.Answer.Signed != 3 {
		t.Errorf("an hour: %+v, %+v", p, x)
	}
	var outside []string
	for _, s := range r.Holds {
		if s.What == "outside" {
			outside = append(outside, s.Detail)
		}
	}
	if want := []string{"leaves 0 to 3 of 14 are of other times", "leaves 10 to 13 of 14 are of other times"}; !slices.Equal(outside, want) {
		t.Errorf("outside: %q, want %q", outside, want)
	}
	p, _, r = a.answer(hour, true)
	if x := r.Ranges[0]; p.Segments != 5 || x.First != 0 || x.Leaves != 14 || len(x.Matches) != 3 || !r.Whole() {
		t.Errorf("an hour in the whole log: %+v, %+v", p, x)
	}
	if _, _, r = a.answer(rangeproof.Query{Kind: "error"}, false); len(r.Ranges[0].Matches) != 0 || !r.Whole() {
		t.Errorf("no errors: %+v", r.Ranges)
	}
	refused := errors.New("too much")
	if _, err := a.open().Answer(t.Context(), rangeproof.Query{}, false, func(rangeproof.Cost) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("who refuses gets %v", err)
	}
	for _, q := range []rangeproof.Query{{Since: h.Add(-time.Hour), Until: h}, {Kind: "thought"}, {Model: "gpt 4"}} {
		if _, err := a.open().Answer(t.Context(), q, false, func(rangeproof.Cost) error { return nil }); err == nil {
			t.Errorf("%+v: answered", q)
		}
	}
}

// python has the second verifier check a file that is whole.
func (a *testArchive) python(file []byte) {
	a.t.Helper()
	dir := a.t.TempDir()
	for name, data := range map[string][]byte{"trust.stele": a.trust(), "file": file} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(a.t.Context(), testbed.Python(a.t), "../examples/verify-python/verify.py", filepath.Join(dir, "trust.stele"), filepath.Join(dir, "file")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "records match") {
		a.t.Errorf("%v\n%s", err, out)
	}
}

// What was altered is not proved.
func TestAnswerFromAlteredArchive(t *testing.T) {
	a, store, _, _ := built(t)
	p, _, r := a.answer(rangeproof.Query{}, false)
	if p.Leaves != r.Ranges[0].Size {
		t.Fatalf("%+v", p)
	}
	for _, key := range keysOf(t, store, a.log()+"objects/") {
		if !strings.HasSuffix(key, ".index.arrow") && !strings.HasSuffix(key, ".proof") {
			continue
		}
		data := read(t, store, key)
		for at := 0; at < len(data); at += len(data)/2 + 1 {
			replace(t, store, key, flip(data, 8*at))
			e, err := a.open().Answer(t.Context(), rangeproof.Query{}, false, func(rangeproof.Cost) error { return nil })
			if err == nil {
				got, unsound := evidence.Check(a.trust(), e.File)
				if unsound != nil || !slices.EqualFunc(got.Ranges, r.Ranges, func(x, y rangeproof.Range) bool { return len(x.Matches) == len(y.Matches) && x.First == y.First }) {
					t.Errorf("%s with byte %d changed: %v", key, at, unsound)
				}
			}
			if err != nil && !strings.Contains(err.Error(), "logs/") {
				t.Errorf("%s with byte %d changed: %v", key, at, err)
			}
			replace(t, store, key, data)
		}
	}
}
