package backup_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/merkle"
)

// succession is an archive of three partitions with a stream that died.
type succession struct {
	*testArchive
	dead *testStream
	heir uint32 // partition of successors
}

// newSuccession makes one whose dead stream, in partition 0, promised a durability.
func newSuccession(t *testing.T, heir uint32, d keyscope.Durability) *succession {
	a := newTestArchive(t, storetest.NewMemory())
	a.policy(func(p *control.Policy) { p.Partitions = 3 })
	s := &succession{testArchive: a, heir: heir}
	s.dies(d)
	return s
}

// dies makes another dead stream. It beats seldom: how long the test takes says nothing.
func (s *succession) dies(d keyscope.Durability) {
	s.dead = s.stream(keyscope.Link{})
	s.dead.recertify(func(c *keyscope.Cert) { c.Durability, c.BeatEvery = d, 600_000 })
}

// link is the end of the dead stream as it knew it.
func (s *succession) link() keyscope.Link {
	return keyscope.Link{Stream: s.dead.id, Seq: s.dead.next - 1, Head: s.dead.head}
}

// successor opens a stream behind the dead one. It has said nothing yet.
func (s *succession) successor(prev keyscope.Link) *testStream {
	n := s.stream(prev)
	n.partition = s.heir
	n.recertify(func(c *keyscope.Cert) { c.Partition = s.heir })
	return n
}

// recovers says that the stream found the end of another there.
func (n *testStream) recovers(at keyscope.Link) {
	n.leaf(record.Recovered, record.RecoveredDetail{Stream: at.Stream, Seq: at.Seq, Head: at.Head}.Append(nil))
}

// reportOf is what a list says of a stream.
func reportOf(t *testing.T, list []StreamReport, id [16]byte) StreamReport {
	t.Helper()
	i := slices.IndexFunc(list, func(s StreamReport) bool { return s.Stream == fmt.Sprintf("%x", id) })
	if i < 0 {
		t.Fatalf("stream %x is not in %+v", id, list)
	}
	return list[i]
}

