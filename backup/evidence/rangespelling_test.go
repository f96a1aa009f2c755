package evidence

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/record"
)

// rangeSpellings are files by those who hold the key of a compactor, written in other ways than ours.
func rangeSpellings(t testing.TB) []rangeAttack {
	return slices.Concat(commitSpellings(t), entrySpellings(t), headSpellings(t), leafSpellings(t))
}

// resign signs another text.
func (w *rangeWorld) resign(by, text string) []byte {
	w.t.Helper()
	file, err := note.Sign(&note.Note{Text: text}, w.signers[by])
	w.must(err)
	return file
}

// commitSpellings are of the commit in part 19.
func commitSpellings(t testing.TB) (all []rangeAttack) {
	put := func(name string, parts ...Part) { all = append(all, rangeAttack{"spelling: " + name, parts, false}) }
	for name, edit := range map[string]func(string) string{
		"as it is":            func(s string) string { return s },
		"a space":             func(s string) string { return strings.Replace(s, `"n":3`, `"n": 3`, 1) },
		"a fraction":          func(s string) string { return strings.Replace(s, `"n":3`, `"n":3.0`, 1) },
		"an exponent":         func(s string) string { return strings.Replace(s, `"n":3`, `"n":3e0`, 1) },
		"a text for a number": func(s string) string { return strings.Replace(s, `"n":3`, `"n":"3"`, 1) },
		"a truth":             func(s string) string { return strings.Replace(s, `"n":3`, `"n":true`, 1) },
		"another case":        func(s string) string { return strings.Replace(s, `"n":3`, `"N":3`, 1) },
		"a member twice":      func(s string) string { return strings.Replace(s, `"n":3`, `"n":3,"n":3`, 1) },
		"an unknown member":   func(s string) string { return strings.Replace(s, `"n":3`, `"n":3,"x":3`, 1) },
		"another order":       func(s string) string { return strings.Replace(s, `"control":0,`, ``, 1) },
		"an empty list":       func(s string) string { return strings.Replace(s, `"control":0`, `"control":0,"records":0`, 1) },
		"an escape":           func(s string) string { return strings.Replace(s, `"commit/v1"`, `"commit\u002fv1"`, 1) },
		"another zone":        func(s string) string { return strings.Replace(s, `Z"`, `+00:00"`, 1) },
		"a day that is none":  func(s string) string { return strings.Replace(s, `-09-`, `-19-`, 1) },
		"zeros":               func(s string) string { return strings.Replace(s, `Z"`, `.10Z"`, 1) },
		"tips":                func(s string) string { return strings.Replace(s, `}}`, `},"streams":null}`, 1) },
		"final":               func(s string) string { return strings.TrimSuffix(s, "}\n") + `,"final":{"next":"x"}}` + "\n" },
		"final of more":       func(s string) string { return strings.TrimSuffix(s, "}\n") + `,"final":{"next":"x","y":1}}` + "\n" },
		"a tip": func(s string) string {
			return strings.TrimSuffix(s, "}\n") + `,"streams":[{"id":"` + strings.Repeat("0", 32) + `","service":"","key":null,"from":0,"next":0,"head":"` + strings.Repeat("0", 64) + `","every":0,"durability":0,"lane":""}]}` + "\n"
		},
		"a tip of more": func(s string) string {
			return strings.TrimSuffix(s, "}\n") + `,"streams":[{"id":"` + strings.Repeat("0", 32) + `","service":"","key":null,"from":0,"next":0,"head":"` + strings.Repeat("0", 64) + `","every":0,"durability":256,"lane":""}]}` + "\n"
		},
		"lanes": func(s string) string {
			return strings.Replace(s, `"cluster":""`, `"cluster":"","lanes":{"1":{"next":1},"2":{"next":2,"gap":[[1,2]]}}`, 1)
		},
		"lanes back": func(s string) string {
			return strings.Replace(s, `"cluster":""`, `"cluster":"","lanes":{"2":{"next":1},"1":{"next":2}}`, 1)
		},
		"a gap of 3": func(s string) string {
			return strings.Replace(s, `"cluster":""`, `"cluster":"","lanes":{"2":{"next":2,"gap":[[1,2,3]]}}`, 1)
		},
	} {
		w := newRangeWorld(t)
		file, _ := w.commitOf(logA, "acme/compactor/c1", nil)
		text, _, _ := strings.Cut(string(file), "\n\n")
		w.files = map[string][]byte{logA: w.resign("acme/compactor/c1", edit(text+"\n"))}
		w.entries = w.entries[:2]
		w.logHeads("acme/compactor/c1")
		w.list()
		_, parts := w.timed()
		put("commit: "+name, parts...)
	}
	return all
}

