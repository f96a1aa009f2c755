package logpipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/sealhook"
	"github.com/stelelog/stele/internal/spool"
)

// whole is the body that a record stands for.
func (r *Record) whole() []byte {
	body := bytes.Clone(r.Body)
	for _, p := range r.Parts {
		body = append(body, p.Data...)
	}
	return body
}

// same reports how l differs from the record that it should be.
func same(r *Record, l *leaf) error {
	object := string(r.Attributes)
	trace, span, parent, err := seal.ParseTrace(l.trace)
	if err != nil {
		return err
	}
	minutes, zoned, err := seal.ParseZone(l.more)
	if err != nil {
		return err
	}
	_, offset := r.Time.Zone()
	class := r.Class
	if class == "" {
		class = "default"
	}
	flags := uint8(0)
	if r.Time.UnixNano() < 0 {
		flags |= record.BeforeEpoch
	}
	if r.Class == "default" {
		flags |= record.NamedClass
	}
	var outside []seal.Part
	for _, p := range l.parts {
		if p.Kind == seal.Outside {
			outside = append(outside, p)
		}
	}
	for _, p := range r.Parts {
		if p.URI == "" {
			continue
		}
		if len(outside) == 0 || string(outside[0].URI) != p.URI || string(outside[0].MediaType) != p.MediaType ||
			outside[0].Size != uint64(p.Size) || outside[0].Hash != p.SHA256 {
			return fmt.Errorf("outside part %q", p.URI)
		}
		outside = outside[1:]
	}
	for _, f := range []struct {
		name      string
		got, want any
	}{
		{"kind", l.Kind, uint8(r.Kind)}, {"class", l.Class, class}, {"tenant", l.tenant, r.Tenant}, {"subject", l.subject, r.Subject},
		{"session", l.session, r.Session}, {"caller id", l.caller, r.CallerID}, {"attributes", l.attrs, object},
		{"content type", l.ctype, r.ContentType}, {"trace", string(trace), r.TraceID}, {"span", string(span), r.SpanID},
		{"parent", string(parent), r.ParentID}, {"body", string(l.body), string(r.whole())}, {"id", ID(l.ID), r.ID},
		{"time", l.Time, r.Time.UnixNano()}, {"offset", minutes * 60, offset}, {"zone", zoned, r.Time.Location() != time.UTC},
		{"flags", l.Flags, flags},
		{"size", l.Buckets[0], record.Bucket(uint64(len(r.whole())))}, {"outside", len(outside), 0},
	} {
		if f.got != f.want {
			return fmt.Errorf("%s is %.80v, want %.80v", f.name, f.got, f.want)
		}
	}
	return nil
}

func genRecord(history []string) *rapid.Generator[Record] {
	short := rapid.StringN(0, 6, 12)
	return rapid.Custom(func(t *rapid.T) Record {
		r := Record{ID: NewID(), Kind: Kind(rapid.IntRange(1, 4).Draw(t, "kind")), Tenant: short.Draw(t, "tenant"),
			Subject: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "subject"), Session: rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "session"),
			Class: rapid.SampledFrom([]string{"", "default", "state", "audit"}).Draw(t, "class"), CallerID: short.Draw(t, "caller"),
			TraceID: short.Draw(t, "trace"), SpanID: short.Draw(t, "span"), ParentID: short.Draw(t, "parent"),
			ContentType: short.Draw(t, "type")}
		r.Time = time.Unix(rapid.Int64Range(-1e9, 4e9).Draw(t, "time"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).UTC()
		if offset := rapid.IntRange(-1439, 1439).Draw(t, "offset"); rapid.Bool().Draw(t, "zoned") {
			r.Time = r.Time.In(time.FixedZone("", 60*offset))
		}
		if rapid.Bool().Draw(t, "attributes") {
			r.Attributes = fmt.Appendf(nil, `{"n":%d.50,"gen_ai.request.model":"m"}`, rapid.Int().Draw(t, "n"))
		}
		if rapid.Bool().Draw(t, "parts") {
			for range rapid.IntRange(1, 6).Draw(t, "count") {
				r.Parts = append(r.Parts, genPart(t, history))
			}
		} else {
			r.Body = bytes.Repeat([]byte(rapid.StringN(0, 20, 40).Draw(t, "body")), rapid.SampledFrom([]int{1, 10, 30_000}).Draw(t, "times"))
		}
		return r
	})
}

