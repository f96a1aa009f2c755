package backup_test

import (
	"fmt"
	"math/rand/v2"
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
	wantFault(t, report.Faults, "completeness", "stream ", "missing seq 3-5")
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

// newLane goes on in another lane, as after a fault of the disk: with the last n frames again, which may not have been synced.
func (s *testStream) newLane(a *testArchive, id [16]byte, again int) {
	s.t.Helper()
	dir, err := spool.Open(a.spool, a.spoolOptions)
	if err == nil {
		err = s.lane.Close()
	}
	if err == nil {
		s.lane, err = dir.CreateLane(id)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.lane.Close() })
	for _, raw := range s.sent[len(s.sent)-again:] {
		s.append(spool.Frames, raw)
	}
}

// TestStreamInTwoLanes: a stream that went on in another lane is taken whole and in order, whatever the lanes are called,
// and however much lies in the first.
func TestStreamInTwoLanes(t *testing.T) {
	large := func(n int) (out []testRecord) {
		rng := rand.NewChaCha8([32]byte{1})
		for i := range n {
			body := make([]byte, 100<<10)
			rng.Read(body)
			out = append(out, testRecord{subject: "s", session: "s", body: fmt.Sprintf("%d %x", i, body)})
		}
		return out
	}
	for _, test := range []struct {
		name    string
		records []testRecord
		at      int // records in the first lane
		again   int
	}{
		{"little", some(12), 6, 0}, {"with the last frames again", some(12), 6, 3}, {"more than one read of the first", large(45), 40, 1},
	} {
		for _, id := range [][16]byte{{0: 0, 15: 1}, {0: 255}} { // sorts before, and behind, the id of the stream
			t.Run(fmt.Sprintf("%s, %x", test.name, id[:1]), func(t *testing.T) {
				a := newTestArchive(t, storetest.NewMemory())
				keys := a.keys()
				s := a.stream(keyscope.Link{})
				for i, r := range test.records {
					if i == test.at {
						s.newLane(a, id, test.again)
					}
					s.send(r)
				}
				s.close()
				a.once(keys)
				report := a.intact(keys, test.records)
				seg := a.open().Segments()
				if seg[0].Quarantined > 0 || seg[0].Duplicates != uint64(test.again) || len(report.Streams) != 1 {
					t.Errorf("%d set aside, %d duplicates, want none and %d", seg[0].Quarantined, seg[0].Duplicates, test.again)
				}
			})
		}
	}
}
