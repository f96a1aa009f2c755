package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/spool"
)

// TestTransport plays what can happen to a stream on its way.
func TestTransport(t *testing.T) {
	other := func() ed25519.PrivateKey { _, key, _ := ed25519.GenerateKey(nil); return key }
	for _, test := range []struct {
		name        string
		play        func(a *testArchive, s *testStream)
		code        int
		says        []string // in the fault about the stream, or, for code 0, in its verdict
		opened      uint64
		quarantined uint64
	}{
		{"closed", func(a *testArchive, s *testStream) { s.send(some(3)...); s.close() }, 0, []string{"closed at seq 4"}, 3, 0},
		{"live", func(a *testArchive, s *testStream) { s.send(some(3)...); s.beat() }, 0, []string{"live up to seq 3"}, 3, 0},
		{"neither", func(a *testArchive, s *testStream) { s.send(some(3)...) }, 11, []string{"unknown after seq 3"}, 3, 0},
		{"frame lost in the middle", func(a *testArchive, s *testStream) {
			s.send(some(3)...)
			s.encode(s.draft(some(4)...))
			s.send(some(2)...)
			s.close()
		}, 11, []string{"missing seq 4-7"}, 5, 0},
		{"late frames fill a gap from the middle", func(a *testArchive, s *testStream) {
			s.send(some(3)...)
			late := [][]byte{s.encode(s.draft(some(1)...)), s.encode(s.draft(some(2)...)), s.encode(s.draft(some(1)...))}
			for i := range late {
				late[i] = bytes.Clone(late[i])
			}
			s.send(some(2)...)
			s.close()
			a.once(nil)
			s.append(spool.Frames, late[1])
			a.once(nil)
			s.append(spool.Frames, late[2])
			s.append(spool.Frames, late[0])
			s.append(spool.Frames, late[1])
		}, 0, []string{"closed at seq 10"}, 9, 0},
		{"whole tail cut, a beat knows", func(a *testArchive, s *testStream) {
			s.send(some(3)...)
			s.encode(s.draft(some(4)...))
			s.beat()
		}, 11, []string{"unknown after seq 3", "reached seq 7"}, 3, 0},
		{"the same beat for ever", func(a *testArchive, s *testStream) {
			s.recertify(func(c *keyscope.Cert) { c.BeatEvery = 6 })
			s.send(some(3)...)
			b := frame.Beat{Archive: s.cred.Archive, Stream: s.id, Seq: s.next - 1, Head: s.head, Time: 1}
			s.append(spool.Frames, b.Append(nil, s.key))
			a.once(nil)
			for range 3 {
				time.Sleep(20 * time.Millisecond)
				s.append(spool.Frames, b.Append(nil, s.key))
				a.once(nil)
			}
			live := a.stream(keyscope.Link{})
			live.send(some(1)...)
			live.close()
		}, 11, []string{"neither closed nor"}, 4, 0},
		{"forged beat", func(a *testArchive, s *testStream) {
			s.send(some(3)...)
			b := frame.Beat{Archive: s.cred.Archive, Stream: s.id, Seq: s.next - 1, Head: s.head, Time: time.Now().UnixNano()}
			s.append(spool.Frames, b.Append(nil, other()))
		}, 11, []string{"unknown after seq 3"}, 3, 1},
		{"forged frame", func(a *testArchive, s *testStream) {
			s.send(some(3)...)
			raw, _, err := s.draft(some(2)...).Encode(nil, other())
			if err != nil {
				t.Fatal(err)
			}
			s.append(spool.Frames, raw)
			s.close()
		}, 0, []string{"closed"}, 3, 1},
		{"replayed", func(a *testArchive, s *testStream) {
			raw := bytes.Clone(s.send(some(3)...))
			s.append(spool.Frames, raw)
			a.once(nil)
			s.append(spool.Frames, raw)
			s.close()
			s.append(spool.Frames, raw)
		}, 0, []string{"closed"}, 3, 0},
		{"after the close", func(a *testArchive, s *testStream) {
			s.send(some(3)...)
			s.close()
			s.send(some(3)...)
		}, 0, []string{"closed at seq 4"}, 3, 1},
		{"equivocation", func(a *testArchive, s *testStream) {
			s.send(some(3)...)
			next, head := s.next, s.head
			s.send(some(2)...)
			end, last := s.next, s.head
			s.next, s.head = next, head
			s.send(some(2)...)
			s.next, s.head = end, last
			s.close()
		}, 10, []string{"equivocation", "at 4"}, 5, 1},
		{"predecessor never came", func(a *testArchive, s *testStream) {
			a.after(keyscope.Link{Stream: [16]byte{1}, Seq: 9}).close()
			s.send()
			s.close()
		}, 11, []string{"predecessor 01", "up to seq 9"}, 0, 0},
		{"cut, and its successor knows", func(a *testArchive, s *testStream) {
			s.send(some(3)...)
			s.beat()
			s.encode(s.draft(some(4)...))
			a.after(keyscope.Link{Stream: s.id, Seq: s.next - 1, Head: s.head}).close()
		}, 11, []string{"lacks seq 4 to 7"}, 3, 0},
		{"recovered from memory", func(a *testArchive, s *testStream) {
			s.send(some(3)...)
			n := a.after(keyscope.Link{Stream: s.id, Seq: s.next - 1, Head: s.head})
			n.leaf(record.Recovered, record.RecoveredDetail{Stream: s.id, Seq: s.next - 1, Head: s.head}.Append(nil))
			n.close()
		}, 11, []string{"unknown what was in memory"}, 3, 0},
		{"declared loss", func(a *testArchive, s *testStream) {
			s.send(some(3)...)
			s.leaf(record.Loss, record.LossDetail{Count: 12, Reason: record.MemoryFull, After: 3}.Append(nil))
			s.close()
		}, 11, []string{"12 records declared lost"}, 3, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newTestArchive(t, storetest.NewMemory())
			keys := a.keys()
			s := a.stream(keyscope.Link{})
			test.play(a, s)
			a.once(keys)
			report := a.verify(VerifyOptions{Reader: a.reader(keys)})
			wantExit(t, report, test.code)
			if report.Opened != test.opened {
				t.Errorf("%d records, want %d", report.Opened, test.opened)
			}
			set := uint64(0)
			for _, seg := range a.open().Segments() {
				set += seg.Quarantined
			}
			if set != test.quarantined {
				t.Errorf("%d messages set aside, want %d", set, test.quarantined)
			}
			switch test.code {
			case 0:
				i := slices.IndexFunc(report.Streams, func(r StreamReport) bool { return r.Stream == fmt.Sprintf("%x", s.id) })
				if i < 0 || !strings.Contains(report.Streams[i].Verdict, test.says[0]) {
					t.Errorf("streams %+v", report.Streams)
				}
			case 10:
				wantFault(t, report.Faults, "integrity", "", test.says...)
			default:
				wantFault(t, report.Faults, "completeness", "stream ", test.says...)
			}
		})
	}
}

