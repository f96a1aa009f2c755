package evidence

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/merkle"
)

// What follows from other parts does not stand in a file: roots of proofs, the root of the roster, and the hash by which heads name it.
func TestWhatFollowsIsLeftOut(t *testing.T) {
	w, parts := amongABillion(t, place{5, 4321, 13}, 7)
	words, _ := condense(parts)
	derived := map[string]merkle.Hash{}
	for i, p := range parts {
		switch p.Kind {
		case KindLog, KindControl:
			proof, err := parseProof(p.Data)
			w.must(err)
			body, _, _ := strings.Cut(string(proof.Checkpoint), "\n\n")
			var head merkle.Checkpoint
			w.must(head.UnmarshalText([]byte(body + "\n")))
			derived[head.Origin] = head.Root
		case KindNames:
			root, n := rosterOf(parts[i-1].Data, p.Data)
			if n == 0 {
				t.Fatal("the lines do not lead to the roster")
			}
			derived["root of the roster"] = root
			derived["hash of the roster"] = (&told{}).after(parts[i-1].Data).hash
		}
	}
	if len(derived) != 4 {
		t.Fatalf("%v", derived)
	}
	for what, h := range derived {
		for at := 0; at < len(words); at += wordLen {
			if bytes.Equal(words[at:][:wordLen], h[:]) {
				t.Errorf("%s stands in the file", what)
			}
		}
	}
}

// after is what an entry leaves.
func (t *told) after(entry []byte) *toldEntry {
	t.take(entry)
	return t.entry
}

// operationCases are operations that cannot be carried out, each but for one thing like some that can, which has no name.
func operationCases(t testing.TB) map[string][]byte {
	w, parts := amongABillion(t, place{5, 4321, 13}, 7)
	at := func(kind byte) int { return slices.IndexFunc(parts, func(p Part) bool { return p.Kind == kind }) }
	record, names := plain(parts[at(KindRecord):][:1]), plain(parts[at(KindNames):][:1])
	lines, err := parseNames(parts[at(KindNames)].Data)
	w.must(err)
	op := func(kind, x uint64, more ...byte) []byte {
		return append(binary.AppendUvarint(nil, operation(kind, x)), more...)
	}
	part := func(kind byte, ops ...[]byte) []byte {
		return append(append([]byte{kind}, slices.Concat(ops...)...), 0)
	}
	text := func(s string) []byte { return append(op(opLiteral, uint64(len(s))), s...) }
	root := func(n uint64) []byte {
		return part(KindEntry, op(opOther, opRoster, binary.AppendUvarint(nil, n)...))
	}
	proof := op(opProof, 0, 1, 0, 1, 'o')
	key, fits := []byte(hex.EncodeToString(bytes.Repeat([]byte{7}, wordLen/2))), lines.indexes[len(lines.indexes)-1]+1
	for ; ; fits++ {
		if _, ok := lines.root(fits); ok {
			break
		}
	}
	return map[string][]byte{
		"":                             slices.Concat(record, part(KindLog, proof), root(fits), names, part(KindControl, proof), part(KindEntry, op(opOther, opEntry), op(opOther, opHead), op(opOther, opTime, key[:8]...))),
		"a proof of no record":         part(KindLog, proof),
		"a proof of no entry":          slices.Concat(record, part(KindControl, proof)),
		"a proof elsewhere":            slices.Concat(record, part(KindFields, proof)),
		"a proof behind something":     slices.Concat(record, part(KindLog, text("c"), proof)),
		"a path too short":             slices.Concat(record, part(KindLog, op(opProof, 0, 2, 0, 1, 'o'))),
		"no tree":                      slices.Concat(record, part(KindLog, op(opProof, 0, 0, 0, 1, 'o'))),
		"a tree too large":             slices.Concat(record, part(KindLog, op(opProof, 0, append(binary.AppendUvarint(nil, 1<<63), 0, 1, 'o')...))),
		"a tree beyond numbers":        slices.Concat(record, part(KindLog, op(opProof, 2, append(binary.AppendUvarint(nil, 1<<64-1), 0, 1, 'o')...))),
		"a path too long":              slices.Concat(record, part(KindLog, op(opProof, 0, append(binary.AppendUvarint([]byte{1}, 1<<40), 1, 'o')...))),
		"an origin that ends early":    slices.Concat(record, part(KindLog, op(opProof, 0, 1, 0, 100, 'o'))),
		"a record that ends early":     slices.Concat(part(KindRecord, text(strings.Repeat("x", 190))), part(KindLog, proof)),
		"a roster without lines":       root(fits),
		"lines of another roster":      slices.Concat(root(1), names),
		"a roster, and then not lines": slices.Concat(root(fits), part(KindEntry, text("x"))),
		"lines that are none":          slices.Concat(root(fits), part(KindNames, text("\x00\x00x\n"))),
		"lines in another part":        slices.Concat(root(fits), part(KindRemoved, text(string(parts[at(KindNames)].Data)))),
		"two roots":                    slices.Concat(part(KindEntry, op(opOther, opRoster, byte(fits)), op(opOther, opRoster, byte(fits))), names),
		"a root elsewhere":             slices.Concat(part(KindRoot, op(opOther, opRoster, byte(fits))), names),
		"a roster that names itself":   slices.Concat(part(KindEntry, op(opOther, opEntry)), names),
		"no checkpoint":                slices.Concat(record, part(KindEntry, op(opOther, opHead))),
		"a checkpoint before":          slices.Concat(record, part(KindLog, proof), part(KindEntry, op(opOther, opHead+1))),
		"a key without plus":           part(KindEntry, text("acme/root"), op(opKey, 0)),
		"a key and no word":            part(KindEntry, text("acme/root+"), op(opKey, 0)),
		"a time that ends early":       {KindEntry, 13, 0, 0},
		"an operation of no kind":      part(KindEntry, []byte{15}),
	}
}

