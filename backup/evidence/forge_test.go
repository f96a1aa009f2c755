package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

// forger is an operator with all keys of an archive: what it changes it signs anew, names anew by its hash, and puts into the logs anew.
type forger struct {
	r       *rand.Rand
	signers map[string]note.Signer
	stream  ed25519.PrivateKey // of all records and frames here
	service ed25519.PrivateKey
	vouch   func(head []byte) []Part // who else has seen a head; nil without
	parts   []Part
}

func (f *forger) signerNames() []string { return slices.Sorted(maps.Keys(f.signers)) }

// sign signs a text by who signed it before.
func (f *forger) sign(text string, was []byte) []byte {
	_, sigs, _ := bytes.Cut(was, []byte("\n\n"))
	name := ""
	if words := strings.Split(string(sigs), " "); len(words) > 1 {
		name = words[1]
	}
	signer := f.signers[name]
	if signer == nil || f.r.IntN(25) == 0 {
		names := f.signerNames()
		signer = f.signers[names[f.r.IntN(len(names))]]
	}
	out, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return was
	}
	return out
}

// note is the signed note in a part, and what stands around it.
func noteIn(p Part) (before, file, behind []byte) {
	switch p.Kind {
	case KindEntry, KindRoot:
		return nil, p.Data, nil
	case rangeproof.KindTimes, rangeproof.KindLeaves:
		c := cursor{b: p.Data}
		file := c.bytes(c.uv())
		return nil, file, c.b
	case KindLog:
		if at := bytes.Index(p.Data, []byte("\n\n")); at >= 0 {
			return p.Data[:at+2], p.Data[at+2:], nil
		}
	}
	return nil, nil, nil
}

func (f *forger) setNote(i int, file []byte) {
	p := &f.parts[i]
	before, was, behind := noteIn(*p)
	if p.Kind == rangeproof.KindTimes || p.Kind == rangeproof.KindLeaves {
		before = binary.AppendUvarint(nil, uint64(len(file)))
	}
	p.Data = slices.Concat(before, file, behind)
	if p.Kind == KindLog || p.Kind == rangeproof.KindLeaves { // a head stands in several parts, and within an entry
		f.replace(jsonText(was), jsonText(file))
		for k, q := range f.parts {
			if _, theirs, _ := noteIn(q); k != i && q.Kind == KindLog && bytes.Equal(theirs, was) {
				head, _, _ := noteIn(q)
				f.parts[k].Data = slices.Concat(head, file)
			} else if k != i && q.Kind == rangeproof.KindLeaves && bytes.Equal(theirs, was) {
				_, _, rest := noteIn(q)
				f.parts[k].Data = slices.Concat(binary.AppendUvarint(nil, uint64(len(file))), file, rest)
			}
		}
		return
	}
	f.renamed(was, file)
}

func jsonText(b []byte) string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(string(b))
	return strings.TrimSuffix(out.String(), "\n")
}

// renamed has all name the new bytes who named the old ones by their hash.
func (f *forger) renamed(was, is []byte) {
	f.replace(fmt.Sprintf("%x", sha256.Sum256(was)), fmt.Sprintf("%x", sha256.Sum256(is)))
}

// replace puts a text in the place of another one in what is signed, and signs it anew.
func (f *forger) replace(was, is string) {
	if was == is {
		return
	}
	for i, p := range f.parts {
		if p.Kind != KindEntry && p.Kind != KindRoot && p.Kind != rangeproof.KindTimes {
			continue
		}
		_, file, _ := noteIn(p)
		if text, _, ok := strings.Cut(string(file), "\n\n"); ok && strings.Contains(text, was) {
			f.setNote(i, f.sign(strings.ReplaceAll(text, was, is)+"\n", file))
		}
	}
}

// of are the parts of some kinds.
func (f *forger) of(kinds ...byte) (at []int) {
	for i, p := range f.parts {
		if slices.Contains(kinds, p.Kind) {
			at = append(at, i)
		}
	}
	return at
}

// one is one of the parts of some kinds; -1 if there are none.
func (f *forger) one(kinds ...byte) int {
	at := f.of(kinds...)
	if len(at) == 0 {
		return -1
	}
	return at[f.r.IntN(len(at))]
}

