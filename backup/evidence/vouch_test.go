package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/anchorlog"
	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/merkle"
)

// witness is one with a key of a test.
type witness struct {
	key  ed25519.PrivateKey
	vkey string
}

func newWitness(name string) witness {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	raw := append([]byte{4}, key.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	return witness{key, fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(raw))}
}

// sign is a line of a note.
func (x witness) sign(w *world, head []byte, at uint64) string {
	text, _, _ := strings.Cut(string(head), "\n\n")
	v, err := cosign.NewVerifier(x.vkey)
	w.must(err)
	sig := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, v.KeyHash()), at)
	sig = append(sig, ed25519.Sign(x.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at, text))...)
	return fmt.Sprintf("— %s %s\n", v.Name(), base64.StdEncoding.EncodeToString(sig))
}

// head is one of a log of n leaves more than the world's, and the way to it.
func (w *world) head(more int) (way []merkle.Hash, head []byte) {
	var hashes []merkle.Hash
	for _, e := range w.entries {
		hashes = append(hashes, merkle.LeafHash([]byte(e)))
	}
	old := uint64(len(hashes))
	for i := range more {
		hashes = append(hashes, merkle.LeafHash([]byte{byte(i)}))
	}
	proof, err := merkle.ProveConsistency(old, uint64(len(hashes)), func(nodes []merkle.Node, out []merkle.Hash) error {
		for i, n := range nodes {
			out[i] = merkle.Root(hashes[n.Index<<n.Level:][:1<<n.Level])
		}
		return nil
	})
	w.must(err)
	head, err = merkle.Checkpoint{Origin: "acme/control", Size: uint64(len(hashes)), Root: merkle.Root(hashes)}.Sign(w.signers["acme/control"])
	w.must(err)
	return proof.Path, head
}

// anchor is the proof of a head in a log of two.
func (w *world) anchor(name string, head []byte) (proof []byte, line string) {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	signer, err := merkle.NewSigner(name, key)
	w.must(err)
	vkey, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	w.must(err)
	leaves := []merkle.Hash{{1}, merkle.LeafHash(anchorlog.Leaf(string(head)))}
	root, err := merkle.Checkpoint{Origin: name, Size: 2, Root: merkle.Root(leaves)}.Sign(signer)
	w.must(err)
	proof, err = merkle.TLogProof{Index: 1, Path: leaves[:1], Checkpoint: root}.MarshalText()
	w.must(err)
	return proof, "anchor " + vkey
}

// vouchCases are files with trust files, and what comes of them: why they are refused, or words that hold and that are missing.
type vouchCase struct {
	name           string
	trust          []byte
	parts          []Part
	why            string
	holds, missing []string
}

