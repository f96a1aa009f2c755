package backup_test

import (
	"fmt"
	"slices"
	"testing"

	. "github.com/stelelog/stele/backup"

	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/keyscope"
)

// bodies reads all bodies back.
func bodies(t *testing.T, r *Reader, q Query) (out []string) {
	t.Helper()
	for f, err := range r.Records(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s/%s/%s", f.Subject, f.Session, f.Body))
	}
	return out
}

func wantBodies(records []testRecord) (out []string) {
	for _, r := range records {
		out = append(out, fmt.Sprintf("%s/%s/%s", r.subject, r.session, r.body))
	}
	return out
}

func wantExit(t *testing.T, r *Report, code int, require ...string) {
	t.Helper()
	if got := r.ExitCode(require...); got != code {
		t.Errorf("exit code %d, want %d", got, code)
		for _, f := range r.Faults {
			t.Logf("fault: %v", f)
		}
	}
}

func TestCommitVerifyRestore(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	records := some(100)
	s.send(records[:10]...)
	a.once(keys)
	for i := 10; i < 100; i += 30 {
		s.send(records[i : i+30]...)
	}
	s.close()
	a.once(keys)

	r := a.reader(keys)
	report := a.verify(VerifyOptions{Reader: r})
	wantExit(t, report, 0, "integrity", "completeness", "readability")
	if report.Opened != 100 || report.Records != 100 {
		t.Errorf("opened %d of %d records, want 100", report.Opened, report.Records)
	}
	if got, want := bodies(t, r, Query{}), wantBodies(records); !slices.Equal(got, want) {
		t.Errorf("restored %d records, not equal to the %d sent", len(got), len(want))
	}
	var some []string
	for _, w := range wantBodies(records) {
		if w[:len("subject-1")] == "subject-1" {
			some = append(some, w)
		}
	}
	if got := bodies(t, r, Query{Subject: "subject-1"}); !slices.Equal(got, some) {
		t.Errorf("subject-1: restored %d records, want %d", len(got), len(some))
	}
	if report.Logs[0].Provable != report.Logs[0].Size {
		t.Errorf("provable %d of %d", report.Logs[0].Provable, report.Logs[0].Size)
	}
}

func TestErasedStaysErased(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	s.send(some(30)...)
	s.close()
	a.once(keys)
	a.erase(keys, s.cred.Pepper, "subject-2", a.approvedRequest())
	r := a.reader(keys)
	for f, err := range r.Records(t.Context(), Query{Erased: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Subject == "subject-2" || f.Erased && len(f.Body) > 0 {
			t.Fatalf("record %v of an erased subject was opened", f.ID)
		}
	}
	report := a.verify(VerifyOptions{Reader: a.reader(keys)})
	wantExit(t, report, 0)
	if report.Erased != 10 || report.Opened != 20 {
		t.Errorf("erased %d opened %d, want 10 and 20", report.Erased, report.Opened)
	}
}
