package backup_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/spool"
)

// TestQuarantine: what was set aside opens with the read key, up to the quota, and nothing more is kept.
func TestQuarantine(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	s := a.stream(keyscope.Link{})
	s.send(some(1)...)
	var sent [][]byte
	for i := range 5 {
		sent = append(sent, append([]byte(fmt.Sprintf("rubbish %d ", i)), bytes.Repeat([]byte{byte(i)}, 300<<10)...))
		s.append(spool.Frames, sent[i])
	}
	sent = append(sent, []byte("x"))
	s.append(spool.Frames, sent[5])
	s.close()
	a.once(nil)
	wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "completeness")
	var id identity.Reader
	if err := identity.Parse(a.file("reader", "reader.stele"), identity.ReaderFormat, &id); err != nil {
		t.Fatal(err)
	}
	read := a.readKey(&id)
	kept := 0
	for i, line := range bytes.Split(bytes.TrimSpace(a.object("quarantine")), []byte("\n")) {
		q := parseSetAside(t, line)
		sum := sha256.Sum256(sent[i])
		if q.Length != len(sent[i]) || q.SHA256 != fmt.Sprintf("%x", sum) || q.Reason == "" || q.Offset != int64(i+1) || q.Lane != fmt.Sprintf("%x", s.id) {
			t.Errorf("message %d: %+v", i, q)
		}
		if q.Sealed == nil {
			continue
		}
		kept++
		if bytes.Contains(q.Sealed, []byte("rubbish")) {
			t.Error("a message lies there in clear")
		}
		if got, err := keyscope.OpenQuarantine(read, id.Archive, sum, q.Sealed); err != nil || !bytes.Equal(got, sent[i]) {
			t.Errorf("message %d does not open: %v", i, err)
		}
	}
	if kept != 4 {
		t.Errorf("%d messages kept, want the 4 that fit", kept)
	}
	r, err := a.open().Unlock(a.file("reader", "reader.stele"), nil)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for q, err := range r.Quarantine(t.Context()) {
		if err != nil || q.Length != len(sent[i]) || q.Offset != int64(i+1) || q.Reason == "" || (q.Message != nil) != (i < 3 || i == 5) || q.Message != nil && !bytes.Equal(q.Message, sent[i]) {
			t.Errorf("message %d: %v, %d bytes at %d, %q", i, err, q.Length, q.Offset, q.Reason)
		}
		i++
	}
	if i != len(sent) {
		t.Errorf("the reader is given %d messages of %d", i, len(sent))
	}

	// What a dishonest compactor put there is named, the rest is given.
	key := keysOf(t, a.store, "logs/")
	key = slices.DeleteFunc(key, func(k string) bool { return !strings.HasSuffix(k, ".quarantine") })
	mem := a.store.(*storetest.Memory)
	for v, err := range mem.Versions(t.Context(), key[0], "") {
		if err != nil {
			t.Fatal(err)
		}
		mem.Remove(v.Key, v.ID)
	}
	mem.Overwrite(key[0], []byte("rubbish"))
	n := 0
	for q, err := range r.Quarantine(t.Context()) {
		if n++; err == nil || q.SHA256 != "" {
			t.Errorf("altered: %v %s", err, q.SHA256)
		}
	}
	if n != 1 {
		t.Errorf("altered: %d answers", n)
	}
}

// quarantined is one line of a quarantine object.
type quarantined struct {
	Lane, Reason, SHA256 string
	Offset               int64
	Length               int
	Sealed               []byte
}

func parseSetAside(t *testing.T, line []byte) (q quarantined) {
	t.Helper()
	if err := json.Unmarshal(line, &q); err != nil {
		t.Fatal(err)
	}
	return q
}

