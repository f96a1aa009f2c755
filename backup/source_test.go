package backup_test

import (
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/spool"
)

// TestTransportForgets: what the transport removed before it was read is a declared gap, and the stream lacks it.
func TestTransportForgets(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	a.spoolOptions.FileBytes = 1 // a file for each message: trimming removes whole files
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	s.send(some(2)...)
	a.once(keys)
	s.send(some(3)...)
	dir, err := spool.Open(a.spool, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	end, err := dir.End(s.id, spool.Frames)
	s.send(some(1)...)
	s.close()
	if err == nil {
		err = dir.Trim(s.id, spool.Frames, end)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.once(keys)
	report := a.verify(VerifyOptions{Reader: a.reader(keys)})
	wantExit(t, report, 11)
	wantFault(t, report.Faults, "completeness", "stream ", "missing seq [3-5]")
	wantFault(t, report.Notices, "completeness", "lane ", "removed these messages")
	if report.Opened != 3 {
		t.Errorf("%d records, want 3", report.Opened)
	}
}

// TestOtherPartitionsGoOn: a partition that halts does not stop the others.
func TestOtherPartitionsGoOn(t *testing.T) {
	store := storetest.NewMemory()
	a := newTestArchive(t, store)
	a.policy(func(p *control.Policy) { p.Partitions = 2 })
	send := func(partition uint32) {
		s := a.stream(keyscope.Link{})
		s.recertify(func(c *keyscope.Cert) { c.Partition = partition })
		s.partition = partition
		s.send(some(2)...)
		s.close()
	}
	send(0)
	send(1)
	a.once(nil)
	store.Remove(a.commitKey(0), "")
	send(0)
	send(1)
	c, err := a.compact(t.Context(), nil, store, nil)
	if err == nil || len(c.Stats().Halted) != 1 || c.Stats().Halted[0] == nil {
		t.Fatalf("%v, halted %v", err, c.Stats().Halted)
	}
	report := a.verify(VerifyOptions{})
	wantExit(t, report, 10)
	for _, l := range report.Logs {
		if l.Origin[len("test/")] == '1' && l.Size != 8 {
			t.Errorf("%+v: the other partition stopped too", l)
		}
	}
}
