package backup_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/merkle"
)

const checkpoints = "control/checkpoints/"

func checkpointKey(n int) string { return fmt.Sprintf("%s%020d", checkpoints, n) }

// controlSize is the number of entries in the control log.
func (a *testArchive) controlSize() (n int) {
	for _, key := range keysOf(a.t, a.store, "control/log/") {
		n += len(a.entries(key))
	}
	return n
}

// more sends a closed stream and commits it.
func (a *testArchive) more(keys *keys.Service) []testRecord {
	a.t.Helper()
	s := a.stream(keyscope.Link{})
	records := some(5)
	s.send(records...)
	s.close()
	a.once(keys)
	return records
}

// TestSquattedCheckpoints: whoever may only add objects makes no verdict false, is named, and keeps no checkpoint from
// being published.
func TestSquattedCheckpoints(t *testing.T) {
	genuine := func(m *storetest.Memory) []byte { return read(t, m, keysOf(t, m, checkpoints)[0]) }
	whole, _, _, records := built(t)
	for _, test := range []struct {
		name, says string
		where      func(size int) []string
		data       func(m *storetest.Memory) []byte
	}{
		{"rubbish ahead", "squat", func(size int) (keys []string) {
			for i := range 10 {
				keys = append(keys, checkpointKey(size+1+i))
			}
			return keys
		}, func(*storetest.Memory) []byte { return []byte("mine") }},
		{"an old checkpoint ahead", "in the wrong place", func(size int) (keys []string) {
			for i := range 10 {
				keys = append(keys, checkpointKey(size+1+i))
			}
			return keys
		}, genuine},
		{"another version of each", "squat", func(size int) (keys []string) {
			for i := range size {
				keys = append(keys, checkpointKey(1+i))
			}
			return keys
		}, func(*storetest.Memory) []byte { return []byte("mine") }},
		{"far ahead", "squat", func(int) []string { return []string{checkpoints + "99999999999999999999"} },
			func(*storetest.Memory) []byte { return nil }},
		{"other names", "squat", func(size int) []string {
			return []string{checkpoints + "x", checkpoints + "x/y", checkpointKey(size+1) + ".0", checkpointKey(0)}
		}, func(*storetest.Memory) []byte { return []byte("mine") }},
		{"too large", "too many", func(size int) []string { return []string{checkpointKey(size + 1)} },
			func(m *storetest.Memory) []byte { return bytes.Repeat(genuine(m), 1000) }},
		{"a checkpoint with one more signature", "not written as it must be", func(size int) []string { return []string{checkpointKey(size + 1)} },
			func(m *storetest.Memory) []byte {
				return append(genuine(m), "— somebody AAAAAAAAAAAAAAAAAAAAAAAA\n"...)
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, store, keys := again(t, whole)
			records := slices.Clone(records)
			squatted := test.where(a.controlSize())
			for _, key := range squatted {
				store.Overwrite(key, test.data(store))
			}
			wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "completeness")
			records = append(records, a.more(keys)...)
			wantExit(t, a.verify(VerifyOptions{}), 0, "integrity", "completeness")
			records = append(records, a.more(keys)...)
			report := a.intact(keys, records)
			for _, key := range squatted[:min(len(squatted), 20)] {
				wantFault(t, report.Notices, "integrity", key, test.says)
			}
			a.wantCheckpoints()
		})
	}
}

// wantCheckpoints wants a checkpoint for every object of the control log: in its place, or beside it.
func (a *testArchive) wantCheckpoints() {
	a.t.Helper()
	size := 0
	for _, key := range keysOf(a.t, a.store, "control/log/") {
		size += len(a.entries(key))
		there := slices.ContainsFunc(a.versions(checkpointKey(size)), func(v worm.Version) bool {
			data, err := a.store.Read(a.t.Context(), v.Key, v.ID, worm.Range{})
			plain := v.Key == checkpointKey(size) || v.Key == fmt.Sprintf("%s.%x", checkpointKey(size), sha256.Sum256(data))
			return err == nil && plain && strings.HasPrefix(string(data), fmt.Sprintf("test/control\n%d\n", size))
		})
		if !there {
			a.t.Errorf("no checkpoint of size %d", size)
		}
	}
}

