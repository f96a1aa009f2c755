package compact

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/spool"
)

// laneMessage is a frame, or a beat, of a stream in a partition.
func laneMessage(t *testing.T, stream [16]byte, partition uint32, beat bool) []byte {
	t.Helper()
	_, key, _ := ed25519.GenerateKey(nil)
	if beat {
		b := frame.Beat{Partition: partition, Stream: stream, Time: 1}
		return b.Append(nil, key)
	}
	d := frame.Draft{Partition: partition, Stream: stream}
	d.Rows = []frame.Row{{Leaf: record.Leaf{Type: record.Sampled, Class: "default", Detail: record.SampledDetail{}.Append(nil)}, Block: -1}}
	raw, _, err := d.Encode(nil, key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestLaneOrder: the lanes of a partition are read by the time of their first message, whatever they are called: a stream
// goes on in another lane after a fault, and there its first frame is not.
func TestLaneOrder(t *testing.T) {
	const many = 24
	root := t.TempDir()
	dir, err := spool.Open(root, spool.Options{FileBytes: 1}) // a file for each message
	if err != nil {
		t.Fatal(err)
	}
	var ids [][16]byte
	for i := range many {
		ids = append(ids, [16]byte{byte(i)})
	}
	rng := rand.New(rand.NewPCG(3, 1))
	rng.Shuffle(many, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	slices.SortFunc(ids[:2], func(a, b [16]byte) int { return int(b[0]) - int(a[0]) }) // the first two against the order of names
	write := func(id [16]byte, messages ...[]byte) {
		t.Helper()
		w, err := dir.CreateLane(id)
		if err == nil {
			defer w.Close()
			for _, m := range messages {
				if _, err = w.Append(spool.Frames, m); err == nil {
					err = w.Sync(t.Context())
				}
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // clocks may be coarse
	}
	var want [2][]string
	for i, id := range ids {
		p := uint32(i % 3 / 2) // every third to partition 1
		m := laneMessage(t, [16]byte{9}, p, i%5 == 4)
		write(id, m, laneMessage(t, [16]byte{9}, p, false))
		want[p] = append(want[p], hex.EncodeToString(id[:]))
	}
	_, key, _ := ed25519.GenerateKey(nil)
	foreign := frame.Beat{Archive: [16]byte{7}, Stream: [16]byte{9}, Time: 1}
	write([16]byte{210}, foreign.Append(nil, key)) // of another archive: left alone
	write([16]byte{200}, []byte("rubbish"))
	want[0] = append(want[0], hex.EncodeToString(append([]byte{200}, make([]byte, 15)...)))
	write([16]byte{201}) // holds nothing yet

	for p := range want {
		src := newSpoolSource(dir, [16]byte{}, uint32(p), slog.New(slog.DiscardHandler))
		for range 2 { // the second time from memory
			got, err := src.lanes(t.Context())
			if err != nil || !slices.Equal(got, want[p]) {
				t.Fatalf("partition %d: lanes\n%v, want\n%v (%v)", p, got, want[p], err)
			}
		}
	}
	// Lanes that were trimmed keep their places.
	for _, id := range ids {
		if err := dir.Trim(id, spool.Frames, 1); err != nil {
			t.Fatal(err)
		}
	}
	src := newSpoolSource(dir, [16]byte{}, 0, slog.New(slog.DiscardHandler))
	if got, err := src.lanes(t.Context()); err != nil || !slices.Equal(got, want[0]) {
		t.Errorf("after a trim: lanes\n%v, want\n%v (%v)", got, want[0], err)
	}
}

// Lanes that somebody else removed are forgotten, and their files closed.
func TestRemovedLanesAreForgotten(t *testing.T) {
	dir, err := spool.Open(t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	src := newSpoolSource(dir, [16]byte{}, 0, slog.New(slog.DiscardHandler))
	for i := range byte(3) {
		w, err := dir.CreateLane([16]byte{i})
		if err == nil {
			_, err = w.Append(spool.Frames, laneMessage(t, [16]byte{9}, 0, false))
		}
		if err != nil {
			t.Fatal(err)
		}
		lanes, err := src.lanes(t.Context())
		if err != nil || len(lanes) != 1 {
			t.Fatalf("lanes %v (%v)", lanes, err)
		}
		if _, err := src.read(t.Context(), lanes[0], 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Close(), dir.Trim([16]byte{i}, spool.Frames, 1), dir.Trim([16]byte{i}, spool.Grants, 0), dir.Remove([16]byte{i})); err != nil {
			t.Fatal(err)
		}
		if lanes, err := src.lanes(t.Context()); err != nil || len(lanes)+len(src.readers)+len(src.partOf)+len(src.since) > 0 {
			t.Errorf("lanes %v (%v), %d readers", lanes, err, len(src.readers))
		}
	}
}

// A lane that the disk does not let be read is reported, and keeps no other one from the archive.
func TestUnreadableLane(t *testing.T) {
	for name, spoil := range map[string]func(lane string) error{
		"a file for a lane":   func(lane string) error { return errors.Join(os.RemoveAll(lane), os.WriteFile(lane, nil, 0o600)) },
		"a folder for frames": func(lane string) error { return folder(filepath.Join(lane, "frames-00000000000000000000.log")) },
		"a folder for grants": func(lane string) error { return folder(filepath.Join(lane, "grants-00000000000000000000.log")) },
	} {
		root := t.TempDir()
		dir, err := spool.Open(root, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range byte(2) {
			w, err := dir.CreateLane([16]byte{i})
			if err == nil {
				_, err = w.Append(spool.Frames, laneMessage(t, [16]byte{9}, 0, false))
			}
			if err := errors.Join(err, w.Sync(t.Context())); err != nil {
				t.Fatal(err)
			}
			defer w.Close()
		}
		bad, good := hex.EncodeToString(make([]byte, 16)), hex.EncodeToString(append([]byte{1}, make([]byte, 15)...))
		if err := spoil(filepath.Join(root, "lanes", bad)); err != nil {
			t.Fatal(err)
		}
		src := newSpoolSource(dir, [16]byte{}, 0, slog.New(slog.DiscardHandler))
		lanes, err := src.lanes(t.Context())
		if err != nil || !slices.Contains(lanes, good) {
			t.Errorf("%s: lanes %v (%v)", name, lanes, err)
		}
		if ends, err := src.grantsEnd(t.Context()); err != nil || len(ends) != 2 {
			t.Errorf("%s: ends of grants %v (%v)", name, ends, err)
		}
		if got, err := src.read(t.Context(), good, 0, 0); err != nil || len(got) != 1 {
			t.Errorf("%s: %d messages of the other lane (%v)", name, len(got), err)
		}
		if len(src.damaged()) == 0 {
			t.Errorf("%s: no word of it", name)
		}
	}
}

// A lane that may be read again, because somebody has given it to the right user, is read again.
func TestLaneIsReadAgain(t *testing.T) {
	root := t.TempDir()
	dir, err := spool.Open(root, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := dir.CreateLane([16]byte{})
	if err == nil {
		_, err = w.Append(spool.Frames, laneMessage(t, [16]byte{9}, 0, false))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	lane := filepath.Join(root, "lanes", hex.EncodeToString(make([]byte, 16)))
	if err := errors.Join(os.Rename(lane, lane+".away"), os.WriteFile(lane, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	src := newSpoolSource(dir, [16]byte{}, 0, slog.New(slog.DiscardHandler))
	look := func() int {
		lanes, err := src.lanes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(lanes)
	}
	if n := look(); n != 0 || len(src.damaged()) != 1 {
		t.Errorf("%d lanes, damaged %v", n, src.damaged())
	}
	if err := errors.Join(os.Remove(lane), os.Rename(lane+".away", lane)); err != nil {
		t.Fatal(err)
	}
	if look() != 0 {
		t.Error("it is looked at again at once")
	}
	src.tried = src.tried.Add(-retryUnreadable)
	if n := look(); n != 1 || len(src.damaged()) != 0 {
		t.Errorf("%d lanes, damaged %v", n, src.damaged())
	}
}

func folder(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }
