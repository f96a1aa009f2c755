package evidence

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"testing"

	"github.com/stelelog/stele/internal/testbed"
)

// A second verifier, in another language and from the format page alone, must come to the same verdict on every file,
// whole or changed.
func TestPythonAgrees(t *testing.T) {
	var all []*mutant
	for _, name := range fixtures() {
		all = append(all, &mutant{name: name, trust: load(t, trustOf(name)), file: load(t, name)})
	}
	changed, one := 400, 8 // of the structural ones
	if testbed.Long() {
		changed, one = 12000, 1
	}
	n := 0
	structural(t, func(m *mutant) {
		if n++; n%one == 0 {
			all = append(all, m)
		}
	})
	changes(t, changed, func(m *mutant) { all = append(all, m) })
	all = append(all, certificates(t, one)...)
	answers := askPython(t, all)
	outcomes, differ := map[string]int{}, 0
	for i, m := range all {
		want, _ := judge(t, m.trust, m.file)
		got := answers[i]
		outcomes[got.Err]++
		if got.Err != want.Err || !slices.Equal(got.Holds, want.Holds) || !slices.Equal(got.Missing, want.Missing) {
			if differ++; differ > 10 {
				continue
			}
			t.Errorf("%s:\nGo     %s\nPython %s (%s)", m.name, want, got.verdict, got.why)
		}
	}
	t.Logf("%d files: %v, %d with another answer", len(all), outcomes, differ)
}

// certificates are of erasures that leave tries of many shapes, changes of one, and lies.
func certificates(t *testing.T, one int) (all []*mutant) {
	add := func(name string, change func(w *world), scopes, subjects int) {
		w := newWorld(t)
		w.eraseOf(scopes, subjects)
		if change != nil {
			change(w)
		}
		m := &mutant{name: name, trust: w.trust(), file: w.file(w.parts())}
		if v, _ := judge(t, m.trust, m.file); change == nil && v.Err != "" {
			t.Errorf("%s: %s", name, v)
		}
		all = append(all, m)
	}
	for _, scopes := range []int{1, 16, 17, 18, 33, 64, 250} {
		for _, subjects := range []int{1, 2, 3, 20} {
			add(fmt.Sprintf("%d scopes of %d subjects", scopes, subjects), nil, scopes, min(subjects, scopes))
		}
	}
	for name, lie := range lies() {
		add(name, lie.change, 40, 6)
	}
	add("destroyed by another", anotherDestroys, 40, 6)
	w, vouched := vouchCases(t)
	for _, c := range vouched {
		if c.why == "same key" {
			continue // the trust file is none
		}
		all = append(all, &mutant{name: c.name, trust: c.trust, file: w.file(c.parts)})
	}
	n := 0
	certificateMutants(t, func(m *mutant) {
		if n++; n%one == 0 {
			all = append(all, m)
		}
	})
	return all
}

type pythonVerdict struct {
	verdict
	why string
}

// askPython has one process check all files.
func askPython(t *testing.T, all []*mutant) (out []pythonVerdict) {
	t.Helper()
	var in, stderr bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, m := range all {
		if err := enc.Encode(map[string][]byte{"trust": m.trust, "file": m.file}); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), testbed.Python(t), "-B", "../../examples/verify-python/verify.py", "--batch")
	cmd.Stdin, cmd.Stderr = &in, &stderr
	printed, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	for lines := bufio.NewReader(bytes.NewReader(printed)); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var a struct {
			Error, Why string
			Holds      [][4]string
			Missing    [][2]string
		}
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatal(err)
		}
		v := pythonVerdict{verdict{Err: a.Error}, a.Why}
		for _, h := range a.Holds {
			v.Holds = append(v.Holds, Statement{h[0], h[1], h[2], h[3]})
		}
		for _, m := range a.Missing {
			v.Missing = append(v.Missing, m[0]+" "+m[1])
		}
		out = append(out, v)
	}
	if len(out) != len(all) {
		t.Fatalf("%d answers to %d files", len(out), len(all))
	}
	return out
}
