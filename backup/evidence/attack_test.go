package evidence

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/merkle"
)

// altered are changes that somebody makes inside a part who knows what it is.
func altered(t testing.TB, p Part, see func(what string, data []byte)) {
	t.Helper()
	switch p.Kind {
	case KindFields:
		alteredFields(t, p, see)
	case KindCosigned:
		alteredCosigned(p, see)
	case KindAnchored:
		alteredAnchored(t, p, see)
	case KindLog, KindControl:
		proof, err := parseProof(p.Data)
		if err != nil {
			t.Fatal(err)
		}
		alteredProof(proof, see)
	}
}

func alteredFields(t testing.TB, p Part, see func(what string, data []byte)) {
	fields, err := parseFields(p.Data)
	if err != nil {
		t.Fatal(err)
	}
	put := func(what string, change func(f *[seal.FieldCount]Value)) {
		f := fields
		change(&f)
		see(what, FieldsPart(f).Data)
	}
	for i := range fields {
		for k := range fields {
			if i < k && fields[i].Shown && fields[k].Shown {
				put(fmt.Sprintf("salts of fields %d and %d exchanged", i, k), func(f *[seal.FieldCount]Value) { f[i].Salt, f[k].Salt = f[k].Salt, f[i].Salt })
				put(fmt.Sprintf("fields %d and %d exchanged", i, k), func(f *[seal.FieldCount]Value) { f[i], f[k] = f[k], f[i] })
			}
		}
		if fields[i].Shown {
			put(fmt.Sprintf("field %d with another salt", i), func(f *[seal.FieldCount]Value) { f[i].Salt = [seal.SaltSize]byte{1} })
			put(fmt.Sprintf("field %d with another value", i), func(f *[seal.FieldCount]Value) { f[i].Value = []byte("what never was said") })
			if len(fields[i].Value) > 0 {
				put(fmt.Sprintf("field %d with nothing", i), func(f *[seal.FieldCount]Value) { f[i].Value = nil })
			}
			put(fmt.Sprintf("field %d no longer shown", i), func(f *[seal.FieldCount]Value) { f[i].Shown = false })
		}
	}
}

func alteredCosigned(p Part, see func(what string, data []byte)) {
	in := cursor{b: p.Data}
	way := in.path()
	text, sigs, _ := strings.Cut(string(in.b), "\n\n")
	lines := strings.SplitAfter(sigs, "\n")
	lines = lines[:len(lines)-1]
	put := func(what, text string, way []merkle.Hash, lines []string) {
		see(what, CosignedPart(way, []byte(text+"\n\n"+strings.Join(lines, ""))).Data)
	}
	for i, line := range lines {
		put(fmt.Sprintf("without signature %d", i), text, way, slices.Delete(slices.Clone(lines), i, i+1))
		put(fmt.Sprintf("signature %d twice", i), text, way, append(slices.Clone(lines), line))
		put(fmt.Sprintf("signature %d cut", i), text, way, slices.Replace(slices.Clone(lines), i, i+1, line[:len(line)-5]+"\n"))
		for k, other := range lines {
			if k != i {
				name := strings.Split(other, " ")[1]
				words := strings.Split(line, " ")
				put(fmt.Sprintf("signature %d under the name of %s", i, name), text, way,
					slices.Replace(slices.Clone(lines), i, i+1, words[0]+" "+name+" "+words[2]))
			}
		}
	}
	put("no signature", text, way, nil)
	put("the log's signature only", text, way, lines[:1])
	put("signatures the other way round", text, way, reversed(lines))
	parts := strings.Split(text, "\n")
	put("of one entry more", fmt.Sprintf("%s\n%s1\n%s", parts[0], parts[1], parts[2]), way, lines)
	put("of another root", fmt.Sprintf("%s\n%s\n%s", parts[0], parts[1], merkle.Hash{1}), way, lines)
	put("of another log", fmt.Sprintf("other/control\n%s\n%s", parts[1], parts[2]), way, lines)
	put("a longer way", text, append(slices.Clone(way), merkle.Hash{1}), lines)
	if len(way) > 0 {
		put("a shorter way", text, way[1:], lines)
	}
}

func reversed(lines []string) []string {
	out := slices.Clone(lines)
	slices.Reverse(out)
	return out
}

func alteredAnchored(t testing.TB, p Part, see func(what string, data []byte)) {
	in := cursor{b: p.Data}
	way := in.path()
	head := in.bytes(in.uv())
	proof, err := parseProof(in.b)
	if err != nil {
		t.Fatal(err)
	}
	text, err := proof.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	see("a longer way", AnchoredPart(append(slices.Clone(way), merkle.Hash{1}), head, text).Data)
	see("a head that is none", AnchoredPart(way, []byte("acme/control\n1\n"), text).Data)
	see("a proof as its head", AnchoredPart(way, text, text).Data)
	if len(head) > 0 {
		see("without its head", AnchoredPart(way, nil, text).Data)
	}
	alteredProof(proof, func(what string, text []byte) { see(what, AnchoredPart(way, head, text).Data) })
}

func alteredProof(proof *merkle.TLogProof, see func(what string, text []byte)) {
	put := func(what string, change func(p *merkle.TLogProof)) {
		p := merkle.TLogProof{Index: proof.Index, Path: slices.Clone(proof.Path), Checkpoint: bytes.Clone(proof.Checkpoint)}
		change(&p)
		if text, err := p.MarshalText(); err == nil { // others are no proofs at all
			see(what, text)
		}
	}
	put("another index", func(p *merkle.TLogProof) { p.Index ^= 1 })
	put("extra data", func(p *merkle.TLogProof) { p.Extra = []byte{1} })
	for i := range proof.Path {
		put(fmt.Sprintf("another hash %d", i), func(p *merkle.TLogProof) { p.Path[i][0]++ })
	}
	put("hashes the other way round", func(p *merkle.TLogProof) {
		if len(p.Path) > 1 {
			slices.Reverse(p.Path)
		} else {
			p.Index ^= 1
		}
	})
	put("two signatures", func(p *merkle.TLogProof) {
		_, sig, _ := bytes.Cut(p.Checkpoint, []byte("\n\n"))
		p.Checkpoint = append(p.Checkpoint, sig...)
	})
	put("no signature", func(p *merkle.TLogProof) {
		text, _, _ := bytes.Cut(p.Checkpoint, []byte("\n\n"))
		p.Checkpoint = append(text, '\n', '\n')
	})
}
