package spool

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenFiles of format version 1. They are frozen: what they hold must be readable for ever.
var goldenFiles = []string{"spool.json", "lanes/000102030405060708090a0b0c0d0e0f/end.json",
	"lanes/000102030405060708090a0b0c0d0e0f/frames-00000000000000000000.log",
	"lanes/000102030405060708090a0b0c0d0e0f/frames-00000000000000000002.log",
	"lanes/000102030405060708090a0b0c0d0e0f/grants-00000000000000000000.log"}

// writeGolden writes the lane that the golden files hold.
func writeGolden(t *testing.T, d *Dir) {
	w := create(t, d, laneA)
	_, err := w.Append(Grants, []byte("grant"))
	check0(t, err)
	_, err = w.Append(Frames, []byte("first"), bytes.Repeat([]byte{0xab}, 60))
	check0(t, err)
	_, err = w.Append(Frames, bytes.Repeat([]byte{0xcd}, 40))
	check0(t, err)
	check0(t, w.Close())
}

func TestGoldenWrite(t *testing.T) {
	d := open(t, Options{FileBytes: 160})
	check0(t, os.WriteFile(filepath.Join(d.path, identityName), mustRead(t, "testdata/v1/spool.json"), 0o600))
	writeGolden(t, d)
	for _, name := range goldenFiles {
		got, golden := mustRead(t, filepath.Join(d.path, name)), filepath.Join("testdata/v1", name)
		if *update {
			check0(t, os.MkdirAll(filepath.Dir(golden), 0o755))
			check0(t, os.WriteFile(golden, got, 0o644))
		}
		if want := mustRead(t, golden); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", name, got, want)
		}
	}
}

func TestGoldenRead(t *testing.T) {
	dir := t.TempDir()
	check0(t, os.CopyFS(dir, os.DirFS("testdata/v1")))
	d, err := Open(dir, Options{MustExist: true})
	check0(t, err)
	if id := d.ID(); string(id[:]) != "a golden spool!!" {
		t.Errorf("id %q", id)
	}
	want := []Message{{0, clock, []byte("first")}, {1, clock, bytes.Repeat([]byte{0xab}, 60)}, {2, clock, bytes.Repeat([]byte{0xcd}, 40)}}
	r := d.Reader(laneA, Frames)
	for _, m := range want {
		got, err := r.Read(m.Pos, 1)
		if err != nil || len(got) != 1 || !got[0].Time.Equal(m.Time) || !bytes.Equal(got[0].Payload, m.Payload) {
			t.Errorf("position %d: %v, %v", m.Pos, got, err)
		}
	}
	if _, err := r.Read(3, 0); err != io.EOF {
		t.Error(err)
	}
	if got, err := d.Reader(laneA, Grants).Read(0, 0); err != nil || len(got) != 1 || string(got[0].Payload) != "grant" {
		t.Error(got, err)
	}
}

func mustRead(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	check0(t, err)
	return data
}

// threeRecords makes an orphan with three messages in its frames, and returns its log file and the
// offsets at which records end.
func threeRecords(t *testing.T) (d *Dir, path string, content []byte, ends []int) {
	d = open(t, Options{})
	w := create(t, d, laneA)
	ends = append(ends, fileHeader)
	for i := range uint64(3) {
		appendTexts(t, w, Frames, i, i+1)
		ends = append(ends, ends[i]+recordHeader+len(text(i)))
	}
	crash(w)
	path = d.filePath(laneA, Frames, 0)
	return d, path, mustRead(t, path), ends
}

// recoverLane claims the orphan laneA and takes the end mark away again.
func recoverLane(d *Dir) (*Hold, error) {
	h, err := d.OpenLane(laneA)
	if err == nil {
		err = errors.Join(h.Close(), os.Remove(d.markPath(laneA)))
	}
	return h, err
}

func TestEveryTruncation(t *testing.T) {
	d, path, content, ends := threeRecords(t)
	for size := range content {
		check0(t, os.WriteFile(path, content[:size], 0o600))
		records := -1
		for _, end := range ends {
			if size >= end {
				records++
			}
		}
		next, err := readTexts(t, d.Reader(laneA, Frames), 0, 0)
		h, recoverErr := recoverLane(d)
		if records < 0 {
			if !errors.Is(err, ErrDamaged) || !errors.Is(recoverErr, ErrDamaged) {
				t.Fatalf("%d bytes: %v, %v", size, err, recoverErr)
			}
			continue
		}
		if err != nil || next != uint64(records) {
			t.Fatalf("%d bytes: read %d records, %v; want %d", size, next, err, records)
		}
		if recoverErr != nil || h.Frames != next || h.Cut != int64(size-ends[records]) {
			t.Fatalf("%d bytes: recovered %+v, %v", size, h, recoverErr)
		}
		if got := mustRead(t, path); !bytes.Equal(got, content[:ends[records]]) {
			t.Fatalf("%d bytes: %d are left", size, len(got))
		}
	}
}

