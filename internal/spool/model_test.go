package spool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// model is a lane next to what it should hold.
type model struct {
	d       *Dir
	w       *Writer
	lane    [16]byte
	readers map[Kind]*Reader
	want    map[Kind][][]byte
	trimmed map[Kind]uint64 // Trim was asked for up to here
	ended   bool
}

func (m *model) start(t *rapid.T) {
	var err error
	m.lane[0]++
	if m.w, err = m.d.CreateLane(m.lane); err != nil {
		t.Fatal(err)
	}
	m.want, m.trimmed, m.ended = map[Kind][][]byte{}, map[Kind]uint64{}, false
	m.readers = map[Kind]*Reader{Frames: m.d.Reader(m.lane, Frames), Grants: m.d.Reader(m.lane, Grants)}
}

func (m *model) append(t *rapid.T) {
	if m.w == nil {
		t.Skip("no writer")
	}
	kind := rapid.SampledFrom(kinds[:]).Draw(t, "kind")
	batch := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 120), 1, 5).Draw(t, "batch")
	pos, err := m.w.Append(kind, batch...)
	if err != nil || pos != uint64(len(m.want[kind])) {
		t.Fatalf("append at %d: %d, %v", len(m.want[kind]), pos, err)
	}
	m.want[kind] = append(m.want[kind], batch...)
}

func (m *model) read(t *rapid.T) {
	kind := rapid.SampledFrom(kinds[:]).Draw(t, "kind")
	want := m.want[kind]
	from := rapid.Uint64Range(0, uint64(len(want))+2).Draw(t, "from")
	messages, err := m.readers[kind].Read(from, rapid.IntRange(0, 500).Draw(t, "max"))
	var e *Error
	switch {
	case from > uint64(len(want)):
		if !errors.Is(err, ErrPosition) {
			t.Fatalf("read at %d of %d: %v", from, len(want), err)
		}
	case errors.Is(err, ErrPosition):
		if !errors.As(err, &e) || from >= m.trimmed[kind] || e.First <= from || e.First > m.trimmed[kind] {
			t.Fatalf("read at %d, trimmed to %d: %v", from, m.trimmed[kind], err)
		}
	case from == uint64(len(want)):
		if len(messages) > 0 || m.ended != (err == io.EOF) || !m.ended && err != nil {
			t.Fatalf("read at the end: %v, %v", messages, err)
		}
	case err != nil || len(messages) == 0:
		t.Fatalf("read at %d of %d: %d messages, %v", from, len(want), len(messages), err)
	}
	for i, got := range messages {
		if got.Pos != from+uint64(i) || !bytes.Equal(got.Payload, want[got.Pos]) {
			t.Fatalf("read at %d: message %d is wrong", from, i)
		}
	}
}

func (m *model) trim(t *rapid.T) {
	kind := rapid.SampledFrom(kinds[:]).Draw(t, "kind")
	before := rapid.Uint64Range(0, uint64(len(m.want[kind]))).Draw(t, "before")
	if err := m.d.Trim(m.lane, kind, before); err != nil {
		t.Fatal(err)
	}
	m.trimmed[kind] = max(m.trimmed[kind], before)
}

func (m *model) sync(t *rapid.T) {
	if m.w == nil {
		t.Skip("no writer")
	}
	if err := m.w.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (m *model) close(t *rapid.T) {
	if m.w == nil {
		t.Skip("no writer")
	}
	if err := m.w.Close(); err != nil {
		t.Fatal(err)
	}
	m.w, m.ended = nil, true
}

// crash leaves a part of one more record behind.
func (m *model) crash(t *rapid.T) {
	if m.w == nil {
		t.Skip("no writer")
	}
	c := newCodec(m.lane, Frames)
	record := c.appendRecord(nil, uint64(len(m.want[Frames])), 0, []byte("never acknowledged"))
	part := rapid.IntRange(0, len(record)-1).Draw(t, "part")
	if _, err := m.w.logs[Frames.index()].file.Write(record[:part]); err != nil {
		t.Fatal(err)
	}
	crash(m.w)
	m.w = nil
}

func (m *model) recover(t *rapid.T) {
	if m.w != nil {
		t.Skip("has a writer")
	}
	h, err := m.d.OpenLane(m.lane)
	if err != nil || h.Frames != uint64(len(m.want[Frames])) || h.Grants != uint64(len(m.want[Grants])) {
		t.Fatalf("recovered %+v, %v", h, err)
	}
	h.Close()
	m.ended = true
}

// replace uses the lane up and goes on with a new one.
func (m *model) replace(t *rapid.T) {
	if !m.ended {
		t.Skip("not ended")
	}
	for _, kind := range kinds {
		if err := m.d.Trim(m.lane, kind, uint64(len(m.want[kind]))); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.d.Remove(m.lane); err != nil {
		t.Fatal(err)
	}
	m.start(t)
}

func (m *model) check(t *rapid.T) {
	for _, kind := range kinds {
		if end, err := m.d.End(m.lane, kind); err != nil || end != uint64(len(m.want[kind])) {
			t.Fatalf("End(%s) = %d, %v; want %d", kind, end, err, len(m.want[kind]))
		}
	}
	if got, err := m.d.bytes(); err != nil || m.d.quota.looked >= 0 && m.d.quota.used < got-int64(recordHeader+18) {
		t.Fatalf("counted %d bytes, there are %d, %v", m.d.quota.used, got, err)
	}
}

func TestModel(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(filepath.Join(dir, "spool"), Options{FileBytes: 300, MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		m := &model{d: d}
		m.start(t)
		t.Repeat(map[string]func(*rapid.T){"append": m.append, "read": m.read, "trim": m.trim, "sync": m.sync,
			"close": m.close, "crash": m.crash, "recover": m.recover, "replace": m.replace, "": m.check})
	})
}