func vouchCases(t testing.TB) (w *world, all []vouchCase) {
	w = newWorld(t)
	w.erase()
	a, b, stranger := newWitness("a.example"), newWitness("b.example"), newWitness("stranger.example")
	_, now := w.head(0)
	way, later := w.head(5)
	note := func(head []byte, lines ...string) []byte {
		return append(bytes.Clone(head), strings.Join(lines, "")...)
	}
	nowA, laterB := CosignedPart(nil, note(now, a.sign(w, now, 1800000000))), CosignedPart(way, note(later, b.sign(w, later, 1800000060)))
	proof, anchor := w.anchor("anchor.example/a", now)
	proofLater, _ := w.anchor("anchor.example/a", later)
	proofB, anchorB := w.anchor("anchor.example/b", now)
	trust := func(lines ...string) []byte { return append(w.trust(), strings.Join(lines, "\n")+"\n"...) }
	both := trust("witness A "+a.vkey, "witness B "+b.vkey, "group ab all A B", "quorum ab")
	add := func(name string, trust []byte, why, holds, missing string, parts ...Part) {
		all = append(all, vouchCase{name, trust, append(w.parts(), parts...), why, strings.Fields(holds), strings.Fields(missing)})
	}
	add("two witnesses of two heads", both, "", "cosigned cosigned quorum", "", nowA, laterB)
	add("one of two", both, "", "cosigned", "quorum", nowA)
	add("nobody of two", both, "", "", "quorum witness")
	add("any of two", trust("witness A "+a.vkey, "witness B "+b.vkey, "group ab any A B", "quorum ab"), "", "cosigned quorum", "", laterB)
	add("nobody wanted", trust("witness A "+a.vkey, "quorum none"), "", "cosigned", "", nowA)
	add("nobody named", w.trust(), "", "", "unknown witness", nowA)
	add("a stranger beside", both, "", "cosigned", "unknown quorum", CosignedPart(nil, note(now, a.sign(w, now, 1), stranger.sign(w, now, 2))))
	add("the other way round", both, "ascend", "", "", laterB, nowA)
	add("one witness twice", both, "two cosignatures", "", "", nowA, CosignedPart(way, note(later, a.sign(w, later, 2), b.sign(w, later, 3))))
	add("one witness twice in a note", both, "signatures", "", "", CosignedPart(nil, note(now, a.sign(w, now, 1), a.sign(w, now, 2))))
	add("one witness for two", trust("witness A "+a.vkey, "witness B "+a.vkey, "group ab all A B", "quorum ab"), "same key", "", "", nowA)
	add("the year 60,000", both, "year", "", "", CosignedPart(nil, note(now, a.sign(w, now, 1<<41))))
	add("of another head", both, "invalid signature", "", "", CosignedPart(nil, note(now, a.sign(w, later, 1))))
	add("without a way", both, "continue", "", "", CosignedPart(nil, note(later, a.sign(w, later, 1))))
	add("before a record", both, "follow", "", "", nowA, Part{KindStream, nil})
	add("before an unknown part", both, "", "cosigned", "unknown quorum", nowA, Part{77, nil})
	anchored := trust(anchor)
	add("anchored", anchored, "", "anchored", "", AnchoredPart(nil, nil, proof))
	add("anchored later", anchored, "", "anchored", "", AnchoredPart(way, later, proofLater))
	add("not anchored", anchored, "", "", "anchor witness")
	add("an anchor that nobody names", w.trust(), "", "", "unknown witness", AnchoredPart(nil, nil, proof))
	add("one anchor of two", trust(anchor, anchorB), "", "anchored", "anchor", AnchoredPart(nil, nil, proof))
	add("two anchors", trust(anchor, anchorB), "", "anchored anchored", "", AnchoredPart(nil, nil, proof), AnchoredPart(nil, nil, proofB))
	add("one anchor twice", anchored, "twice", "", "", AnchoredPart(nil, nil, proof), AnchoredPart(way, later, proofLater))
	add("its head said twice", anchored, "left out", "", "", AnchoredPart(nil, now, proof))
	add("another head's place", anchored, "anchor", "", "", AnchoredPart(nil, nil, proofLater))
	add("an anchor before a witness", trust(anchor, "witness A "+a.vkey, "quorum A"), "twice", "", "", AnchoredPart(nil, nil, proof), nowA)
	return w, all
}

// What witnesses and anchors say is counted once for each, for heads that continue that of the file, and held against what the
// trust file wants.
func TestVouched(t *testing.T) {
	w, all := vouchCases(t)
	words := []string{"cosigned", "quorum", "anchored", "anchor", "witness", "unknown"}
	pick := func(in []Statement) (out []string) {
		for _, s := range in {
			if slices.Contains(words, s.What) {
				out = append(out, s.What)
			}
		}
		return out
	}
	for _, c := range all {
		r, err := Check(c.trust, w.file(c.parts))
		refused := c.why != ""
		switch {
		case refused && (err == nil || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%s: %v, want %q", c.name, err, c.why)
		case !refused && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case !refused:
			slices.Sort(c.missing)
			missing := pick(r.Missing)
			slices.Sort(missing)
			if holds := pick(r.Holds); !slices.Equal(holds, c.holds) || !slices.Equal(missing, c.missing) {
				t.Errorf("%s: holds %q, want %q; missing %q, want %q", c.name, holds, c.holds, missing, c.missing)
			}
			if wants := slices.Contains(c.missing, "quorum") || slices.Contains(c.missing, "anchor"); r.Vouched() == wants || !r.Whole() {
				t.Errorf("%s: vouched %v, whole %v", c.name, r.Vouched(), r.Whole())
			}
		}
	}
}

// A path of an erasure that no record of the file needs is refused, and one that is not in its list.
func TestRemovedPaths(t *testing.T) {
	w := newWorld(t)
	w.erase()
	list := slices.Concat(w.erasedList().Removed...)
	hashes := make([]merkle.Hash, len(list))
	for i, p := range list {
		hashes[i] = merkle.LeafHash(p)
	}
	for why, part := range map[string]Part{
		"that no record here needs": RemovedPart(3, w.path(hashes, 3), list[3]),
		"not in the list":           RemovedPart(3, w.path(hashes, 3), list[2]),
	} {
		var parts []Part
		for _, p := range w.parts() {
			switch p.Kind {
			case KindErased:
				parts = append(parts, part)
			case KindTries:
			default:
				parts = append(parts, p)
			}
		}
		if _, err := Check(w.trust(), w.file(parts)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
}
