package commit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
)

// noted signs a line of JSON that may be no commit.
func noted(t *testing.T, line string) []byte {
	t.Helper()
	signer, _ := newSigner(t, "acme/compactor/a")
	file, err := note.Sign(&note.Note{Text: line + "\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// padded makes a file as long as asked for, with a signature of somebody unknown.
func padded(file []byte, size int) []byte {
	const fixed = len("— x \n") + len("AAAA")
	n := (size - len(file) - fixed) / 4
	name := strings.Repeat("x", size-len(file)-fixed-4*n+1)
	return append(bytes.Clone(file), "— "+name+" "+base64.StdEncoding.EncodeToString(make([]byte, 3*n+3))+"\n"...)
}

func TestParse(t *testing.T) {
	good := history(t)[1]
	line, _, _ := strings.Cut(string(good.file), "\n")
	_, known := newSigner(t, "acme/compactor/a")
	other, otherKey := newSigner(t, "acme/compactor/b")
	c := *good.c
	c.By = other.Name()
	lie, err := c.Sign(other)
	if err != nil {
		t.Fatal(err)
	}
	c.By = known.Name()
	borrowed, err := c.Sign(other)
	if err != nil {
		t.Fatal(err)
	}
	edited := func(old, new string) []byte {
		if strings.Count(line, old) != 1 {
			t.Fatalf("%s: not once in %s", old, line)
		}
		return noted(t, strings.Replace(line, old, new, 1))
	}
	unsigned := "this is no signed note"
	for _, x := range []struct {
		name         string
		file         []byte
		parse, peeks string // what is said against it
	}{
		{"as it is", good.file, "", ""},
		{"the longest", padded(good.file, commit.MaxLen), "", ""},
		{"one byte longer", padded(good.file, commit.MaxLen+1), "file of 16777217 bytes", unsigned},
		{"another wrote it", lie, "", ""},
		{"another signed it", borrowed, "signed by acme/compactor/b, not by acme/compactor/a", ""},
		{"changed", bytes.Replace(good.file, []byte(`"n":1`), []byte(`"n":2`), 1), "signature: invalid signature", ""},
		{"not signed", []byte(line + "\n"), "signature: malformed note", unsigned},
		{"nothing", nil, "signature: malformed note", unsigned},
		{"no JSON", noted(t, line[1:]), "commit/v1: invalid character", "commit/v1: invalid character"},
		{"another version", edited("commit/v1", "commit/v2"), `the file is "commit/v2"; a newer stele may read it`, "a newer stele may read it"},
		{"of no kind", edited(`"stele":"commit/v1",`, ""), `the file is "";`, `the file is "";`},
		{"another member", edited(`"n":1`, `"n":1,"m":1`), `unknown field "m"`, `unknown field "m"`},
		{"another member inside", edited(`"first":5`, `"first":5,"m":1`), `unknown field "m"`, `unknown field "m"`},
		{"something behind it", noted(t, line+"{}"), "after top-level value", "after top-level value"},
		{"no number", edited(`"n":1`, `"n":"1"`), "cannot unmarshal string", "cannot unmarshal string"},
		{"a short hash", edited(good.c.Prev.String(), good.c.Prev.String()[2:]), "62 hex digits, not 64", "62 hex digits"},
	} {
		t.Run(x.name, func(t *testing.T) {
			parsed, err := commit.Parse(x.file, note.VerifierList(known, otherKey))
			says(t, err, x.parse)
			peeked, err := commit.Peek(x.file)
			says(t, err, x.peeks)
			if x.parse == "" && (parsed.Stele != "commit/v1" || parsed.N != 1 || parsed.Log != logQ3 || peeked == nil || peeked.N != 1 || peeked.Log != logQ3) {
				t.Errorf("%+v, %+v", parsed, peeked)
			}
		})
	}
	_, err = commit.Parse(good.file, note.VerifierList(otherKey))
	says(t, err, "signature: note has no verifiable signatures")
}

// TestPeekNewer: what every version says is read of one that is not known here, and nothing of what does not say it.
func TestPeekNewer(t *testing.T) {
	const line = `{"stele":"commit/v2","archive":"07000000000000000000000000000000","log":"acme/3/2026Q3","n":0,"by":"acme/compactor/a","control":12,"more":[{}]}`
	want := commit.Commit{Stele: "commit/v2", Archive: commit.Hex16{7}, Log: logQ3, By: "acme/compactor/a", Control: 12}
	file := noted(t, line)
	edit := func(old, new string) []byte {
		if strings.Count(line, old) != 1 {
			t.Fatalf("%s: not once in %s", old, line)
		}
		return noted(t, strings.Replace(line, old, new, 1))
	}
	for _, x := range []struct {
		name string
		file []byte
		ok   bool
	}{
		{"as it is", file, true},
		{"the longest", padded(file, commit.MaxLen), true},
		{"one byte longer", padded(file, commit.MaxLen+1), false},
		{"of this version, with a member that is not known", edit("commit/v2", "commit/v1"), true},
		{"not a commit", edit("commit/v2", "head/v2"), false},
		{"of no kind", edit(`"stele":"commit/v2",`, ""), false},
		{"no number", edit(`"n":0,`, ""), false},
		{"a number of another kind", edit(`"n":0`, `"n":"0"`), false},
		{"no JSON", edit("}]}", "}]"), false},
		{"nothing", nil, false},
	} {
		c, ok := commit.PeekNewer(x.file)
		if ok != x.ok || ok != (c != nil) {
			t.Errorf("%s: %v, %+v", x.name, ok, c)
		}
		if ok {
			c.Stele = want.Stele
			got, _ := json.Marshal(c)
			if all, _ := json.Marshal(want); !bytes.Equal(got, all) {
				t.Errorf("%s: %s", x.name, got)
			}
		}
	}
}

func TestObject(t *testing.T) {
	c := commit.Commit{Objects: []commit.Object{{Kind: "index", Key: "0"}, {Kind: "data", Class: "a", Key: "1"}, {Kind: "data", Class: "b", Key: "2"}, {Kind: "proof", Class: "b", Key: "3"}}}
	for _, x := range [][3]string{{"index", "", "0"}, {"data", "a", "1"}, {"data", "b", "2"}, {"proof", "b", "3"}, {"proof", "", ""}, {"data", "", ""}, {"index", "a", ""}, {"tips", "", ""}} {
		key := ""
		if o := c.Object(x[0], x[1]); o != nil {
			key = o.Key
		}
		if key != x[2] {
			t.Errorf("%s of %q is %q", x[0], x[1], key)
		}
	}
}

func TestMarshalLine(t *testing.T) {
	line, err := commit.MarshalLine("a<b>&c") // compact JSON of anybody else has no escapes there
	if string(line) != "\"a<b>&c\"\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
}

func TestHex(t *testing.T) {
	digits := strings.Repeat("0123456789abcdef", 2)
	for _, x := range []struct{ text, says string }{
		{digits, ""},
		{strings.Repeat("0", 32), ""},
		{digits[2:], "30 hex digits, not 32"},
		{digits[1:], "31 hex digits, not 32"},
		{digits + "0", "33 hex digits, not 32"},
		{digits + digits, "64 hex digits, not 32"},
		{"", "0 hex digits, not 32"},
		{digits[:31] + "F", "hex digits must be lower case"},
		{"A" + digits[1:], "hex digits must be lower case"},
		{digits[:31] + "g", "invalid byte"},
		{" " + digits[:31], "invalid byte"},
	} {
		var h commit.Hex16
		err := h.UnmarshalText([]byte(x.text))
		says(t, err, x.says)
		if err != nil {
			continue
		}
		text, err := h.MarshalText()
		if string(text) != x.text || h.String() != x.text || err != nil {
			t.Errorf("%s became %s, %s, %v", x.text, text, h, err)
		}
	}
	var h commit.Hex32
	says(t, h.UnmarshalText([]byte(digits)), "32 hex digits, not 64")
	says(t, h.UnmarshalText([]byte(digits+digits)), "")
	if text, err := h.MarshalText(); string(text) != digits+digits || h.String() != digits+digits || err != nil {
		t.Errorf("%s, %s, %v", text, h, err)
	}
}

// TestRepeats: the first commit of a log names all lanes and streams of the one before, none of them further back.
func TestRepeats(t *testing.T) {
	a, b := commit.Hex32{1}, commit.Hex32{2}
	id, other := commit.Hex16{1}, commit.Hex16{2}
	lanes := map[string]commit.Lane{"0": {Next: 7, Last: &a}, "1": {Next: 0}}
	tips := map[commit.Hex16]commit.Tip{id: {ID: id, Next: 4, Head: a}, other: {ID: other, Next: 9, Head: b, Closed: true}}
	notLane, notStream := func(s string) string { return "it does not go on where lane " + s }, func(id commit.Hex16) string { return "it does not repeat where stream " + id.String() }
	lane := func(name string, l commit.Lane) func(*commit.Commit) {
		return func(c *commit.Commit) { c.Source.Lanes[name] = l }
	}
	stream := func(t commit.Tip) func(*commit.Commit) { return func(c *commit.Commit) { c.Streams[0] = t } }
	same := a
	for _, x := range []ruling{
		{"as they were", func(*commit.Commit) {}, ""},
		{"the same digest", lane("0", commit.Lane{Next: 7, Last: &same}), ""},
		{"a lane further on", lane("0", commit.Lane{Next: 8, Last: &b}), ""},
		{"a lane further on, by what was lost", lane("0", commit.Lane{Next: 8}), ""},
		{"a lane that was at its start", lane("1", commit.Lane{Next: 1, Last: &b}), ""},
		{"a lane more", lane("2", commit.Lane{}), ""},
		{"a lane missing", func(c *commit.Commit) { delete(c.Source.Lanes, "1") }, notLane("1")},
		{"no lanes", func(c *commit.Commit) { c.Source.Lanes = nil }, notLane("")},
		{"a lane further back", lane("0", commit.Lane{Next: 6, Last: &a}), notLane("0 was, at 7")},
		{"another message in a lane", lane("0", commit.Lane{Next: 7, Last: &b}), notLane("0")},
		{"no message in a lane", lane("0", commit.Lane{Next: 7}), notLane("0")},
		{"a message where there was none", lane("1", commit.Lane{Last: &a}), notLane("1")},
		{"a stream further on", stream(commit.Tip{ID: id, Next: 5, Head: b}), ""},
		{"a stream more", func(c *commit.Commit) { c.Streams = append(c.Streams, commit.Tip{ID: commit.Hex16{3}}) }, ""},
		{"a stream missing", func(c *commit.Commit) { c.Streams = c.Streams[1:] }, notStream(id)},
		{"a closed stream missing", func(c *commit.Commit) { c.Streams = c.Streams[:1] }, notStream(other)},
		{"a stream under another id", stream(commit.Tip{ID: commit.Hex16{3}, Next: 4, Head: a}), notStream(id)},
		{"a stream further back", stream(commit.Tip{ID: id, Next: 3, Head: a}), notStream(id) + " was, at 4"},
		{"another head of a stream", stream(commit.Tip{ID: id, Next: 4, Head: b}), notStream(id)},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := commit.Commit{Source: commit.Source{Lanes: map[string]commit.Lane{"0": lanes["0"], "1": lanes["1"]}}, Streams: []commit.Tip{tips[id], tips[other]}}
			x.change(&c)
			says(t, c.Repeats(lanes, tips), x.says)
		})
	}
}

func TestComparePeriods(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want int
	}{
		{"2026", "2027", -1}, {"2026Q2", "2026-07", -1}, {"2026Q4", "2026-10-02", -1}, {"2026-12", "2026Q4", 1}, {"2026Q1", "2026", 1},
		{"2026", "2026Q1", -1}, {"2026", "2026", 0}, {"zz", "2026", 1}, {"2026", "zz", -1}, {"0 is none", "2026", 1}, {"2026", "0 is none", -1}, {"y", "z", -1}, {"z", "y", 1},
	} {
		if got := commit.ComparePeriods(x.a, x.b); got != x.want {
			t.Errorf("%s and %s: %d", x.a, x.b, got)
		}
	}
	for name, want := range map[string]time.Time{"2026Q1": time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), "2026Q4": time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
		"2026-11-28T1405": time.Date(2026, 11, 28, 14, 5, 0, 0, time.UTC)} {
		if start, ok := commit.PeriodStart(name); !start.Equal(want) || !ok {
			t.Errorf("%s starts at %s, %v", name, start, ok)
		}
	}
}

func TestStartsLater(t *testing.T) {
	for _, x := range []struct {
		period, next string
		want         bool
	}{
		{"2026", "2027", true}, {"2026", "2026Q2", true}, {"2026Q4", "2026-11", true}, {"2026-10", "2026-10-01T0001", true},
		{"2026", "2026", false}, {"2026", "2026Q1", false}, {"2026Q1", "2026", false}, {"2026-10", "2026Q4", false}, {"2026Q4", "2026-10-01T00", false},
		{"2027", "2026", false}, {"2026-11", "2026Q4", false}, {"none", "2026", false}, {"2026", "none", false}, {"none", "nune", false}, {"0001", "noneQ4", false},
	} {
		if commit.StartsLater(x.period, x.next) != x.want {
			t.Errorf("%s and %s: %v", x.period, x.next, !x.want)
		}
	}
}
