package evidence

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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

// Files that are not there, or the two in the wrong order, are no verdict on the evidence.
func TestPythonNamesWrongFiles(t *testing.T) {
	name := fixtures()[0]
	dir := t.TempDir()
	trust, file := filepath.Join(dir, "trust"), filepath.Join(dir, "file")
	for path, data := range map[string][]byte{trust: load(t, trustOf(name)), file: load(t, name)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{file, trust}, 1, file + " is no trust file"},
		{[]string{trust, dir + "/none"}, 1, "No such file"},
		{[]string{trust, trust}, 3, "does not start like"},
	} {
		out, err := exec.Command(testbed.Python(t), append([]string{"-B", "../../examples/verify-python/verify.py"}, c.args...)...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != c.code || !strings.Contains(string(out), c.want) || strings.Contains(string(out), "Traceback") {
			t.Errorf("%q: %v\n%s", c.args, err, out)
		}
	}
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
	why  string
	code int // exit code
}

// exitCode is that of 'stele check' for a file.
func exitCode(v verdict, r *Report) int {
	switch {
	case v.Err == "format":
		return 3
	case v.Err == "failed":
		return 10
	case !r.Whole():
		return 11
	case !r.Vouched():
		return 12
	}
	return 0
}

// differs says how a verdict of Python differs from that of Go; "" if it does not. What its own program did not foresee is no verdict.
func (v pythonVerdict) differs(want verdict) string {
	only := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(x string) bool { return slices.Contains(b, x) })
	}
	lines := func(v verdict) (all []string) {
		for _, s := range v.Holds {
			all = append(all, fmt.Sprint(s))
		}
		return append(all, v.Missing...)
	}
	mine, theirs := lines(want), lines(v.verdict)
	switch {
	case strings.Contains(v.why, "Error: "):
		return "Python broke"
	case v.Err != want.Err:
		return fmt.Sprintf("Go %q, Python %q", want.Err, v.Err)
	case !slices.Equal(mine, theirs):
		return fmt.Sprintf("Go alone %.600q, Python alone %.600q", only(mine, theirs), only(theirs, mine))
	}
	return ""
}

// python is one process of the second verifier, which checks file after file.
type python struct {
	t      testing.TB
	in     *json.Encoder
	out    *bufio.Reader
	stderr *bytes.Buffer
}

func newPython(t testing.TB) *python {
	t.Helper()
	p := &python{t: t, stderr: new(bytes.Buffer)}
	cmd := exec.Command(testbed.Python(t), "-B", "../../examples/verify-python/verify.py", "--batch")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && !t.Failed() {
			t.Errorf("%v\n%s", err, p.stderr)
		}
	})
	p.in, p.out = json.NewEncoder(in), bufio.NewReader(out)
	return p
}

// ask has it check some files.
func (p *python) ask(all []*mutant) (out []pythonVerdict) {
	p.t.Helper()
	go func() {
		for _, m := range all {
			if p.in.Encode(map[string][]byte{"trust": m.trust, "file": m.file}) != nil {
				return // it ended, which whoever reads finds out
			}
		}
	}()
	for range all {
		line, err := p.out.ReadBytes('\n')
		var a struct {
			Code       int
			Error, Why string
			Holds      [][4]string
			Missing    [][2]string
		}
		if err == nil {
			err = json.Unmarshal(line, &a)
		}
		if err != nil {
			p.t.Fatalf("%s: %v\n%s", all[len(out)].name, err, p.stderr)
		}
		v := pythonVerdict{verdict{Err: a.Error}, a.Why, a.Code}
		for _, h := range a.Holds {
			v.Holds = append(v.Holds, Statement{h[0], h[1], h[2], h[3]})
		}
		for _, m := range a.Missing {
			v.Missing = append(v.Missing, m[0]+" "+m[1])
		}
		out = append(out, v)
	}
	return out
}

// askPython has one process check all files.
func askPython(t *testing.T, all []*mutant) []pythonVerdict {
	t.Helper()
	return newPython(t).ask(all)
}