// TestTruncationOfEndedLane: with an end mark nothing counts as an unfinished write.
func TestTruncationOfEndedLane(t *testing.T) {
	d, path, content, ends := threeRecords(t)
	h, err := d.OpenLane(laneA)
	check0(t, err)
	check0(t, h.Close())
	for size := range content {
		check0(t, os.WriteFile(path, content[:size], 0o600))
		next, err := readTexts(t, d.Reader(laneA, Frames), 0, 0)
		var e *Error
		if !errors.Is(err, ErrDamaged) || !errors.As(err, &e) || e.File != path {
			t.Fatalf("%d bytes: read %d, %v", size, next, err)
		}
		if size >= fileHeader && e.Offset != int64(ends[next]) {
			t.Fatalf("%d bytes: damage reported at %d, want %d", size, e.Offset, ends[next])
		}
	}
}

// TestEveryBitFlip: no flipped bit yields a message, none is taken for an unfinished write, none is cut.
func TestEveryBitFlip(t *testing.T) {
	d, path, content, ends := threeRecords(t)
	for bit := range len(content) * 8 {
		bad := bytes.Clone(content)
		bad[bit/8] ^= 1 << (bit % 8)
		check0(t, os.WriteFile(path, bad, 0o600))
		next, err := readTexts(t, d.Reader(laneA, Frames), 0, 0)
		if err == nil || bit/8 >= fileHeader && (!errors.Is(err, ErrDamaged) || bit/8 < ends[next] || bit/8 >= ends[next+1]) {
			t.Fatalf("bit %d: read up to %d, %v", bit, next, err)
		}
		if bit%7 > 0 {
			continue
		}
		if _, err := d.OpenLane(laneA); err == nil || !bytes.Equal(mustRead(t, path), bad) {
			t.Fatalf("bit %d: recovery: %v", bit, err)
		}
	}
}

func TestGarbageBehind(t *testing.T) {
	d, path, content, _ := threeRecords(t)
	first, second := content[:fileHeader], content[fileHeader:]
	zeros := make([]byte, 3*sector)
	cut := bytes.Clone(content) // the last record lost all from a block boundary on
	cut = append(cut, make([]byte, sector)...)
	var c codec = newCodec(laneA, Frames)
	long := c.appendRecord(bytes.Clone(content), 3, 0, bytes.Repeat([]byte{1}, 3*sector))
	copy(long[2*sector:], zeros)
	hole := bytes.Clone(long)
	hole[len(hole)-1] = 1
	rotten := append(bytes.Clone(content), zeros...) // unwritten blocks do not explain what is before them
	rotten[fileHeader+recordHeader] ^= 1
	for _, tt := range []struct {
		name    string
		content []byte
		next    uint64
		damaged bool
	}{
		{"zeros", append(bytes.Clone(content), zeros...), 3, false},
		{"one zero", append(bytes.Clone(content), 0), 3, false},
		{"zeros, then a byte", append(append(bytes.Clone(content), zeros...), 1), 3, true},
		{"text", append(bytes.Clone(content), "something that is no record"...), 3, true},
		{"unwritten blocks", cut, 3, false},
		{"message ends in unwritten blocks", long, 3, false},
		{"message with a hole", hole, 3, true},
		{"damage before unwritten blocks", rotten, 0, true},
		{"record again", append(bytes.Clone(content), second[:recordHeader+len(text(0))]...), 3, true},
		{"records swapped", append(bytes.Clone(first), second[recordHeader+len(text(0)):]...), 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check0(t, os.WriteFile(path, tt.content, 0o600))
			next, err := readTexts(t, d.Reader(laneA, Frames), 0, 0)
			if next != tt.next || errors.Is(err, ErrDamaged) != tt.damaged {
				t.Fatalf("read up to %d, %v", next, err)
			}
			h, err := recoverLane(d)
			if errors.Is(err, ErrDamaged) != tt.damaged {
				t.Fatalf("recovery: %+v, %v", h, err)
			}
			if !tt.damaged && !bytes.Equal(mustRead(t, path), content) {
				t.Fatal("recovery left something else than the records")
			}
		})
	}
}