// forge changes one thing.
func (f *forger) forge() (what string) {
	for range 20 {
		switch f.r.IntN(14) {
		case 0, 1, 2, 3, 4, 5:
			what = f.forgeLine(f.one(KindEntry, KindEntry, KindRoot, rangeproof.KindTimes))
		case 6:
			what = f.forgeHead(f.one(KindLog, rangeproof.KindLeaves))
		case 7:
			what = f.forgeLines(f.one(KindNames))
		case 8:
			what = f.forgeLines(f.one(rangeproof.KindLogs))
		case 9:
			what = f.forgeHashed(f.one(KindSelect, KindErased))
		case 10:
			what = f.forgeRecord(f.one(KindRecord), f.r.IntN(2) == 0)
		case 11:
			what = f.forgeCert(f.one(KindStream))
		case 12:
			what = f.forgeScope(f.one(KindScope))
		default:
			what = f.forgeRecord(f.one(KindRecord), true)
		}
		if what != "" {
			return what
		}
	}
	return "nothing"
}

func (f *forger) forgeLine(i int) string {
	if i < 0 {
		return ""
	}
	_, file, _ := noteIn(f.parts[i])
	text, _, _ := strings.Cut(string(file), "\n\n")
	changed, what := changeJSON(f.r, text)
	f.setNote(i, f.sign(changed+"\n", file))
	return fmt.Sprintf("part %d signed anew: %s", i, what)
}

func (f *forger) forgeHead(i int) string {
	if i < 0 {
		return ""
	}
	_, file, _ := noteIn(f.parts[i])
	lines := strings.Split(string(file), "\n")
	at, what := f.r.IntN(3), ""
	if len(lines) < 3 {
		return ""
	}
	switch f.r.IntN(7) {
	case 0:
		lines[at] = "0" + lines[at]
	case 1:
		lines[at] += " "
	case 2:
		lines[at] = otherNumber(f.r, lines[at])
	case 3:
		lines = append(lines[:3], append([]string{"more"}, lines[3:]...)...)
	case 4:
		lines[0] = strings.Replace(lines[0], "/", []string{"//", "/0", "/+", "/١", "/00", "/4294967296/", "\u00a0/"}[f.r.IntN(7)], 1)
	case 5:
		b, w := changePart(f.r, []byte(lines[at]))
		lines[at], what = strings.ToValidUTF8(string(b), "x"), w
	default:
		what = "signed by who knows"
	}
	text, _, _ := strings.Cut(strings.Join(lines, "\n"), "\n\n")
	f.setNote(i, f.sign(text+"\n", file))
	return fmt.Sprintf("head in part %d: %s %.60q", i, what, text)
}

// body puts values of members into an entry and signs it anew.
func (f *forger) body(i int, set map[string]string) {
	text, _, _ := strings.Cut(string(f.parts[i].Data), "\n\n")
	for name, v := range set {
		text = regexp.MustCompile(`"`+name+`":("[^"]*"|[0-9]+)`).ReplaceAllLiteralString(text, `"`+name+`":`+v)
	}
	f.setNote(i, f.sign(text+"\n", f.parts[i].Data))
}

// forgeLines changes lines of a roster or of a list of logs, and the root over them.
func (f *forger) forgeLines(i int) string {
	if i < 0 {
		return ""
	}
	entry := i
	for entry >= 0 && f.parts[entry].Kind != KindEntry {
		entry--
	}
	p := f.parts[i]
	var lines []string
	if p.Kind == KindNames {
		names, err := parseNames(p.Data)
		if err != nil {
			return ""
		}
		lines = names.lines
	} else {
		lines = strings.Split(strings.TrimSuffix(string(p.Data), "\n"), "\n")
	}
	if entry < 0 || len(lines) == 0 {
		return ""
	}
	lines = slices.Clone(lines)
	at, to := f.r.IntN(len(lines)), f.r.IntN(len(lines))
	what := ""
	switch f.r.IntN(9) {
	case 0:
		lines = slices.Delete(lines, at, at+1)
	case 1:
		lines = slices.Insert(lines, to, lines[at])
	case 2:
		lines[at], lines[to] = lines[to], lines[at]
	case 3:
		lines[at] = strings.Replace(lines[at], "+", []string{"++", " +", "", "+A", "+0"}[f.r.IntN(5)], 1)
	case 4:
		lines[at] += []string{" ", "\r", "=", "A", " revoked 2026-01-01T00:00:00Z", " x", "\u00a0", " revoked", "\x00"}[f.r.IntN(9)]
	case 5:
		lines[at] = []string{"", " ", "compactor", "compactor ", "compactor x", "writer", "writer x", "writer x AAAA", "approver acme/approver/anna", "é"}[f.r.IntN(10)]
	case 6:
		words := strings.SplitN(lines[at], " ", 2)
		lines[at] = strings.Join(append([]string{[]string{"approver", "holder", "compactor", "keyservice", "reader", "writer", "root"}[f.r.IntN(7)]}, words[1:]...), " ")
	default:
		var b []byte
		b, what = changePart(f.r, []byte(lines[at]))
		lines[at] = string(bytes.ReplaceAll(b, []byte("\n"), []byte("x")))
	}
	if len(lines) == 0 {
		return ""
	}
	hashes := make([]merkle.Hash, len(lines))
	for k, l := range lines {
		hashes[k] = merkle.LeafHash([]byte(l))
	}
	root := `"` + merkle.Root(hashes).String() + `"`
	if p.Kind == KindNames {
		var all []int
		for k := range lines {
			all = append(all, k)
		}
		f.parts[i] = NamesPart(lines, all)
		f.body(entry, map[string]string{"names": fmt.Sprint(len(lines)), "root": root})
	} else {
		f.parts[i].Data = []byte(strings.Join(lines, "\n") + "\n")
		f.body(entry, map[string]string{"logs": fmt.Sprint(len(lines)), "root": root})
	}
	return fmt.Sprintf("lines of part %d: %s %q", i, what, lines)
}

