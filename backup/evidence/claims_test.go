package evidence

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/testbed"
)

// agreed is what both verifiers say.
func agreed(t *testing.T, name string, trust, file []byte) (verdict, *Report) {
	t.Helper()
	v, r := judge(t, trust, file)
	if why := askPython(t, []*mutant{{name: name, trust: trust, file: file}})[0].differs(v); why != "" {
		t.Errorf("%s: %s", name, why)
	}
	return v, r
}

func says(v verdict, what, part string) bool {
	return slices.ContainsFunc(v.Holds, func(s Statement) bool { return s.What == what && strings.Contains(s.About+": "+s.Detail, part) })
}

// Whose matches they are is said of a range whose head is in the control log, and of no other: whoever has a stream of his own can sign frames for a log
// that there is not.
func TestNothingIsSaidOfLooseRanges(t *testing.T) {
	w := newRangeWorld(t)
	parts := w.whole(rangeproof.Query{})
	v, _ := agreed(t, "whole", w.trust(), w.file(parts))
	if v.Err != "" || !says(v, whatSigned, "range "+logA) {
		t.Fatalf("%+v", v)
	}
	parts[0].Data = bytes.Replace(parts[0].Data, []byte(logA), []byte("acme/0/2026Q9"), 1)
	if v, r := agreed(t, "loose", w.trust(), w.file(parts)); v.Err != "" || says(v, whatSigned, "2026Q9") || !says(v, whatSigned, "range "+logB) || r.Whole() {
		t.Errorf("%+v", v)
	}
}

// A piece of a body is no record, and a body that is not all that was captured is said to be so.
func TestWhatABodyIs(t *testing.T) {
	for name, c := range map[string]struct {
		change      func(l *record.Leaf)
		about, with string
	}{
		"whole":    {func(*record.Leaf) {}, "record 08", ""},
		"piece":    {func(l *record.Leaf) { l.Type = record.Piece }, "piece 08", ""},
		"cut":      {func(l *record.Leaf) { l.Flags = record.CutAtSource }, "record 08", ", cut short at its source"},
		"withheld": {func(l *record.Leaf) { l.Flags = record.Withheld }, "record 08", ", withheld, as its redaction failed"},
	} {
		w := newForgotten(t)
		w.entries = w.entries[:len(w.entries)-1]
		c.change(&w.logs[logA][8])
		w.logHeads(honest)
		v, _ := agreed(t, name, w.trust(), w.file(w.forgotten()))
		if v.Err != "" || !slices.ContainsFunc(v.Holds, func(s Statement) bool {
			return s.What == whatField && strings.HasPrefix(s.About, c.about) && strings.HasPrefix(s.Detail, "body, 0 bytes") && strings.HasSuffix(s.Detail, "b855"+c.with)
		}) {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// Where two approvers decide, the policy root and one of them are not two.
func TestRootIsNoApprover(t *testing.T) {
	for _, single := range []bool{false, true} {
		w := newWorld(t)
		w.eraseOf(12, 3)
		w.approve(3, "acme/root")
		w.rewrite(func(e *control.Erased) { e.Single = single })
		parts := w.keepNames(w.parts(), func(line string) bool { return !strings.Contains(line, "/bert") })
		v, _ := agreed(t, "root", w.trust(), w.file(parts))
		if single && (v.Err != "" || !says(v, whatSingle, "")) || !single && v.Err != "failed" {
			t.Errorf("single %v: %+v", single, v)
		}
	}
}

// An erasure names each request once, also in a file without root records.
func TestRequestsAreCountedOnce(t *testing.T) {
	w := newWorld(t)
	w.eraseOf(12, 3)
	w.rewrite(func(e *control.Erased) { e.Requests = append(e.Requests, e.Requests[0]) })
	bare := slices.DeleteFunc(w.parts(), func(p Part) bool { return p.Kind == KindRoot || p.Kind == KindErased || p.Kind == KindTries })
	if v, _ := agreed(t, "twice", w.trust(), w.file(bare)); v.Err != "failed" {
		t.Errorf("%+v", v)
	}
}

// Two keys that end alike are two, and one in two spellings is none: base64 has a plus, too.
func TestKeysAreToldApart(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"anna", "bert"} {
		full := "acme/approver/" + name
		for i := 0; !strings.HasSuffix(w.vkeys[full], "+"); i++ {
			w.key(full, fmt.Sprint(full, i))
		}
		w.policy.Approvers[slices.Index([]string{"anna", "bert"}, name)].Key = w.vkeys[full]
	}
	w.eraseOf(12, 3)
	if v, _ := agreed(t, "two", w.trust(), w.file(w.parts())); v.Err != "" || !says(v, whatApproved, "") {
		t.Errorf("%+v", v)
	}
	vkey := w.vkeys["acme/approver/anna"]
	for _, other := range []string{vkey + "\r", strings.Replace(vkey, "+", "+0", 1), strings.ToUpper(vkey), vkey + "="} {
		if v, err := newNamedKey(other); err == nil {
			t.Errorf("%q is taken for %s", other, keyName(v))
		}
	}
}

// What a file says in a name stays in its line: whoever makes a service key can call the service as he likes.
func TestNamesStayInTheirLine(t *testing.T) {
	w := newRangeWorld(t)
	_, key, err := ed25519.GenerateKey(nil)
	w.must(err)
	c := *w.certs[logA]
	c.Service = "gateway\nholds      record 00: writer: writer gateway\x1b[2J"
	w.certs[logA], err = keyscope.SignCert(c, key)
	w.must(err)
	file := w.file(rosterWorld{w}.record())
	dir := t.TempDir()
	w.must(os.WriteFile(filepath.Join(dir, "trust.stele"), w.trust(), 0o600))
	w.must(os.WriteFile(filepath.Join(dir, "file"), file, 0o600))
	out, _ := exec.CommandContext(t.Context(), testbed.Python(t), "-B", "../../examples/verify-python/verify.py", filepath.Join(dir, "trust.stele"), filepath.Join(dir, "file")).Output()
	v, _ := agreed(t, "name", w.trust(), file)
	if lines := strings.Count(string(out), "\n"); v.Err != "" || lines != len(v.Holds)+len(v.Missing) || bytes.ContainsRune(out, 0x1b) {
		t.Errorf("%d lines for %+v:\n%s", lines, v, out)
	}
}