// TestDamagedMiddleFile: what is missing from a file that is not the last is never taken for a tail.
func TestDamagedMiddleFile(t *testing.T) {
	d := open(t, Options{FileBytes: 500})
	w := create(t, d, laneA)
	appendTexts(t, w, Frames, 0, 30)
	l, err := d.list(laneA)
	check0(t, err)
	path := d.filePath(laneA, Frames, l.frames[1])
	content := mustRead(t, path)
	for _, tt := range []struct {
		name    string
		content []byte
	}{
		{"one byte short", content[:len(content)-1]},
		{"one record short", content[:len(content)-recordHeader-len(text(l.frames[2]-1))]},
		{"header only", content[:fileHeader]},
		{"header cut", content[:fileHeader-1]},
		{"file of another log", mustRead(t, d.filePath(laneA, Grants, 0))},
		{"file of another position", mustRead(t, d.filePath(laneA, Frames, l.frames[2]))},
	} {
		check0(t, os.WriteFile(path, tt.content, 0o600))
		next, err := readTexts(t, d.Reader(laneA, Frames), 0, 0)
		var e *Error
		if !errors.Is(err, ErrDamaged) || !errors.As(err, &e) || e.File != path || next < l.frames[1] {
			t.Errorf("%s: read up to %d, %v", tt.name, next, err)
		}
		if next, err := readTexts(t, d.Reader(laneA, Frames), l.frames[2], 0); err != nil || next != 30 {
			t.Errorf("%s: from the next file: %d, %v", tt.name, next, err)
		}
	}
}

// TestRecordIsBoundToItsPlace moves a good record to other lanes, logs and positions.
func TestRecordIsBoundToItsPlace(t *testing.T) {
	c := newCodec(laneA, Frames)
	record := c.appendRecord(nil, 5, 77, []byte("message"))
	if _, found := c.record(record, 5); found != whole {
		t.Fatal(found)
	}
	otherLane, otherLog := newCodec(laneB, Frames), newCodec(laneA, Grants)
	for _, found := range []check{second(c.record(record, 4)), second(c.record(record, 5+1<<32)), second(c.record(record, 6)),
		second(otherLane.record(record, 5)), second(otherLog.record(record, 5))} {
		if found != badHeader {
			t.Errorf("found %s", found)
		}
	}
}

func second(_ int, c check) check { return c }

// FuzzRecord: any bytes are refused, or are exactly what encoding the result gives.
func FuzzRecord(f *testing.F) {
	c := newCodec(laneA, Frames)
	f.Add(c.appendRecord(nil, 9, clock.UnixNano(), []byte("message")), uint64(9))
	f.Add(make([]byte, 100), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, pos uint64) {
		n, found := c.record(b, pos)
		if found != whole {
			return
		}
		m := message(b[:n], pos)
		if again := c.appendRecord(nil, pos, m.Time.UnixNano(), m.Payload); !bytes.Equal(again, b[:n]) {
			t.Fatalf("%x decodes to %v, which encodes to %x", b[:n], m, again)
		}
	})
}

// FuzzLog replaces a part of a good log and cuts it: messages that come out are the ones that went in.
func FuzzLog(f *testing.F) {
	c := newCodec(laneA, Frames)
	good := c.header(0)
	for i := range uint64(8) {
		good = c.appendRecord(good, i, 1, text(i))
	}
	d, err := Open(f.TempDir(), Options{})
	check0(f, err)
	check0(f, os.Mkdir(d.lanePath(laneA), 0o700))
	f.Add(uint16(100), []byte{1, 2, 3}, uint16(1000))
	f.Add(uint16(0), []byte("STLS\x02"), uint16(math.MaxUint16))
	f.Fuzz(func(t *testing.T, at uint16, patch []byte, size uint16) {
		b := bytes.Clone(good)
		copy(b[min(int(at), len(b)):], patch)
		b = append(b[:min(int(size), len(b))], patch[len(patch)/2:]...)
		check0(t, os.WriteFile(d.filePath(laneA, Frames, 0), b, 0o600))
		next, err := readTexts(t, d.Reader(laneA, Frames), 0, 1+int(at)) // checks each message
		end, endErr := d.End(laneA, Frames)
		if (err == nil) != (endErr == nil) || err == nil && end != next {
			t.Fatalf("read up to %d, %v; end %d, %v", next, err, end, endErr)
		}
	})
}