// entrySpellings are of entries of the control log.
func entrySpellings(t testing.TB) (all []rangeAttack) {
	put := func(name string, parts ...Part) { all = append(all, rangeAttack{"spelling: " + name, parts, false}) }
	for name, edit := range map[string]func(string) string{
		"as it is":      func(s string) string { return s },
		"a fraction":    func(s string) string { return strings.Replace(s, `"logs":2`, `"logs":2.0`, 1) },
		"an exponent":   func(s string) string { return strings.Replace(s, `"logs":2`, `"logs":2e0`, 1) },
		"a control":     func(s string) string { return strings.Replace(s, `"control":3`, `"control":3.0`, 1) },
		"another case":  func(s string) string { return strings.Replace(s, `"logs":2`, `"Logs":2`, 1) },
		"one more":      func(s string) string { return strings.Replace(s, `"logs":2`, `"logs":2,"x":1`, 1) },
		"other commits": func(s string) string { return strings.Replace(s, `"commit":3`, `"commit":3.0`, 1) },
		"texts":         func(s string) string { return strings.Replace(s, `"commit":3`, `"commit":"3"`, 1) },
		"no commit":     func(s string) string { return strings.Replace(s, `"commit":3,`, ``, 1) },
		"upper hex":     func(s string) string { return strings.Replace(s, `"hash":"`, `"hash":"A`, 1) },
	} {
		w := newRangeWorld(t)
		_, parts := w.timed()
		for i := range w.entries {
			if text, _, _ := strings.Cut(w.entries[i], "\n\n"); i >= 2 {
				w.entries[i] = string(w.resign("acme/compactor/c1", edit(text+"\n")))
			}
		}
		put("entry: "+name, append(slices.Clone(parts[:8]), w.keep("compactor ", "writer ")...)...)
	}
	return all
}

// headSpellings are of heads of data logs, which a range brings along.
func headSpellings(t testing.TB) (all []rangeAttack) {
	put := func(name string, parts ...Part) { all = append(all, rangeAttack{"spelling: " + name, parts, false}) }
	for name, edit := range map[string]func(string) string{
		"as it is":        func(s string) string { return s },
		"two blank lines": func(s string) string { return s + "\nmore\n" },
		"extension":       func(s string) string { return s + "more\n" },
		"a zero":          func(s string) string { return strings.Replace(s, "77", "077", 1) },
	} {
		w := newRangeWorld(t)
		w.entries = w.entries[:2]
		w.editHead = func(s string) string {
			if strings.HasPrefix(s, logA) {
				return edit(s)
			}
			return s
		}
		w.logHeads("acme/compactor/c1")
		w.list()
		w.editHead = nil
		put("head: "+name, w.loose(rangeproof.Query{})...)
	}
	return all
}

// leafSpellings are leaves that are none, and one that is there twice.
func leafSpellings(t testing.TB) (all []rangeAttack) {
	put := func(name string, parts ...Part) { all = append(all, rangeAttack{"spelling: " + name, parts, false}) }
	for name, edit := range map[string]func(*record.Leaf){
		"as it is":      func(*record.Leaf) {},
		"a kind":        func(l *record.Leaf) { l.Kind = 5 },
		"no kind":       func(l *record.Leaf) { l.Kind = 0 },
		"a class":       func(l *record.Leaf) { l.Class = "Default" },
		"no class":      func(l *record.Leaf) { l.Class = "" },
		"a long class":  func(l *record.Leaf) { l.Class = strings.Repeat("a", 33) },
		"a flag":        func(l *record.Leaf) { l.Flags = 64 },
		"a named class": func(l *record.Leaf) { l.Flags = record.NamedClass },
		"another named": func(l *record.Leaf) { l.Flags, l.Class = record.NamedClass, "other" },
		"a piece":       func(l *record.Leaf) { l.Type = record.Piece },
		"a named piece": func(l *record.Leaf) { l.Type, l.Flags = record.Piece, record.NamedClass },
		"a type":        func(l *record.Leaf) { l.Type = 8 },
		"no type":       func(l *record.Leaf) { l.Type = 0 },
		"an open":       func(l *record.Leaf) { l.Type = record.Open },
		"a loss of kind": func(l *record.Leaf) {
			*l = record.Leaf{Type: record.Loss, Kind: 1, Stream: l.Stream, Seq: l.Seq, Class: "a"}
		},
		"a loss":          func(l *record.Leaf) { *l = record.Leaf{Type: record.Loss, Stream: l.Stream, Seq: l.Seq, Class: "a"} },
		"an unclear text": func(l *record.Leaf) { l.Clear[record.Release] = "\x00 \xff" },
	} {
		w := newRangeWorld(t)
		w.entries = w.entries[:2]
		w.logs[logA] = slices.Clone(w.logs[logA])
		edit(&w.logs[logA][31])
		w.logHeads("acme/compactor/c1")
		w.list()
		put("leaf: "+name, w.loose(rangeproof.Query{})...)
	}
	w := newRangeWorld(t)
	w.entries = w.entries[:2]
	w.logs[logA] = slices.Clone(w.logs[logA])
	w.logs[logA][31] = w.logs[logA][30]
	w.logHeads("acme/compactor/c1")
	w.list()
	put("leaf: twice", w.loose(rangeproof.Query{})...)
	return all
}

// What a compactor signs is read in one spelling only, and what its leaves are is looked at.
func TestRangeSpellings(t *testing.T) {
	fine := []string{"commit: as it is", "commit: a tip", "commit: final", "commit: lanes", "entry: as it is", "head: as it is",
		"leaf: as it is", "leaf: a loss", "leaf: a named class", "leaf: a piece", "leaf: an unclear text", "leaf: twice"}
	for _, a := range rangeSpellings(t) {
		want := "failed"
		if slices.Contains(fine, strings.TrimPrefix(a.name, "spelling: ")) {
			want = ""
		}
		if v, _ := newRangeWorld(t).judge(a.parts...); v.Err != want {
			t.Errorf("%s: %q, want %q", a.name, v.Err, want)
		}
	}
}