func (a *testArchive) versions(prefix string) (all []worm.Version) {
	for v, err := range a.store.Versions(a.t.Context(), prefix, "") {
		if err != nil {
			a.t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

// TestManySquattedCheckpoints: a flood is counted, not listed.
func TestManySquattedCheckpoints(t *testing.T) {
	a, store, keys, records := built(t)
	for i := range 1000 {
		store.Overwrite(checkpointKey(100+i), []byte("mine"))
	}
	store.Mark(keysOf(t, store, checkpoints)[0])
	report := a.intact(keys, records)
	wantFault(t, report.Notices, "integrity", checkpoints, "981 more")
	wantFault(t, report.Notices, "integrity", checkpoints, "delete marker")
	if len(report.Notices) > 30 {
		t.Errorf("%d notices", len(report.Notices))
	}
}

// TestMissingCheckpoints: one that was published and is gone, or is another, breaks integrity; so does one that
// contradicts the log, wherever it lies.
func TestMissingCheckpoints(t *testing.T) {
	last := func(keys []string) int { return len(keys) - 1 }
	whole, _, _, records := built(t)
	for _, test := range []struct {
		name   string
		which  func(keys []string) int
		attack func(a *testArchive, m *storetest.Memory, key string)
		code   int
		key    string // "": that of the checkpoint
		words  string
	}{
		{"the first removed", func([]string) int { return 0 }, remove, 10, "", "gone or altered"},
		{"one in the middle removed", func([]string) int { return 1 }, remove, 10, "", "gone or altered"},
		{"the newest removed", last, remove, 0, "", ""},
		{"the newest altered", last, alter, 10, "", "something else lies in the place"},
		{"one in the middle altered", func([]string) int { return 1 }, alter, 10, "", "gone or altered"},
		{"one in the middle moved", func([]string) int { return 1 }, func(a *testArchive, m *storetest.Memory, key string) {
			m.Overwrite(key+".moved", read(a.t, m, key))
			alter(a, m, key)
		}, 10, "", "gone or altered"},
		{"one exchanged for another", func([]string) int { return 1 }, func(a *testArchive, m *storetest.Memory, key string) {
			m.Remove(key, "")
			m.Overwrite(key, read(a.t, m, keysOf(a.t, m, checkpoints)[0]))
		}, 10, "", "gone or altered"},
		{"all removed", func([]string) int { return 0 }, func(a *testArchive, m *storetest.Memory, _ string) {
			for _, key := range keysOf(a.t, m, checkpoints) {
				m.Remove(key, "")
			}
		}, 10, "", "gone or altered"},
		{"one of another history, at an odd name", func([]string) int { return 0 }, func(a *testArchive, m *storetest.Memory, key string) {
			m.Overwrite(checkpoints+"kept", rewritten(a))
		}, 10, checkpoints + "kept", "another history"},
		{"one of a longer history, in a newer version", func([]string) int { return 0 }, func(a *testArchive, m *storetest.Memory, key string) {
			m.Overwrite(key, longer(a))
		}, 10, "", "it was cut"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, store, keys := again(t, whole)
			all := keysOf(t, store, checkpoints)
			key := all[test.which(all)]
			test.attack(a, store, key)
			report := a.verify(VerifyOptions{})
			wantExit(t, report, test.code)
			if test.code == 0 {
				a.intact(keys, records)
				return
			}
			if test.key != "" {
				key = test.key
			}
			wantFault(t, report.Faults, "integrity", key, test.words)
		})
	}
}

func remove(_ *testArchive, m *storetest.Memory, key string) { m.Remove(key, "") }

func alter(a *testArchive, m *storetest.Memory, key string) {
	data := flip(read(a.t, m, key), 200)
	m.Remove(key, "")
	m.Overwrite(key, data)
}

// rewritten is a checkpoint of the control key, of the present size and another root.
func rewritten(a *testArchive) []byte { return a.signHead(a.controlSize()) }

// longer is one beyond the end.
func longer(a *testArchive) []byte { return a.signHead(a.controlSize() + 5) }

// signHead is a checkpoint of a size that the control log never had with this root, by the control key.
func (a *testArchive) signHead(size int) []byte {
	a.t.Helper()
	var id identity.Compactor
	if err := identity.Parse(a.file("compactor", "compactor.stele"), identity.CompactorFormat, &id); err != nil {
		a.t.Fatal(err)
	}
	file, err := merkle.Checkpoint{Origin: "test/control", Size: uint64(size), Root: merkle.Hash{1}}.Sign(signer(a.t, "test/control", id.Control))
	if err != nil {
		a.t.Fatal(err)
	}
	return file
}

// TestCheckpointBeforeTheNextObject: a compactor that dies between an object and its checkpoint leaves that to the next
// one, which publishes it before it goes on, whatever lies there.
func TestCheckpointBeforeTheNextObject(t *testing.T) {
	whole, _, _, records := built(t)
	for _, squatted := range []bool{false, true} {
		t.Run(fmt.Sprint("squatted ", squatted), func(t *testing.T) {
			a, store, keys := again(t, whole)
			records := slices.Clone(records)
			if squatted {
				for i := range 5 {
					store.Overwrite(checkpointKey(a.controlSize()+1+i), []byte("mine"))
				}
			}
			s := a.stream(keyscope.Link{})
			more := some(2)
			s.send(more...)
			s.close()
			published := checkpointKey(a.controlSize())
			dying := &storetest.Faulty{Store: store, Script: func(c storetest.Call) storetest.Fault {
				if strings.HasPrefix(c.Key, checkpoints) && c.Op == "Create" && c.Key != published {
					return storetest.Lost
				}
				return storetest.None
			}}
			objects := len(keysOf(t, store, "control/log/"))
			if _, err := a.compact(t.Context(), keys, dying, nil); err == nil {
				t.Fatal("the compactor lived")
			}
			if n := len(keysOf(t, store, "control/log/")); n != objects+1 {
				t.Fatalf("%d objects, want %d", n, objects+1)
			}
			report := a.verify(VerifyOptions{})
			if squatted { // it cannot be told from one that was altered
				wantExit(t, report, 10)
				wantFault(t, report.Faults, "integrity", checkpointKey(a.controlSize()), "publishes it anew")
			} else {
				wantExit(t, report, 0, "integrity", "completeness")
			}
			records = append(records, more...)
			records = append(records, a.more(keys)...)
			a.intact(keys, records)
			a.wantCheckpoints()
		})
	}
}
