package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/testbed"
)

func load(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fixtures are files, and of which trust file. Those of vouched.stele have cosignatures and an anchor.
func fixtures() []string {
	return []string{"bare.evidence", "disclosed.evidence", "many.evidence", "vouched.evidence", "forgotten.evidence", "certificate.evidence"}
}

func trustOf(name string) string {
	if slices.Contains(fixtures()[:3], name) {
		return "trust.stele"
	}
	return "vouched.stele"
}

// mutant is a file that somebody changed, and the one it was.
type mutant struct {
	name        string
	trust, file []byte
	was         *Report
}

// verdict is the outcome of a check, for comparison with that of another program.
type verdict struct {
	Err     string // "", "format", "failed"
	Holds   []Statement
	Missing []string // about and what
}

// String is short enough to be printed for many.
func (v verdict) String() string {
	return fmt.Sprintf("%q, holds %.300v, missing %.300q", v.Err, v.Holds, v.Missing)
}

func judge(t testing.TB, trust, file []byte) (verdict, *Report) {
	t.Helper()
	r, err := Check(trust, file)
	wrong := new(FailedError)
	switch {
	case errors.As(err, &wrong):
		return verdict{Err: "failed"}, nil
	case errors.Is(err, ErrFormat):
		return verdict{Err: "format"}, nil
	case err != nil:
		t.Fatalf("an error of another kind: %v", err)
	}
	v := verdict{Holds: r.Holds}
	for _, m := range r.Missing {
		v.Missing = append(v.Missing, m.About+" "+m.What)
	}
	return v, r
}

// weaker says why a verdict on a changed file is not strictly weaker than that on the file; "" if it is.
func weaker(was, is *Report) string {
	for _, s := range is.Holds {
		if !slices.Contains(was.Holds, s) {
			return fmt.Sprintf("it now also shows %+v", s)
		}
	}
	for _, r := range is.Records {
		same := slices.ContainsFunc(was.Records, func(o Record) bool {
			for name, value := range r.Fields {
				if !bytes.Equal(o.Fields[name], value) {
					return false
				}
			}
			o.Fields = r.Fields
			if r.Log == "" {
				o.Log, o.Index = "", 0
			}
			if r.Service == "" {
				o.Service = ""
			}
			return reflect.DeepEqual(o, r)
		})
		if !same {
			return fmt.Sprintf("it now has another record: %+v", r)
		}
	}
	if len(is.Holds) >= len(was.Holds) && len(is.Missing) <= len(was.Missing) {
		return "it shows no less than before"
	}
	return ""
}

func (m *mutant) check(t testing.TB) verdict {
	t.Helper()
	v, r := judge(t, m.trust, m.file)
	if r != nil {
		if why := weaker(m.was, r); why != "" {
			t.Errorf("%s: accepted, and %s", m.name, why)
		}
	}
	return v
}

// What was made is whole, and only for the archive that it was made of.
func TestFilesHold(t *testing.T) {
	for _, name := range fixtures() {
		v, r := judge(t, load(t, trustOf(name)), load(t, name))
		if v.Err != "" || !r.Whole() || !r.Vouched() || len(r.Records) == 0 && name != "certificate.evidence" {
			t.Errorf("%s: %+v", name, v)
		}
		if v, _ := judge(t, load(t, "other.stele"), load(t, name)); v.Err != "failed" {
			t.Errorf("%s under the trust file of another archive: %+v", name, v)
		}
	}
}

// plain are operations that write parts as they are.
func plain(parts []Part) (ops []byte) {
	for _, p := range parts {
		ops = append(ops, p.Kind)
		if len(p.Data) > 0 {
			ops = append(binary.AppendUvarint(ops, operation(opLiteral, uint64(len(p.Data)))), p.Data...)
		}
		ops = append(ops, opLiteral)
	}
	return ops
}

// body is a file without its wrapping.
func body(t testing.TB, file []byte) []byte {
	t.Helper()
	_, parts, err := Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	return plain(parts)
}

func fileArchive(file []byte) [16]byte { return [16]byte(file[len(magic):]) }

// stored is a DEFLATE stream that does not compress.
func stored(b []byte) (out []byte) {
	for first := true; first || len(b) > 0; first = false {
		n := min(len(b), 65535)
		final := byte(0)
		if n == len(b) {
			final = 1
		}
		out = append(out, final, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8))
		out, b = append(out, b[:n]...), b[n:]
	}
	return out
}

// literally wraps operations as they are, without words.
func literally(archive [16]byte, ops []byte) []byte { return wrap(archive, nil, stored(ops)) }