// Operations that have nothing to refer to are refused, by both verifiers.
func TestOperationsRefuse(t *testing.T) {
	trust := load(t, "trust.stele")
	archive := fileArchive(load(t, "bare.evidence"))
	var all []*mutant
	for name, ops := range operationCases(t) {
		m := &mutant{name: name, trust: trust, file: literally(archive, ops)}
		all = append(all, m)
		if _, _, err := Parse(m.file); (err == nil) != (name == "") {
			t.Errorf("%q: %v", name, err)
		}
	}
	next := byte(operation(opWord, 0))
	all = append(all, &mutant{name: "a word twice", trust: trust, file: wrap(archive, bytes.Repeat([]byte{1}, 2*wordLen), stored([]byte{KindEntry, next, next, 0}))})
	for i, got := range askPython(t, all) {
		want := "format"
		if all[i].name == "" {
			want = "failed"
		}
		if v, _ := judge(t, trust, all[i].file); v.Err != want || got.Err != want {
			t.Errorf("%q: Go %q, Python %q (%s)", all[i].name, v.Err, got.Err, got.why)
		}
	}
}

// What a file holds comes back, packed again.
func TestPackedAgain(t *testing.T) {
	for _, name := range fixtures() {
		archive, parts, err := Parse(load(t, name))
		if err != nil {
			t.Fatal(err)
		}
		again, err := Marshal(archive, parts)
		if err != nil {
			t.Fatal(err)
		}
		if _, back, err := Parse(again); err != nil || !reflect.DeepEqual(back, parts) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Times and keys come back as they were written, or are not taken apart.
func TestTimesAndKeys(t *testing.T) {
	id := string(keyText([]byte("a b+"), bytes.Repeat([]byte{9}, wordLen)))
	for _, text := range []string{`"2026-10-05T08:04:00Z"`, `"2026-10-05T08:04:00.1Z"`, `"2026-10-05T08:04:00.10Z"`, `"2026-10-05T08:04:00.123456789Z"`, `"2026-10-05T08:04:00+00:00"`,
		`"1677-09-21T00:12:43.145224192Z"`, `"1677-01-01T00:00:00Z"`, `"2262-04-11T23:47:16.854775807Z"`, `"2262-04-11T23:47:16.854775808Z"`, `"7026-10-05T08:04:00Z"`, `"1969-12-31T23:59:59.999999999Z"`,
		`"2026-02-30T08:04:00Z"`, `"2026-10-05T08:04:00`, "a b+" + id, "b+" + id, "c+" + id, strings.Repeat("x", 300) + "+" + id, "+" + id, id} {
		words, ops := condense([]Part{{KindEntry, []byte(text)}})
		parts, err := expand(words, ops)
		if err != nil || string(parts[0].Data) != text {
			t.Errorf("%q came back as %q, %v", text, parts, err)
		}
	}
	if _, ops := condense([]Part{{KindEntry, []byte(`"2026-10-05T08:04:00.1Z"`)}}); len(ops) != 15 {
		t.Errorf("a time takes %d bytes: %q", len(ops), ops)
	}
}
