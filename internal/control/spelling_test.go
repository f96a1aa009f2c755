package control_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

// bodies are one of each type, with who may write it.
func (w *world) bodies() map[string]struct {
	by   string
	body any
} {
	type entry = struct {
		by   string
		body any
	}
	const compactor, service, reader = "compactor/default", "keyservice/default", "reader/reader"
	id := commit.Hex32{1}
	return map[string]entry{
		TypePolicy:     {"root", w.policy(2)},
		TypeReadKey:    {"root", ReadKey{Year: 2026, Key: []byte{1}, Wraps: []Wrap{{Reader: "x"}}}},
		TypeHeads:      {compactor, Heads{Heads: []Head{{Log: "test/0/2026Q3"}}}},
		TypeLogs:       {compactor, NewLogs(w.state.Size(), nil)},
		TypeProbe:      {compactor, Probe{Store: "s"}},
		TypeQuarantine: {compactor, Quarantine{Log: "test/0/2026Q3", Count: 1, Reasons: map[string]uint64{"x": 1}}},
		TypeDivergence: {compactor, Divergence{Log: "test/0/2026Q3", Kind: DivergedSource}},
		TypeAck:        {reader, Ack{UpTo: 1, Reason: "x"}},
		TypeDisclosure: {reader, Disclosure{What: "kafka", Salted: id}},
		TypeRequest:    {reader, w.erase()},
		TypeHold:       {"holder/legal", HoldBody{*w.selection()}},
		TypeRefusal:    {compactor, Refusal{Entry: id, Type: TypeApprove, Why: "role"}},
		TypeIntake:     {service, IntakeKeys{[]Intake{{Week: w.selection().Week + 1, Key: make([]byte, 1216)}}}},
		TypeKeyRoot:    {service, KeyRoot{N: 1, Hash: id}},
		TypeRoster:     {"root", NewRoster(w.state.Policy())},
		TypeExpired:    {compactor, Expired{Log: "test/0/2026Q3", Clock: Clock{Time: w.now, Source: ClockTrusted}}},
	}
}

// TestBodyInOneSpelling: no body of any type is taken that somebody else may read otherwise.
func TestBodyInOneSpelling(t *testing.T) {
	for kind, c := range newWorld(t).bodies() {
		line, err := commit.MarshalLine(c.body)
		if err != nil {
			t.Fatal(err)
		}
		body := strings.TrimSpace(string(line))
		first := body[1 : strings.IndexByte(body, ':')+1]
		for name, other := range map[string]string{
			"a member twice":   "{" + first + "null," + body[1:],
			"another spelling": "{" + strings.ToUpper(first) + body[len(first)+1:],
			"one more member":  body[:len(body)-1] + `,"more":1}`,
			"an escape":        `{"\u00` + hex(first[1]) + first[2:] + body[len(first)+1:],
			"no object":        "[" + body + "]",
		} {
			w := newWorld(t)
			if err := w.add(w.sign(c.by, kind, json.RawMessage(other))); why(err) != "invalid" {
				t.Errorf("%s with %s: %v", kind, name, err)
			}
		}
		w := newWorld(t)
		if err := w.add(w.sign(c.by, kind, c.body)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func hex(c byte) string { return string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]) }

// FuzzEntry: what is read as an entry is written just so, by other means, too, and says the same when it is written anew.
func FuzzEntry(f *testing.F) {
	w := newWorld(f)
	for kind, c := range w.bodies() {
		file := w.sign(c.by, kind, c.body)
		f.Add(file)
		f.Add(strings.Replace(file, `"type":`, `"Type":`, 1))
		f.Add(strings.Replace(file, `"by":`, `"by":"x","by":`, 1))
		f.Add(strings.Replace(file, `"body":`, `"body": `, 1))
	}
	f.Add("{}\n\n— x AAAA\n")
	f.Fuzz(func(t *testing.T, file string) {
		e, err := ParseEntry(file)
		if err != nil {
			return
		}
		text, sig, _ := strings.Cut(file, "\n\n")
		if strings.Count(sig, "\n") != 1 || !strings.HasPrefix(sig, "— ") {
			t.Fatalf("an entry with the signatures %q", sig)
		}
		var members []json.Token // of the line, as they stand there
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		for depth := 0; ; {
			tok, err := dec.Token()
			if err != nil {
				break
			}
			if d, ok := tok.(json.Delim); ok {
				depth += map[json.Delim]int{'{': 1, '[': 1, '}': -1, ']': -1}[d]
			} else if depth == 1 {
				members = append(members, tok)
			}
		}
		want := []json.Token{"stele", "entry/v1", "type", e.Type, "archive", e.Archive.String(), "time", e.Time.Format(time.RFC3339Nano), "by", e.By, "body"}
		for i, tok := range want {
			if i >= len(members) || members[i] != tok {
				t.Fatalf("member %d of %s is not %v", i, text, tok)
			}
		}
		again, err := commit.MarshalLine(e)
		if err != nil || !bytes.Equal(again, []byte(text+"\n")) {
			t.Fatalf("%s is written anew as %s (%v)", text, again, err)
		}
	})
}

// FuzzJudge: no text, signed with the control key, makes an object that can be read otherwise, or changes the log where it is refused.
func FuzzJudge(f *testing.F) {
	w := newWorld(f)
	for _, entry := range []string{w.sign("root", TypePolicy, w.policy(2)), w.sign("reader/reader", TypeRequest, w.erase()), "no entry"} {
		text, _, _ := strings.Cut(string(w.forge(entry)), "\n\n")
		f.Add(text)
		f.Add(strings.Replace(text, `"entries":`, `"entries":null,"entries":`, 1))
		f.Add(strings.Replace(text, `"entries":`, `"Entries":`, 1))
		f.Add(strings.Replace(text, `{`, `{ `, 1))
	}
	trust := w.state.Trust
	base := w.forge(w.sign("root", TypeProbe, Probe{}))
	f.Fuzz(func(t *testing.T, text string) {
		data, err := note.Sign(&note.Note{Text: text + "\n"}, w.keys["test/control"])
		if err != nil {
			return
		}
		size, root := w.state.Size(), mustRoot(t, w.state)
		_, _, err = w.state.Judge(chain.Object{N: w.n, Data: data})
		if w.state.Size() != size || mustRoot(t, w.state) != root {
			t.Fatal("an object changed the log before it was accepted")
		}
		if _, _, again := w.state.Judge(chain.Object{N: w.n, Data: base}); again != nil {
			t.Fatal(again)
		}
		if err != nil {
			return
		}
		var obj Object
		dec := json.NewDecoder(strings.NewReader(text))
		if err := dec.Decode(&obj); err != nil || obj.Archive != trust.Archive {
			t.Fatalf("%s of %v: %v", text, obj.Archive, err)
		}
		if line, err := commit.MarshalLine(obj); err != nil || string(line) != text+"\n" {
			t.Fatalf("%s is written anew as %s (%v)", text, line, err)
		}
	})
}

func mustRoot(t *testing.T, s *State) merkle.Hash {
	root, err := s.RootAt(s.Size())
	if err != nil {
		t.Fatal(err)
	}
	return root
}