// condensedly is a file of these parts in which a byte of the words or operations is changed; nil if it says the same.
func condensedly(archive [16]byte, parts []Part, at int, change byte) []byte {
	words, ops := condense(parts)
	if at %= len(words) + len(ops); at < len(words) {
		words[at] ^= change
	} else {
		ops[at-len(words)] ^= change
	}
	file := wrap(archive, words, stored(ops))
	if _, again, err := Parse(file); err == nil && reflect.DeepEqual(again, parts) {
		return nil
	}
	return file
}

// changes makes n copies of the fixtures, more of those that take less to check, with one byte changed: outside, where the
// digest covers all, and inside, in the operations or in what they write, packed again.
func changes(t testing.TB, n int, see func(*mutant)) {
	t.Helper()
	share := map[string]int{"bare.evidence": 30, "disclosed.evidence": 25, "many.evidence": 5, "vouched.evidence": 20, "forgotten.evidence": 10, "certificate.evidence": 10}
	for _, name := range fixtures() {
		trust, file := load(t, trustOf(name)), load(t, name)
		_, was := judge(t, trust, file)
		archive, parts, err := Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		inside := plain(parts)
		random := rand.New(rand.NewPCG(1, uint64(len(name))))
		for i := range n * share[name] / 100 {
			m := &mutant{trust: trust, was: was}
			change := byte(1 + random.IntN(255))
			switch at := random.IntN(1 << 20); i % 4 {
			case 0:
				at %= len(file)
				m.name, m.file = fmt.Sprintf("%s, byte %d ^ %#x", name, at, change), bytes.Clone(file)
				m.file[at] ^= change
			case 1:
				m.name, m.file = fmt.Sprintf("%s, byte %d of its operations ^ %#x", name, at, change), condensedly(archive, parts, at, change)
			default:
				at %= len(inside)
				m.name = fmt.Sprintf("%s, byte %d inside ^ %#x", name, at, change)
				b := bytes.Clone(inside)
				b[at] ^= change
				m.file = literally(archive, b)
			}
			if m.file != nil {
				see(m)
			}
		}
	}
}

// A byte that is changed makes a file that is refused, or shows less.
func TestAnyByteCounts(t *testing.T) {
	n := 10200
	if testbed.Long() {
		n *= 10
	}
	outcomes := map[string]int{}
	changes(t, n, func(m *mutant) { outcomes[m.check(t).Err]++ })
	t.Logf("%d format, %d failed, %d weaker", outcomes["format"], outcomes["failed"], outcomes[""])
	if outcomes["failed"] < 1000 || outcomes["format"] < 1000 || outcomes[""] == 0 {
		t.Errorf("the changes do not reach all kinds of outcomes: %v", outcomes)
	}
}