func genPart(t *rapid.T, history []string) Part {
	switch rapid.IntRange(0, 5).Draw(t, "part") {
	case 0:
		return Part{URI: "https://x/" + rapid.StringN(0, 5, 10).Draw(t, "uri"), MediaType: "image/png", Size: 7, SHA256: [32]byte{1}}
	case 1:
		return Part{Data: []byte(rapid.StringN(0, 5, 10).Draw(t, "literal"))}
	}
	return Part{Data: []byte(rapid.SampledFrom(history).Draw(t, "history"))}
}

// Whatever goes in comes out equal, field by field, however it is cut, referred to and spread over frames.
func TestRecordsComeOutEqual(t *testing.T) {
	t.Parallel()
	a, _, cfg := fileArchive(t)
	cfg.Memory = 64 << 20
	var history []string
	for i := range 8 {
		history = append(history, strings.Repeat(fmt.Sprintf("message %d. ", i), []int{1, 8, 500, 5_000, 40_000}[i%5]))
	}
	rapid.Check(t, func(rt *rapid.T) {
		records := rapid.SliceOfN(genRecord(history), 1, 12).Draw(rt, "records")
		gate := make(chan struct{})
		close(gate)
		cfg := cfg
		cfg.StateDir = filepath.Join(t.TempDir(), "state")
		p, nulls := openNull(t, cfg, gate)
		for i := range records {
			if err := p.Capture(context.Background(), &records[i]); err != nil {
				rt.Fatal(err)
			}
		}
		if err := p.Close(context.Background()); err != nil {
			rt.Fatal(err)
		}
		byID := map[ID]leaf{}
		for _, l := range nulls[0].open(t, a).records() {
			byID[l.ID] = l
		}
		for i := range records {
			l, ok := byID[records[i].ID]
			if !ok {
				rt.Fatalf("record %d is missing", i)
			}
			if err := same(&records[i], &l); err != nil {
				rt.Fatalf("record %d: %v", i, err)
			}
		}
	})
}