// TestSuccession: what a successor says of the end of a stream counts, in whatever log, as far as it can know it.
func TestSuccession(t *testing.T) {
	tests := []struct {
		name       string
		durability keyscope.Durability
		play       func(s *succession)
		complete   bool
		state      string
		says       []string
	}{
		{"recovered, spooled", keyscope.Spooled, func(s *succession) {
			s.successor(s.link()).recovers(s.link())
		}, true, "recovered", []string{"complete: recovered at seq 3"}},
		{"recovered, acked", keyscope.Acked, func(s *succession) {
			s.successor(s.link()).recovers(s.link())
		}, true, "recovered", []string{"complete: recovered at seq 3"}},
		{"recovered, memory", keyscope.Memory, func(s *succession) {
			s.successor(s.link()).recovers(s.link())
		}, false, "recovered", []string{"recovered at seq 3; unknown what was in memory"}},
		{"recovered, though it looked alive", keyscope.Spooled, func(s *succession) {
			s.dead.beat()
			s.successor(s.link()).recovers(s.link())
		}, true, "recovered", []string{"complete: recovered at seq 3"}},
		{"no word of recovery", keyscope.Spooled, func(s *succession) {
			s.successor(s.link()).send(some(1)...)
		}, false, "unknown", []string{"unknown after seq 3: it neither closed"}},
		{"above the archive", keyscope.Spooled, func(s *succession) {
			s.dead.encode(s.dead.draft(some(2)...)) // never came
			s.successor(s.link()).recovers(s.link())
		}, false, "recovered", []string{"recovered, but the archive ends at seq 3", "lacks seq 4 to 5"}},
		{"above what the link says", keyscope.Spooled, func(s *succession) {
			at := s.link()
			at.Seq += 7
			s.successor(s.link()).recovers(at)
		}, false, "recovered", []string{"recovered, but the archive ends at seq 3", "lacks seq 4 to 10"}},
		{"the link above what was recovered", keyscope.Spooled, func(s *succession) {
			at := s.link()
			s.dead.encode(s.dead.draft(some(2)...)) // noted, and never sent
			s.successor(s.link()).recovers(at)
		}, false, "recovered", []string{"recovered, but the archive ends at seq 3", "lacks seq 4 to 5"}},
		{"below the archive", keyscope.Spooled, func(s *succession) {
			at := s.link()
			s.dead.send(some(2)...)
			s.successor(at).recovers(at)
		}, false, "unknown", []string{"unknown after seq 5: its successor", "found less"}},
		{"nothing found", keyscope.Spooled, func(s *succession) {
			s.successor(s.link()).recovers(keyscope.Link{Stream: s.dead.id, Seq: record.None})
		}, false, "unknown", []string{"unknown after seq 3: its successor", "found less"}},
		{"below the archive of a stream that lives", keyscope.Spooled, func(s *succession) {
			at := s.link()
			s.dead.send(some(2)...)
			s.dead.beat()
			s.successor(at).recovers(at)
		}, true, "live", []string{"live up to seq 5"}},
		{"wrong head", keyscope.Spooled, func(s *succession) {
			at := s.link()
			at.Head[0]++
			s.successor(s.link()).recovers(at)
		}, false, "recovered", []string{"the archive ends at seq 3", "another frame at its end"}},
		{"wrong head in the link", keyscope.Spooled, func(s *succession) {
			at := s.link()
			at.Head = merkle.Hash{}
			s.successor(at).recovers(s.link())
		}, false, "recovered", []string{"the archive ends at seq 3", "another frame at its end"}},
		{"its own beat knows more", keyscope.Spooled, func(s *succession) {
			at := s.link()
			s.dead.encode(s.dead.draft(some(2)...))
			s.dead.beat()
			s.successor(at).recovers(at)
		}, false, "recovered", []string{"the archive ends at seq 3", "reached seq 5"}},
		{"a gap", keyscope.Spooled, func(s *succession) {
			s.dead.encode(s.dead.draft(some(2)...))
			s.dead.send(some(1)...)
			s.successor(s.link()).recovers(s.link())
		}, false, "recovered", []string{"missing seq 4-5"}},
		{"closed", keyscope.Memory, func(s *succession) {
			at := s.link()
			s.dead.close()
			s.successor(at).recovers(at)
		}, true, "closed", []string{"complete: closed at seq 4"}},
		{"closed, and the close was removed", keyscope.Spooled, func(s *succession) {
			d := s.dead.draft()
			d.Rows = append(d.Rows, frame.Row{Leaf: record.Leaf{Type: record.Close, Class: "default",
				Detail: record.CloseDetail{Reason: 1}.Append(nil)}, Block: -1})
			s.dead.encode(d)
			s.successor(s.link()).send(some(1)...)
		}, false, "unknown", []string{"lacks seq 4 to 4"}},
		{"by a stream behind another", keyscope.Spooled, func(s *succession) {
			other := s.after(keyscope.Link{})
			s.successor(keyscope.Link{Stream: other.id, Seq: 0, Head: other.head}).recovers(s.link())
			other.close()
		}, false, "unknown", []string{"unknown after seq 3: it neither closed"}},
		{"by a stream behind nothing", keyscope.Spooled, func(s *succession) {
			s.successor(keyscope.Link{}).recovers(s.link())
		}, false, "unknown", []string{"unknown after seq 3: it neither closed"}},
		{"by itself", keyscope.Spooled, func(s *succession) {
			s.dead.recovers(s.link())
		}, false, "unknown", []string{"unknown after seq 4: it neither closed"}},
		{"a second thought", keyscope.Spooled, func(s *succession) {
			less := s.link()
			s.dead.send(some(2)...)
			n := s.successor(s.link())
			n.recovers(less)
			n.recovers(s.link())
		}, false, "unknown", []string{"unknown after seq 5: its successor", "found less"}},
		{"two successors, one of which knows more", keyscope.Spooled, func(s *succession) {
			at := s.link()
			s.successor(at).recovers(at)
			s.dead.encode(s.dead.draft(some(2)...))
			s.successor(s.link()).recovers(s.link())
		}, false, "recovered", []string{"the archive ends at seq 3", "lacks seq 4 to 5"}},
		{"two successors, one of which found less", keyscope.Spooled, func(s *succession) {
			at := s.link()
			s.dead.send(some(2)...)
			s.successor(at).recovers(at)
			s.successor(s.link()).recovers(s.link())
		}, true, "recovered", []string{"complete: recovered at seq 5"}},
		{"by a stranger's service", keyscope.Spooled, func(s *succession) {
			n := s.successor(s.link())
			n.cred = s.otherService("other")
			n.recertify(func(c *keyscope.Cert) { c.Service = "other" })
			n.recovers(s.link())
		}, false, "unknown", []string{"unknown after seq 3: it neither closed"}},
		{"by a stranger's service under the name of this one", keyscope.Spooled, func(s *succession) {
			n := s.successor(s.link())
			n.cred = s.otherService("third")
			n.recertify(func(*keyscope.Cert) {})
			n.recovers(s.link())
		}, false, "unknown", []string{"unknown after seq 3: it neither closed"}},
		{"by a stranger without a service", keyscope.Spooled, func(s *succession) {
			n := s.successor(s.link())
			n.cred.Key = slices.Repeat([]byte{5}, 32)
			n.recertify(func(*keyscope.Cert) {})
			n.recovers(s.link())
		}, false, "unknown", []string{"unknown after seq 3: it neither closed"}},
		{"the word of a stream, under another key", keyscope.Spooled, func(s *succession) {
			n := s.successor(s.link())
			n.send(some(1)...)
			_, n.key, _ = ed25519.GenerateKey(nil)
			n.recovers(s.link())
		}, false, "unknown", []string{"unknown after seq 3: it neither closed"}},
	}
	for _, heir := range []uint32{0, 2} {
		t.Run(fmt.Sprintf("partition %d", heir), func(t *testing.T) {
			s := newSuccession(t, heir, keyscope.Memory)
			var ids [][16]byte
			for _, test := range tests {
				s.dies(test.durability)
				s.dead.send(some(3)...)
				ids = append(ids, s.dead.id)
				test.play(s)
			}
			s.once(nil)
			now := time.Now()
			audit, report := s.open().Streams(now), s.verify(VerifyOptions{Now: now})
			if code := report.ExitCode("integrity"); code != 0 {
				t.Errorf("integrity is false: %v", report.Faults)
			}
			for i, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					got := reportOf(t, report.Streams, ids[i])
					if other := reportOf(t, audit, ids[i]); !reflect.DeepEqual(got, other) {
						t.Errorf("audit says %+v, verify %+v", other, got)
					}
					if got.Complete != test.complete || got.State != test.state {
						t.Errorf("%s, complete %v: %s", got.State, got.Complete, got.Verdict)
					}
					for _, words := range test.says {
						if !strings.Contains(got.Verdict, words) {
							t.Errorf("%q does not say %q", got.Verdict, words)
						}
					}
					if !test.complete {
						wantFault(t, report.Faults, "completeness", got.Stream, got.Verdict)
					}
				})
			}
		})
	}
}