// structural are files that somebody put together from others.
func structural(t testing.TB, see func(*mutant)) {
	t.Helper()
	files := map[string][]Part{}
	for _, name := range fixtures() {
		var err error
		if _, files[name], err = Parse(load(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range fixtures() {
		parts, trust, archive := files[name], load(t, trustOf(name)), fileArchive(load(t, name))
		_, was := judge(t, trust, load(t, name))
		put := func(what string, parts []Part) {
			see(&mutant{name + ": " + what, trust, literally(archive, plain(parts)), was})
		}
		for i := range parts {
			put(fmt.Sprintf("without part %d", i), slices.Delete(slices.Clone(parts), i, i+1))
			put(fmt.Sprintf("part %d twice", i), slices.Insert(slices.Clone(parts), i, parts[i]))
			put(fmt.Sprintf("part %d at the end again", i), append(slices.Clone(parts), parts[i]))
			put(fmt.Sprintf("cut before part %d", i), parts[:i])
			for k := range parts {
				if parts[k].Kind == parts[i].Kind && k > i && !bytes.Equal(parts[k].Data, parts[i].Data) {
					swapped := slices.Clone(parts)
					swapped[i], swapped[k] = swapped[k], swapped[i]
					put(fmt.Sprintf("parts %d and %d exchanged", i, k), swapped)
				}
			}
			for other, theirs := range files {
				for k, p := range theirs {
					// A scope that two files show is theirs both, and what they disclose of it adds up; so is an entry, under whatever head.
					if other != name && !sameScope(p, parts[i]) && !sameEntry(parts, i, theirs, k) && p.Kind == parts[i].Kind && !bytes.Equal(p.Data, parts[i].Data) {
						put(fmt.Sprintf("part %d from part %d of %s", i, k, other), slices.Replace(slices.Clone(parts), i, i+1, p))
					}
				}
			}
			altered(t, parts[i], func(what string, data []byte) {
				put(fmt.Sprintf("part %d: %s", i, what), slices.Replace(slices.Clone(parts), i, i+1, Part{parts[i].Kind, data}))
			})
			put(fmt.Sprintf("part %d of an unknown kind", i), slices.Replace(slices.Clone(parts), i, i+1, Part{99, parts[i].Data}))
			put(fmt.Sprintf("part %d cut", i), slices.Replace(slices.Clone(parts), i, i+1, Part{parts[i].Kind, parts[i].Data[:len(parts[i].Data)/2]}))
			put(fmt.Sprintf("part %d longer", i), slices.Replace(slices.Clone(parts), i, i+1, Part{parts[i].Kind, append(slices.Clone(parts[i].Data), 0)}))
		}
		put("a part of an unknown kind more", append(slices.Clone(parts), Part{200, []byte("later")}))
		reversed := slices.Clone(parts)
		slices.Reverse(reversed)
		put("the other way round", reversed)
		whole := load(t, name)
		see(&mutant{name + ": wrong trust file", load(t, "other.stele"), whole, was})
		see(&mutant{name + ": cut", trust, whole[:len(whole)/2], was})
		see(&mutant{name + ": longer", trust, append(slices.Clone(whole), 0), was})
		see(&mutant{name + ": empty", trust, []byte{}, was})
		later := slices.Clone(whole)
		later[magicLen] = 2
		see(&mutant{name + ": of version 2", trust, later, was})
	}
}

// sameEntry reports whether two parts are proofs of one entry.
func sameEntry(a []Part, i int, b []Part, k int) bool {
	return a[i].Kind == KindControl && b[k].Kind == KindControl && bytes.Equal(a[i-1].Data, b[k-1].Data)
}

func sameScope(a, b Part) bool {
	if a.Kind != KindScope || b.Kind != KindScope {
		return false
	}
	x, errX := parseScope(a.Data)
	y, errY := parseScope(b.Data)
	return errX == nil && errY == nil && x.entry.ID == y.entry.ID
}

// Parts that are left out, exchanged, repeated or from another file never make a file that shows more, or something else.
func TestStructure(t *testing.T) {
	n := 0
	structural(t, func(m *mutant) {
		n++
		m.check(t)
	})
	t.Logf("%d files", n)
}

// What the tests compare with can tell: an equal verdict is not weaker, and a stronger one is not either.
func TestWeakerSeesEquals(t *testing.T) {
	_, was := judge(t, load(t, "trust.stele"), load(t, "many.evidence"))
	if weaker(was, was) == "" {
		t.Error("an equal verdict passes for a weaker one")
	}
	more := *was
	more.Holds = append(slices.Clone(was.Holds), Statement{About: "archive", What: "witness"})
	if weaker(was, &more) == "" {
		t.Error("a stronger verdict passes for a weaker one")
	}
}

// A small file must not make the reader hold much: a stream that unpacks to more than allowed is refused.
func TestBomb(t *testing.T) {
	word := make([]byte, wordLen)
	for name, ops := range map[string][]byte{
		"long text": append(binary.AppendUvarint([]byte{KindEntry}, operation(opLiteral, MaxLen)), make([]byte, MaxLen)...),
		"checkpoints": slices.Concat(plain([]Part{{KindLog, append([]byte("\n\n"), make([]byte, 1<<16)...)}}), []byte{KindEntry, byte(operation(opHex, 0))},
			bytes.Repeat([]byte{byte(operation(opOther, opHead))}, MaxLen>>16)),
		"many words": append([]byte{KindEntry, byte(operation(opHex, 0))}, bytes.Repeat([]byte{byte(operation(opHex, 1))}, MaxLen/hexChars+1)...),
	} {
		packed, err := deflate([16]byte{1}, ops)
		if err != nil {
			t.Fatal(err)
		}
		file := wrap([16]byte{1}, word, packed)
		if _, _, err := Parse(file); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "unpacks to more") {
			t.Errorf("%s: %d bytes: %v", name, len(file), err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	trust := load(f, "vouched.stele")
	for _, name := range fixtures() {
		if trustOf(name) == "vouched.stele" {
			f.Add(body(f, load(f, name)))
		}
	}
	archive := fileArchive(load(f, "vouched.evidence"))
	f.Fuzz(func(t *testing.T, inside []byte) {
		if len(inside) > 1<<20 {
			return
		}
		judge(t, trust, literally(archive, inside))
		judge(t, trust, wrap(archive, inside[:len(inside)/wordLen*wordLen], stored(inside)))
		judge(t, trust, inside)
	})
}

func BenchmarkCheck(b *testing.B) {
	trust, file := load(b, "trust.stele"), load(b, "bare.evidence")
	b.ReportMetric(float64(len(file)), "B/file")
	for b.Loop() {
		if _, err := Check(trust, file); err != nil {
			b.Fatal(err)
		}
	}
}

// Others write readers from the page: the dictionary there is this one.
func TestDictionaryIsInThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/evidence.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for line := range strings.Lines(dictionaryText) {
		if line != "\n" {
			line = "    " + line
		}
		want.WriteString(line)
	}
	if !strings.Contains(string(page), "\n\n"+want.String()+"\n\n") {
		t.Error("docs/formats/evidence.md has another dictionary")
	}
}