// forgeHashed changes what an entry names by its hash.
func (f *forger) forgeHashed(i int) string {
	if i < 0 {
		return ""
	}
	was, what := f.parts[i].Data, ""
	if f.parts[i].Kind == KindSelect {
		var line string
		line, what = changeJSON(f.r, strings.TrimSuffix(string(was), "\n"))
		if bytes.HasSuffix(was, []byte("\n")) {
			line += "\n"
		}
		f.parts[i].Data = []byte(line)
		salted := func(b []byte) string { return control.Salted(b).String() }
		f.replace(salted(was), salted(f.parts[i].Data))
	} else {
		f.parts[i].Data, what = changePart(f.r, was)
		f.renamed(was, f.parts[i].Data)
	}
	return fmt.Sprintf("part %d named anew: %s", i, what)
}

var proofIndex = regexp.MustCompile(`index ([0-9]{1,3})\n`)

// relog puts the entries that have proofs into a control log of the same size, each where it was, and has it seen by those who have seen the other one.
func (f *forger) relog() {
	at, entries := map[int]int{}, map[int]merkle.Hash{}
	size := 0
	for i, p := range f.parts {
		if p.Kind != KindControl || i == 0 || f.parts[i-1].Kind != KindEntry {
			continue
		}
		m := proofIndex.FindSubmatch(p.Data)
		if m == nil {
			continue
		}
		var n int
		fmt.Sscan(string(m[1]), &n)
		at[i], entries[n] = n, control.LeafHash(string(f.parts[i-1].Data))
		if cp, err := parseProof(p.Data); err == nil {
			var head merkle.Checkpoint
			text, _, _ := bytes.Cut(cp.Checkpoint, []byte("\n\n"))
			if head.UnmarshalText(append(text, '\n')) == nil && head.Size < 1000 {
				size = max(size, int(head.Size))
			}
		}
		size = max(size, n+1)
	}
	hashes := make([]merkle.Hash, size)
	for i := range hashes {
		if h, ok := entries[i]; ok {
			hashes[i] = h
		} else {
			hashes[i] = merkle.LeafHash([]byte{byte(i)})
		}
	}
	head, err := merkle.Checkpoint{Origin: "acme/control", Size: uint64(size), Root: merkle.Root(hashes)}.Sign(f.signers["acme/control"])
	if err != nil || size == 0 {
		return
	}
	for i, n := range at {
		proof, err := merkle.ProveInclusion(uint64(n), uint64(size), func(nodes []merkle.Node, out []merkle.Hash) error {
			for i, n := range nodes {
				out[i] = merkle.Root(hashes[n.Index<<n.Level:][:1<<n.Level])
			}
			return nil
		})
		if err != nil {
			continue
		}
		if text, err := (merkle.TLogProof{Index: uint64(n), Path: proof.Path, Checkpoint: head}).MarshalText(); err == nil {
			f.parts[i].Data = text
		}
	}
	if f.vouch != nil {
		seen := f.of(KindCosigned, KindAnchored)
		for k, p := range f.vouch(head) {
			if k < len(seen) {
				f.parts[seen[k]] = p
			}
		}
	}
}

// word32 is a hash in hexadecimal.
func word32(b [32]byte) string { return hex.EncodeToString(b[:]) }
