package logpipe

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stelelog/stele/internal/keyscope"
)

func TestTipSurvivesATornWrite(t *testing.T) {
	dir, archive := t.TempDir(), [16]byte{1}
	s, err := openSlot(dir, archive)
	if err != nil {
		t.Fatal(err)
	}
	if s.have {
		t.Error("a fresh slot has a tip")
	}
	for seq := range uint64(5) {
		want := tip{archive: archive, stream: [16]byte{2}, seq: seq, head: [32]byte{3}, closed: seq == 4, durability: keyscope.Acked}
		if err := s.write(&want); err != nil {
			t.Fatal(err)
		}
		if got := reread(t, s, archive); got.last != want || !got.have {
			t.Fatalf("tip is %+v, want %+v", got.last, want)
		}
	}
	// The write of seq 4 is torn: the tip of seq 3 stands.
	if _, err := s.file.WriteAt([]byte("torn"), int64(s.gen%2)*tipStride+20); err != nil {
		t.Fatal(err)
	}
	if got := reread(t, s, archive); got.last.seq != 3 || got.last.closed {
		t.Errorf("after a torn write the tip is %+v", got.last)
	}
	if got := reread(t, s, [16]byte{9}); got.have {
		t.Error("the tip of another archive counts")
	}
	other, err := openSlot(dir, archive)
	if err != nil || other.path == s.path {
		t.Fatalf("a second stream has %v (%v)", other, err)
	}
	other.close()
	s.close()
	again, err := openSlot(dir, archive)
	if err != nil || again.path != s.path || again.last.seq != 3 {
		t.Errorf("the slot that was given up is not taken again: %v", err)
	}
	again.close()
}

// reread opens the tip file of a slot that is held.
func reread(t *testing.T, s *slot, archive [16]byte) *slot {
	t.Helper()
	got := &slot{path: s.path}
	if err := got.open(archive); err != nil {
		t.Fatal(err)
	}
	got.file.Close()
	return got
}

func TestSlotInAPlaceThatRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var at *os.PathError
	if _, err := openSlot(path, [16]byte{}); !errors.As(err, &at) {
		t.Errorf("%v, want an error that names the path", err)
	}
}