// after opens a stream behind another one.
func (a *testArchive) after(prev keyscope.Link) *testStream { s := a.stream(prev); s.send(); return s }

// leaf sends a frame of one leaf.
func (s *testStream) leaf(kind record.Type, detail []byte) {
	d := s.draft()
	d.Rows = append(d.Rows, frame.Row{Leaf: record.Leaf{Type: kind, Time: time.Now().UnixNano(), Class: "default", Detail: detail}, Block: -1})
	s.append(spool.Frames, s.encode(d))
}

// TestRecoveredFromDisk: with durability spooled, what a successor found is all.
func TestRecoveredFromDisk(t *testing.T) {
	for range 6 { // lanes are read in the order of their random names
		recoveredFromDisk(t)
	}
}

func recoveredFromDisk(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	s := a.stream(keyscope.Link{})
	s.recertify(func(c *keyscope.Cert) { c.Durability = keyscope.Spooled })
	s.send(some(3)...)
	n := a.after(keyscope.Link{Stream: s.id, Seq: s.next - 1, Head: s.head})
	n.leaf(record.Recovered, record.RecoveredDetail{Stream: s.id, Seq: s.next - 1, Head: s.head}.Append(nil))
	n.close()
	a.once(nil)
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "completeness")
}

// recertify changes the certificate of a stream that has sent nothing.
func (s *testStream) recertify(edit func(*keyscope.Cert)) {
	s.t.Helper()
	c := *s.cert
	edit(&c)
	cert, err := keyscope.SignCert(c, s.cred.SigningKey())
	if err != nil {
		s.t.Fatal(err)
	}
	s.cert = cert
}

// TestReplayFromLongAgo repeats frames that no memory holds any more: more than a table keeps, in the same segment, in
// later ones and after a restart. None is taken twice, none is called a contradiction.
func TestReplayFromLongAgo(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	for i := range 600 {
		s.leafOrRecord(i)
	}
	for _, i := range []int{0, 1, 299, 598, 599} {
		s.append(spool.Frames, s.sent[i]) // the same segment
	}
	a.once(keys)
	for _, i := range []int{0, 1, 299, 300, 598, 599} {
		s.append(spool.Frames, s.sent[i]) // after a restart
	}
	s.close()
	a.once(keys)
	report := a.verify(VerifyOptions{Reader: a.reader(keys)})
	wantExit(t, report, 0, "integrity", "completeness", "readability")
	dups := uint64(0)
	for _, seg := range a.open().Segments() {
		dups += seg.Duplicates
	}
	if dups != 11 || report.Leaves != 602 {
		t.Errorf("%d duplicates and %d leaves, want 11 and 602", dups, report.Leaves)
	}
}

// leafOrRecord sends a frame that costs little.
func (s *testStream) leafOrRecord(i int) {
	if i == 0 {
		s.send(some(1)...)
		return
	}
	d := s.draft()
	d.Rows = append(d.Rows, frame.Row{Leaf: record.Leaf{Type: record.Sampled, Time: time.Now().UnixNano(), Class: "default",
		Detail: record.SampledDetail{}.Append(nil)}, Block: -1})
	raw := bytes.Clone(s.encode(d))
	s.append(spool.Frames, raw)
	s.sent = append(s.sent, raw)
}

// TestFlippedFrames flips bytes all over a frame: none is taken, the stream goes on once the right one comes.
func TestFlippedFrames(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	s.send(some(2)...)
	raw := bytes.Clone(s.encode(s.draft(some(5)...)))
	rng := rand.New(rand.NewPCG(1, 1))
	const n = 300
	for range n {
		s.append(spool.Frames, flip(raw, rng.IntN(8*len(raw))))
	}
	s.append(spool.Frames, raw)
	s.close()
	a.once(keys)
	report := a.verify(VerifyOptions{Reader: a.reader(keys)})
	wantExit(t, report, 0, "integrity", "completeness", "readability")
	if got := a.open().Segments()[0].Quarantined; got != n || report.Opened != 7 {
		t.Errorf("%d set aside, %d opened; want %d and 7", got, report.Opened, n)
	}
}

// TestStrangers: other partitions, other archives, unknown and revoked writers.
func TestStrangers(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	lane := a.stream(keyscope.Link{})
	lane.send(some(2)...)
	for _, edit := range []func(*keyscope.Cert){
		func(c *keyscope.Cert) { c.Partition = 1 }, func(c *keyscope.Cert) { c.Archive[0]++ }, func(c *keyscope.Cert) { c.Stream[0]++ },
	} {
		s := a.stream(keyscope.Link{})
		s.recertify(edit)
		lane.append(spool.Frames, s.encode(s.draft(some(2)...)))
	}
	partition := a.stream(keyscope.Link{})
	d := partition.draft(some(1)...)
	d.Partition = 1
	lane.append(spool.Frames, partition.encode(d))
	unknown := a.stream(keyscope.Link{})
	unknown.cred.Key = slices.Repeat([]byte{5}, 32)
	unknown.recertify(func(*keyscope.Cert) {})
	lane.append(spool.Frames, unknown.encode(unknown.draft(some(2)...)))
	a.once(keys)

	old := a.stream(keyscope.Link{})
	old.send(some(2)...)
	a.once(keys)
	a.policy(func(p *control.Policy) { now := time.Now(); p.Writers[0].Revoked = &now })
	old.send(some(2)...) // open already: it may go on
	old.close()
	revoked := a.stream(keyscope.Link{})
	revoked.send(some(2)...)
	lane.close()
	a.once(keys)
	report := a.verify(VerifyOptions{})
	wantExit(t, report, 0, "integrity", "completeness")
	set := uint64(0)
	for _, seg := range a.open().Segments() {
		set += seg.Quarantined
	}
	if set != 6 || len(report.Streams) != 2 {
		t.Errorf("%d messages set aside and %d streams, want 6 and 2", set, len(report.Streams))
	}
}

// TestWriterAddedWhileRunning: a compactor that runs takes the first frame of a writer that it has not heard of.
func TestWriterAddedWhileRunning(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := a.compactor(a.store, nil)
	done := make(chan error, 1)
	first := a.stream(keyscope.Link{})
	first.send(some(2)...)
	go func() { done <- c.Run(ctx) }()
	for c.Stats().Records != 3 {
		time.Sleep(5 * time.Millisecond)
	}
	admin, err := admin.Open(t.Context(), a.store, a.trust(), a.file("admin", "root.stele"))
	if err != nil {
		t.Fatal(err)
	}
	var cred []byte
	if err := admin.AddWriter(t.Context(), "new", a.url(), func(credential []byte) error { cred = credential; return nil }); err != nil {
		t.Fatal(err)
	}
	second := a.stream(keyscope.Link{})
	if second.cred, err = identity.ParseWriter(cred); err != nil {
		t.Fatal(err)
	}
	second.recertify(func(c *keyscope.Cert) { c.Service = "new" })
	second.send(some(2)...)
	second.close()
	deadline := time.Now().Add(10 * time.Second)
	for c.Stats().Records != 7 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-done
	first.close()
	a.once(nil)
	report := a.verify(VerifyOptions{})
	wantExit(t, report, 0, "integrity", "completeness")
	if report.Leaves != 8 || c.Stats().Quarantined != 0 {
		t.Errorf("%d leaves, %d set aside", report.Leaves, c.Stats().Quarantined)
	}
}