// A chat client sends the whole history again each turn. What comes again in a session is stored once.
func TestHistoryIsStoredOnce(t *testing.T) {
	a, dir, cfg := fileArchive(t)
	p := mustOpen(t, cfg)
	var messages []string
	var bodies []string
	for turn := range 20 {
		messages = append(messages, fmt.Sprintf(`{"role":"user","content":"question %d %x"}`, turn, random(400)))
		body := `{"model":"m","messages":[` + strings.Join(messages, ",") + `]}`
		bodies = append(bodies, body)
		if err := p.Capture(t.Context(), &Record{Kind: Input, Session: "s", Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, p)
	o := only(t, a.spooled(t, dir))
	raw, literal := 0, 0
	for i, l := range o.records() {
		if string(l.body) != bodies[i] {
			t.Fatalf("body %d differs", i)
		}
		raw += len(l.body)
		for _, part := range l.parts {
			literal += len(part.Data)
		}
	}
	if share := float64(literal) / float64(raw); share > 0.15 {
		t.Errorf("%.2f of the bytes are literal, want about a tenth", share)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		id := NewID()
		b[i] = id[0]
	}
	return b
}

func TestSessionEnd(t *testing.T) {
	a, dir, cfg := fileArchive(t)
	p := mustOpen(t, cfg)
	r := Record{Kind: State, Tenant: "t", Subject: "s", Session: "x"}
	for range 2 {
		if err := p.Capture(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
		if err := p.Session("t", "s", "x").End(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, p)
	o := only(t, a.spooled(t, dir))
	records := o.records()
	if len(records) != 2 || records[0].Scope == records[1].Scope {
		t.Error("a record after the end of its session is in the old scope")
	}
	pepper := [32]byte(a.writer.Pepper)
	if len(o.ends) != 2 || o.ends[0].Tags != keyscope.MakeTags(&pepper, []byte("t"), []byte("s"), []byte("x")) {
		t.Errorf("%d session ends, or of another session", len(o.ends))
	}
	// In the log of grants an end comes behind the grants of its session.
	dirs, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, m := range readLane(t, dirs, o.cert.Stream) {
		if m.kind == spool.Grants {
			order = append(order, string(m.data[:4]))
		}
	}
	if got := strings.Join(order, " "); got != "STLG STLE STLG STLE" {
		t.Errorf("the grants log has %s", got)
	}
}

func TestBeats(t *testing.T) {
	t.Parallel()
	a, dir, cfg := fileArchive(t)
	cfg.Beat = 20 * time.Millisecond
	begun := time.Now()
	p := mustOpen(t, cfg)
	waitFor(t, func() bool { return only(t, a.spooled(t, dir)).beats >= 3 })
	mustClose(t, p)
	o, most := only(t, a.spooled(t, dir)), int(time.Since(begun)/cfg.Beat)+1
	if o.beats > most || o.cert.BeatEvery != 20 {
		t.Errorf("%d beats every %d ms, want at most %d", o.beats, o.cert.BeatEvery, most)
	}
}

func TestSampling(t *testing.T) {
	a, dir, cfg := fileArchive(t)
	cfg.Sample = func(r *Record) bool {
		if r.Session == "panic" {
			panic("sample")
		}
		return r.Session == "kept"
	}
	p := mustOpen(t, cfg)
	call := func(session string, err error) {
		c := p.Begin(t.Context(), Record{Session: session})
		body := []byte("question of " + session)
		c.Input(t.Context(), Record{Body: body})
		body[0] = 'X' // the pipe has its own copy
		c.Chunk([]byte("answer"))
		if e := c.End(t.Context(), err); e != nil {
			t.Error(e)
		}
	}
	call("kept", nil)
	call("left", nil)
	call("left too", nil)
	call("failed", errors.New("boom"))
	call("panic", nil)
	if used := p.Stats().Memory; used < 0 {
		t.Errorf("memory in use is %d", used)
	}
	mustClose(t, p)
	if used := p.Stats().Memory; used != 0 {
		t.Errorf("memory in use after Close is %d", used)
	}
	o := only(t, a.spooled(t, dir))
	got := map[string]int{}
	closing := map[string]int{}
	for _, l := range o.records() {
		got[l.session]++
		if l.Flags&record.ClosesCall != 0 {
			closing[l.session]++
		}
		if l.Kind == uint8(Input) && string(l.body) != "question of "+l.session {
			t.Errorf("body %q", l.body)
		}
	}
	if fmt.Sprint(got) != "map[failed:3 kept:2 panic:2]" || fmt.Sprint(closing) != "map[failed:1 kept:1 panic:1]" {
		t.Errorf("records %v, closing ones %v", got, closing)
	}
	for _, l := range o.leaves {
		if l.Type == record.Sampled {
			if d, err := record.ParseSampled(l.Detail); err != nil || d.Calls != 2 || d.Records != 4 || d.Until < d.From {
				t.Errorf("sampled says %+v (%v)", d, err)
			}
			return
		}
	}
	t.Error("no leaf counts what sampling left out")
}

// Nothing of a record can be found in what the pipe wrote, unless the cipher does nothing: then all is found.
func TestNoPlaintextInTheSpool(t *testing.T) {
	// Nothing in them repeats, so the block is not worth compressing and shows them as they are.
	canaries := []string{"dK3vXz9Q", "pW7mRb2T", "hY5cJn8L", "fG4sVq6A", "tE1uHo0Z", "xB9kMi3D", "rC6yUw5P"}
	for name, ctx := range map[string]context.Context{"sealed": t.Context(), "null": sealhook.With(t.Context(), sealhook.Null)} {
		_, dir, cfg := fileArchive(t)
		p, err := Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		r := Record{Kind: Input, Tenant: canaries[0], Subject: canaries[1], Session: canaries[2], CallerID: canaries[3],
			Attributes: []byte(`{"error.type":"` + canaries[4] + ` x"}`), Body: []byte(canaries[5]), ContentType: canaries[6]}
		if err := p.Capture(ctx, &r); err != nil {
			t.Fatal(err)
		}
		mustClose(t, p)
		var all []byte
		filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				data, _ := os.ReadFile(path)
				all = append(all, data...)
			}
			return err
		})
		for _, c := range canaries {
			if found := bytes.Contains(all, []byte(c)); found != (name == "null") {
				t.Errorf("%s: %s found: %v", name, c, found)
			}
		}
	}
}

// When the spool has reached its bound records wait in memory; a trim by the compactor lets them go on.
func TestFullSpool(t *testing.T) {
	t.Parallel()
	a, path, cfg := fileArchive(t)
	cfg.Memory, cfg.SpoolBytes = minMemory, 4<<20
	cfg.Default = ClassConfig{OnFull: Reject}
	cfg.Classes = map[string]ClassConfig{"dropping": {OnFull: DropAndDeclare}, "acked": {Durability: Acked}}
	p := mustOpen(t, cfg)
	body := random(8 << 10)
	taken := fill(t, p, Record{Kind: Input, Session: "s", Body: body})
	if err := p.Capture(t.Context(), &Record{Kind: Input, Class: "dropping", Session: "s", Body: body}); err != nil {
		t.Fatal(err)
	}
	if err := p.Capture(t.Context(), &Record{Kind: Input, Class: "acked", Session: "s"}); !errors.Is(err, ErrFull) && !errors.Is(err, spool.ErrFull) {
		t.Errorf("a record that is to be on the disk: %v", err)
	}
	dir, err := spool.Open(path, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lanes, err := dir.Lanes()
	if err != nil {
		t.Fatal(err)
	}
	if n := lanes[0].FrameBytes + lanes[0].GrantBytes; n > cfg.SpoolBytes {
		t.Errorf("the spool holds %d bytes, its bound is %d", n, cfg.SpoolBytes)
	}
	before := readLane(t, dir, lanes[0].ID)
	if err := dir.Trim(lanes[0].ID, spool.Frames, uint64(len(before))); err != nil {
		t.Fatal(err)
	}
	for taken++; ; {
		err := p.Capture(t.Context(), &Record{Kind: Input, Session: "s"})
		if err == nil {
			break
		}
		if !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	mustClose(t, p)
	o, err := a.open(readAround(t, dir, lanes[0].ID, before))
	if err != nil {
		t.Fatal(err)
	}
	if uint64(len(o.records())) != taken || o.lost(t) != 1 || p.Stats().Lost[record.SpoolFull.String()] != 1 {
		t.Errorf("%d records and %d lost, want %d and 1 for the spool: %v", len(o.records()), o.lost(t), taken, p.Stats().Lost)
	}
}

// readAround returns what was read before a trim and what came after it.
func readAround(t *testing.T, dir *spool.Dir, lane [16]byte, before []message) []message {
	t.Helper()
	frames := uint64(0)
	for _, m := range before {
		if m.kind == spool.Frames {
			frames++
		}
	}
	out := before
	r := dir.Reader(lane, spool.Frames)
	defer r.Close()
	for {
		got, err := r.Read(frames, 0)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range got {
			out = append(out, message{spool.Frames, bytes.Clone(m.Payload)})
		}
		frames += uint64(len(got))
	}
}
