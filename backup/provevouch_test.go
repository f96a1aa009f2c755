package backup_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/anchorlog"
	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/merkle"
)

// outsiders are witnesses and the operator of an anchor, with keys and clocks of a test.
type outsiders struct {
	a    *testArchive
	keys map[string]ed25519.PrivateKey
	vkey map[string]string

	operator note.Signer
	tree     merkle.Frontier
	levels   [][]merkle.Hash
	last     uint64
	at       uint64 // clock, seconds
}

const anchorName = "anchor.example/test"

// outside gives an archive three witnesses, of which two are wanted, and an anchor.
func (a *testArchive) outside() *outsiders {
	a.t.Helper()
	o := &outsiders{a: a, keys: map[string]ed25519.PrivateKey{}, vkey: map[string]string{}, at: 1800000000}
	lines := []string{}
	for i, name := range []string{"A", "B", "C"} {
		key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+i)), 32)))
		vkey, err := note.NewEd25519VerifierKey(strings.ToLower(name)+".example", key.Public().(ed25519.PublicKey))
		if err != nil {
			a.t.Fatal(err)
		}
		o.keys[name], o.vkey[name] = key, witnessKey(a.t, vkey)
		lines = append(lines, "witness "+name+" "+o.vkey[name])
	}
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("o", 32)))
	vkey, err := note.NewEd25519VerifierKey(anchorName, key.Public().(ed25519.PublicKey))
	if err == nil {
		o.operator, err = merkle.NewSigner(anchorName, key)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	o.vkey["anchor"] = vkey
	a.trusting(append(lines, "group two 2 A B C", "quorum two", "anchor "+vkey)...)
	return o
}

// witnessKey is the key of a witness with the bytes of an ordinary one: its kind, and so its hash, are others.
func witnessKey(t *testing.T, vkey string) string {
	t.Helper()
	words := strings.SplitN(vkey, "+", 3)
	raw, err := base64.StdEncoding.DecodeString(words[2])
	if err != nil {
		t.Fatal(err)
	}
	raw[0] = 4
	sum := sha256.Sum256(append([]byte(words[0]+"\n"), raw...))
	return fmt.Sprintf("%s+%x+%s", words[0], sum[:4], base64.StdEncoding.EncodeToString(raw))
}

func (o *outsiders) ledger() (*ledger.Log, []byte, uint64) {
	o.a.t.Helper()
	var trust identity.Trust
	if err := trust.UnmarshalText(o.a.trust()); err != nil {
		o.a.t.Fatal(err)
	}
	log, err := ledger.Open(o.a.t.Context(), o.a.store, trust)
	if err == nil {
		err = log.Refresh(o.a.t.Context())
	}
	if err != nil {
		o.a.t.Fatal(err)
	}
	head, size, err := log.Published(o.a.t.Context())
	if err != nil || head == nil {
		o.a.t.Fatalf("no head: %v", err)
	}
	return log, head, size
}

// cosign has witnesses cosign the newest head.
func (o *outsiders) cosign(names ...string) {
	o.a.t.Helper()
	log, head, size := o.ledger()
	text, _, _ := strings.Cut(string(head), "\n\n")
	for _, name := range names {
		o.at += 7
		v, err := cosign.NewVerifier(o.vkey[name])
		if err != nil {
			o.a.t.Fatal(err)
		}
		sig := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, v.KeyHash()), o.at)
		sig = append(sig, ed25519.Sign(o.keys[name], fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", o.at, text))...)
		line := fmt.Sprintf("— %s %s\n", v.Name(), base64.StdEncoding.EncodeToString(sig))
		if err := log.KeepCosigned(o.a.t.Context(), size, head, []byte(line)); err != nil {
			o.a.t.Fatal(err)
		}
	}
}

// anchor puts the newest head into the anchor's log.
func (o *outsiders) anchor() {
	o.a.t.Helper()
	log, head, _ := o.ledger()
	n := o.tree.Size()
	o.levels = o.tree.AppendLevels(o.levels, merkle.LeafHash(anchorlog.Leaf(string(head))))
	nodes := func(nodes []merkle.Node, hashes []merkle.Hash) error {
		for i, at := range nodes {
			hashes[i] = o.levels[at.Level][at.Index]
		}
		return nil
	}
	inclusion, err := merkle.ProveInclusion(n, n+1, nodes)
	if err != nil {
		o.a.t.Fatal(err)
	}
	consistency, err := merkle.ProveConsistency(o.last, n+1, nodes)
	if err != nil {
		o.a.t.Fatal(err)
	}
	root, err := merkle.Checkpoint{Origin: anchorName, Size: n + 1, Root: o.tree.Root()}.Sign(o.operator)
	if err != nil {
		o.a.t.Fatal(err)
	}
	o.last = n + 1
	file, err := anchorlog.Record{N: n, Head: string(head), Inclusion: inclusion.Path, Root: string(root), Consistency: consistency.Path}.Marshal()
	if err == nil {
		err = log.KeepAnchored(o.a.t.Context(), o.vkey["anchor"], n, file)
	}
	if err != nil {
		o.a.t.Fatal(err)
	}
}

// overseen is an archive of some commits that outsiders have seen one after the other.
func overseen(t *testing.T) (a *testArchive, o *outsiders, svc *keys.Service, r *Reader, ids []logpipe.ID) {
	t.Helper()
	a = newTestArchive(t, storetest.NewMemory())
	svc = a.keys()
	o = a.outside()
	s := a.stream(keyscope.Link{})
	records := some(40)
	for i := range 4 {
		s.send(records[10*i : 10*i+10]...)
		a.once(svc)
		switch i {
		case 0:
			o.anchor()
		case 1:
			o.cosign("A")
		case 2:
			o.cosign("B")
			o.anchor()
		case 3:
			o.cosign("A", "C")
		}
	}
	r = a.reader(svc)
	return a, o, svc, r, idsOf(t, r)
}

// What others have seen goes with the evidence: the earliest head of each that covers it, held against the trust file.
func TestProveVouched(t *testing.T) {
	a, _, _, r, ids := overseen(t)
	for _, c := range []struct {
		record           int
		cosigned         int
		quorum, anchored bool
		head             string // of the entries
	}{
		{0, 3, true, true, "the first anchored"},
		{15, 3, true, true, "A's"},
		{25, 3, true, true, "B's"},
		{35, 2, true, false, "the newest"},
	} {
		e, err := r.Prove(t.Context(), ids[c.record:c.record+1], nil)
		if err != nil {
			t.Fatal(err)
		}
		report, err := evidence.Check(a.trust(), e.File)
		if err != nil {
			t.Fatalf("record %d: %v", c.record, err)
		}
		n := 0
		for _, s := range report.Holds {
			if s.What == "cosigned" {
				n++
			}
		}
		if !report.Whole() || n != c.cosigned || shows(report, "quorum") != c.quorum || shows(report, "anchored") != c.anchored || report.Vouched() != (c.quorum && c.anchored) {
			t.Errorf("record %d: %d cosigned, %+v, missing %+v", c.record, n, report.Holds, report.Missing)
		}
		t.Logf("record %d: %d bytes", c.record, len(e.File))
		// A trust file that names nobody takes the file, and counts nobody.
		plain, _, _ := strings.Cut(string(a.trust()), "witness A")
		report, err = evidence.Check([]byte(plain), e.File)
		if err != nil || shows(report, "cosigned") || !slices.ContainsFunc(report.Missing, func(s evidence.Statement) bool { return s.What == "witness" }) {
			t.Errorf("record %d with a trust file without witnesses: %v %+v", c.record, err, report)
		}
	}
}