// TestQuarantineFlood: of more rubbish than a segment may keep, only place, length and digest are kept, all of them; a
// segment lists so many and no more; reasons that a sender makes up are counted together; and what is authentic goes through.
func TestQuarantineFlood(t *testing.T) {
	const most, size, quota = 10_000, 1000, 1 << 20
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	records := some(6)
	s.send(records[:3]...)
	var rubbish [][]byte
	for i := range most + 50 {
		m := bytes.Repeat([]byte{byte(i)}, size)
		copy(m, fmt.Sprintf("rubbish %d", i))
		if i%100 == 0 { // frames of archives that do not exist, each with a reason of its own
			d := frame.Draft{Archive: [16]byte{0: 1, 1: byte(i / 100)}, Stream: s.id, First: s.next}
			d.Rows = []frame.Row{{Leaf: record.Leaf{Type: record.Sampled, Class: "default", Detail: record.SampledDetail{}.Append(nil)}, Block: -1}}
			raw, _, err := d.Encode(nil, s.key)
			if err != nil {
				t.Fatal(err)
			}
			m = raw
		}
		rubbish = append(rubbish, m)
	}
	if _, err := s.lane.Append(spool.Frames, rubbish...); err != nil {
		t.Fatal(err)
	}
	s.send(records[3:]...)
	s.close()
	a.once(keys)
	a.intact(keys, records)

	var listed []int64
	for _, seg := range a.open().Segments() {
		if seg.Quarantined == 0 {
			continue
		}
		if seg.Quarantined > most {
			t.Errorf("commit %d set %d messages aside", seg.Commit, seg.Quarantined)
		}
		key := seg.Objects[slices.IndexFunc(seg.Objects, func(key string) bool { return strings.HasSuffix(key, ".quarantine") })]
		kept := 0
		for _, line := range bytes.Split(bytes.TrimSpace(read(t, a.store, key)), []byte("\n")) {
			q := parseSetAside(t, line)
			m := rubbish[q.Offset-1]
			if q.Length != len(m) || q.SHA256 != fmt.Sprintf("%x", sha256.Sum256(m)) {
				t.Fatalf("%+v is not of message %d", q, q.Offset)
			}
			if listed = append(listed, q.Offset); q.Sealed != nil {
				kept += q.Length
			}
		}
		if kept > quota || seg.Quarantined > most/2 && kept < quota-size {
			t.Errorf("commit %d keeps %d bytes", seg.Commit, kept)
		}
	}
	for i, at := range listed {
		if at != int64(i+1) {
			t.Fatalf("message %d is listed in place %d", at, i)
		}
	}
	if len(listed) != len(rubbish) {
		t.Errorf("%d messages are listed, want %d", len(listed), len(rubbish))
	}
	count := uint64(0)
	for _, key := range keysOf(t, a.store, "control/log/") {
		for _, e := range a.entries(key) {
			var q control.Quarantine
			if e.Type != control.TypeQuarantine || e.Into(&q) != nil {
				continue
			}
			count += q.Count
			sum := uint64(0)
			for _, n := range q.Reasons {
				sum += n
			}
			if len(q.Reasons) > 17 || sum != q.Count || q.Count > most/2 && q.Reasons["other"] == 0 {
				t.Errorf("%d reasons for %d of %d messages: %v", len(q.Reasons), sum, q.Count, q.Reasons)
			}
		}
	}
	if count != uint64(len(rubbish)) {
		t.Errorf("the control log counts %d messages, want %d", count, len(rubbish))
	}
}

// object is the content of the only object of a kind.
func (a *testArchive) object(kind string) []byte {
	a.t.Helper()
	for _, key := range keysOf(a.t, a.store, a.log()+"objects/") {
		if strings.Contains(key, kind) {
			return read(a.t, a.store, key)
		}
	}
	a.t.Fatalf("no %s object", kind)
	return nil
}

// TestGrantDropped: a scope whose grant never came, or was replaced, cannot be opened, and that is no erasure.
func TestGrantDropped(t *testing.T) {
	for _, way := range []string{"dropped", "replaced"} {
		t.Run(way, func(t *testing.T) {
			a := newTestArchive(t, storetest.NewMemory())
			keys := a.keys()
			s := a.stream(keyscope.Link{})
			s.send(some(1)...)
			s.grants = func(msg []byte) []byte {
				if way == "dropped" {
					return nil
				}
				g, err := keyscope.ParseGrants(msg)
				if err != nil {
					t.Fatal(err)
				}
				g.Grants[0].Outer[3]++
				msg, _ = g.Sign(s.key)
				return msg
			}
			d := s.draft(testRecord{subject: "other", session: "other", body: "lost"})
			s.append(spool.Frames, s.encode(d))
			s.close()
			a.once(keys)
			report := a.verify(VerifyOptions{Reader: a.reader(keys)})
			wantExit(t, report, 15, "integrity", "completeness", "readability")
			wantExit(t, report, 14)
			wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "completeness")
			wantFault(t, report.Faults, "readability", "leaf 2", "unknown")
			if report.Opened != 1 || report.Erased != 0 {
				t.Errorf("opened %d, erased %d", report.Opened, report.Erased)
			}
		})
	}
}

// TestSourceReset: a transport with another history stops its partition, says so, and the others go on.
func TestSourceReset(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	s := a.stream(keyscope.Link{})
	s.send(some(2)...)
	s.close()
	a.once(nil)
	a.spool = t.TempDir()
	n := a.stream(keyscope.Link{})
	n.send(some(2)...)
	c, err := a.compact(t.Context(), nil, a.store, nil)
	if err == nil || len(c.Stats().Halted) != 1 {
		t.Fatalf("a source with another history was taken: %v, halted %v", err, c.Stats().Halted)
	}
	report := a.verify(VerifyOptions{})
	wantExit(t, report, 0, "integrity", "completeness")
	wantFault(t, report.Notices, "integrity", "test/0/", "source, reported by a compactor", "cluster")
	if len(a.commits()) != 1 {
		t.Errorf("%d commits", len(a.commits()))
	}
}