// otherService lets another writer in.
func (a *testArchive) otherService(name string) *identity.Writer {
	a.t.Helper()
	admin, err := admin.Open(a.t.Context(), a.store, a.trust(), a.file("admin", "root.stele"))
	if err != nil {
		a.t.Fatal(err)
	}
	var file []byte
	if err := admin.AddWriter(a.t.Context(), name, a.url(), func(credential []byte) error { file = credential; return nil }); err != nil {
		a.t.Fatal(err)
	}
	cred, err := identity.ParseWriter(file)
	if err != nil {
		a.t.Fatal(err)
	}
	return cred
}

// TestSuccessionInAnyOrder: the verdict is the same whichever of the two comes first, and however often the compactor
// starts anew between.
func TestSuccessionInAnyOrder(t *testing.T) {
	for _, heir := range []uint32{0, 1} {
		t.Run(fmt.Sprintf("partition %d", heir), func(t *testing.T) {
			s := newSuccession(t, heir, keyscope.Spooled)
			first := bytes.Clone(s.dead.encode(s.dead.draft(some(3)...)))
			n := s.successor(s.link())
			n.send()
			s.once(nil)
			n.recovers(s.link())
			s.once(nil)
			n.send(some(1)...)
			s.once(nil)
			report := s.verify(VerifyOptions{})
			wantFault(t, report.Faults, "completeness", fmt.Sprintf("%x", n.id), "predecessor", "not in the archive")
			s.dead.append(spool.Frames, first)
			s.once(nil)
			n.close()
			s.once(nil)
			wantExit(t, s.verify(VerifyOptions{}), 0, "integrity", "completeness")
			if got := reportOf(t, s.open().Streams(time.Now()), s.dead.id); got.State != "recovered" || !got.Complete {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestInventedRecovery: whoever holds the commit key cannot put a word into a successor's mouth, nor take one out.
func TestInventedRecovery(t *testing.T) {
	for _, test := range []struct {
		name     string
		says     bool // the successor says that it recovered the stream
		edit     func(s *succession, t *commit.Tip)
		complete bool // is what verify must find, and audit believes the contrary
	}{
		{"invents", false, func(s *succession, t *commit.Tip) {
			t.Recovered = &commit.Recovered{Seq: s.link().Seq, Head: commit.Hex32(s.link().Head)}
		}, false},
		{"conceals", true, func(s *succession, t *commit.Tip) { t.Recovered = nil }, true},
		{"changes the service", true, func(s *succession, t *commit.Tip) { t.Service = "other" }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSuccession(t, 1, keyscope.Spooled)
			m := s.store.(*storetest.Memory)
			s.dead.send(some(3)...)
			n := s.successor(s.link())
			n.send(some(1)...)
			if test.says {
				n.recovers(s.link())
			}
			n.close()
			s.once(nil)
			key := strings.Replace(s.commitKey(0), "logs/0/", "logs/1/", 1)
			c, err := commit.Peek(read(t, m, key))
			if err != nil {
				t.Fatal(err)
			}
			test.edit(s, &c.Streams[0])
			by := s.commitSigner()
			c.By = by.Name()
			file, err := c.Sign(by)
			if err != nil {
				t.Fatal(err)
			}
			m.Remove(key, "")
			m.Overwrite(key, file)
			if got := reportOf(t, s.open().Streams(time.Now()), s.dead.id); got.Complete == test.complete {
				t.Errorf("audit reads the commits, and says %+v", got)
			}
			report := s.verify(VerifyOptions{})
			wantExit(t, report, 10)
			wantFault(t, report.Faults, "integrity", key, "not what a commit says")
			if got := reportOf(t, report.Streams, s.dead.id); got.Complete != test.complete {
				t.Errorf("verify believes the commit: %+v", got)
			}
		})
	}
}
