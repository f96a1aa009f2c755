package backup_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
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
		var q struct {
			Length         int
			Reason, SHA256 string
			Sealed         []byte
		}
		if err := json.Unmarshal(line, &q); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(sent[i])
		if q.Length != len(sent[i]) || q.SHA256 != fmt.Sprintf("%x", sum) || q.Reason == "" {
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
	if kept != 3 {
		t.Errorf("%d messages kept, want the 3 that fit", kept)
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
			d := s.draft(testRecord{"other", "other", "lost"})
			s.append(spool.Frames, s.encode(d))
			s.close()
			a.once(keys)
			report := a.verify(VerifyOptions{Reader: a.reader(keys)})
			wantExit(t, report, 15)
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
