package backup_test

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/logpipe"
)

func idsOf(t *testing.T, r *Reader) (ids []logpipe.ID) {
	t.Helper()
	for f, err := range r.Records(t.Context(), Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, f.ID)
	}
	return ids
}

// What is proved can be checked with the trust file alone, and shows what was asked for and no more.
func TestProve(t *testing.T) {
	a, _, keys, records := built(t)
	r := a.reader(keys)
	ids := idsOf(t, r)
	for n, id := range ids {
		e, err := r.Prove(t.Context(), ids[n:n+1], []string{"body", "subject"})
		if err != nil {
			t.Fatal(err)
		}
		if bare, err := r.Prove(t.Context(), ids[n:n+1], nil); err != nil {
			t.Fatal(err)
		} else if n == 17 {
			t.Logf("%d bytes bare", len(bare.File))
			_, parts, _ := evidence.Parse(bare.File)
			for _, p := range parts {
				t.Logf("kind %d: %d", p.Kind, len(p.Data))
			}
		}
		report, err := evidence.Check(a.trust(), e.File)
		if err != nil {
			t.Fatal(err)
		}
		if n == 17 {
			t.Logf("%d bytes", len(e.File))
			for _, s := range report.Holds {
				t.Logf("%+v", s)
			}
			for _, s := range report.Missing {
				t.Logf("not shown: %+v", s)
			}
		}
		got := report.Records[0]
		if len(report.Records) != 1 || got.ID != hex.EncodeToString(id[:]) || !report.Whole() {
			t.Fatalf("record %d: %+v", n, report)
		}
		if string(got.Fields["body"]) != records[n].body || string(got.Fields["subject"]) != records[n].subject || len(got.Fields) != 2 {
			t.Errorf("record %d: fields %q, want those of %+v", n, got.Fields, records[n])
		}
	}
}

var makeEvidence = flag.Bool("evidence", false, "make backup/evidence/testdata anew; only before the format is released")

// TestMakeEvidence makes the files that verifiers in any language are held against.
func TestMakeEvidence(t *testing.T) {
	if !*makeEvidence {
		return
	}
	store := storetest.NewMemory()
	a := newTestArchive(t, store)
	keys := a.keys()
	first, second := a.stream(keyscope.Link{}), a.stream(keyscope.Link{})
	for i := range 4 {
		first.send(some(40)[10*i : 10*i+10]...)
		if i == 2 {
			second.send(some(3)...)
		}
		a.once(keys)
	}
	r := a.reader(keys)
	ids := idsOf(t, r)
	save := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join("evidence", "testdata", name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, x := range map[string]struct {
		ids    []logpipe.ID
		fields []string
	}{
		"bare.evidence":      {ids[13:14], nil},
		"disclosed.evidence": {ids[7:8], []string{"body", "attributes", "tenant", "session"}},
		"many.evidence":      {[]logpipe.ID{ids[0], ids[22], ids[31], ids[42]}, DisclosableFields()},
	} {
		e, err := r.Prove(t.Context(), x.ids, x.fields)
		if err != nil {
			t.Fatal(err)
		}
		save(name, e.File)
	}
	save("trust.stele", a.trust())
	save("other.stele", newTestArchive(t, storetest.NewMemory()).trust())
	for name, file := range makeVouched(t) {
		save(name, file)
	}
}

// makeVouched makes files of an archive that outsiders watch and in which something was erased.
func makeVouched(t *testing.T) map[string][]byte {
	a, o, svc, r, ids := overseen(t)
	subject := some(40)[3].subject
	filed := a.asked(subject)
	a.once(svc)
	a.erased(svc, filed.ID, subject)
	o.cosign("A", "B", "C")
	o.anchor()
	vouched, err := r.Prove(t.Context(), ids[16:17], []string{"body"})
	if err != nil {
		t.Fatal(err)
	}
	if report, err := evidence.Check(a.trust(), vouched.File); err != nil || shows(report, "forgotten") || !shows(report, "anchored") || !report.Vouched() {
		t.Fatalf("%v %+v", err, report)
	}
	forgotten, err := a.open().Prove(t.Context(), ids[3:4])
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := a.open().Certificate(t.Context(), filed.ID, filed.File)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"vouched.stele": a.trust(), "vouched.evidence": vouched.File, "forgotten.evidence": forgotten.File, "certificate.evidence": certificate.File}
}

// An archive from before there were rosters proves with the whole policy.
func TestProveFrozen(t *testing.T) {
	f := openFrozen(t, frozenDir)
	for n, id := range idsOf(t, f.reader)[:3] {
		e, err := f.archive.Prove(t.Context(), []logpipe.ID{id})
		if err != nil {
			t.Fatal(err)
		}
		report, err := evidence.Check(f.file(t, "trust.stele"), e.File)
		if err != nil || !report.Whole() {
			t.Fatalf("record %d: %v, missing %v", n, err, report.Missing)
		}
		t.Logf("%d bytes", len(e.File))
	}
}
