package logpipe

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"
)

// fileArchive returns an archive and the configuration of a pipe to a fresh spool.
func fileArchive(t testing.TB) (*archive, string, Config) {
	dir := t.TempDir()
	a := newArchive(t, "file://"+dir)
	return a, dir, Config{Credential: a.credential}
}

func mustOpen(t testing.TB, cfg Config) *Pipe {
	t.Helper()
	p, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustClose(t testing.TB, p *Pipe) {
	t.Helper()
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func only(t testing.TB, streams []*opened) *opened {
	t.Helper()
	if len(streams) != 1 {
		t.Fatalf("%d streams, want 1", len(streams))
	}
	return streams[0]
}

func TestWhatGoesInComesOut(t *testing.T) {
	a, dir, cfg := fileArchive(t)
	p := mustOpen(t, cfg)
	big := make([]byte, defaultMaxBody)
	rand.Read(big)
	history := strings.Repeat("tell me more about steles ", 20)
	records := []Record{
		{Kind: Input, Body: []byte("hello")},
		{Kind: Output, Tenant: "t", Subject: "anna", Session: "s1", Body: []byte(strings.Repeat("x", 100_000)), CallerID: "c-1",
			TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7", Attributes: []byte(` { "gen_ai.response.model" : "m-1", "n":1.50 } `),
			ContentType: "text/plain", Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 5400))},
		{Kind: State, Class: "state", Body: big, Session: "s1"},
		{Kind: Error, Time: time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Kind: Input, Session: "s1", Parts: []Part{{Data: []byte("[")}, {Data: []byte(history)}, {Data: []byte("]")}}},
		{Kind: Input, Session: "s1", Parts: []Part{{Data: []byte("[")}, {Data: []byte(history)}, {Data: []byte(",1]")},
			{URI: "https://x/y", SHA256: [32]byte{1}, Size: 7, MediaType: "image/png"}}},
	}
	for i := range records {
		if err := p.Capture(t.Context(), &records[i]); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := p.Stats(); st.Captured != 6 || st.Sealed != 6 || st.Acked != 6 || st.Memory != 0 {
		t.Errorf("stats after Flush: %+v", st)
	}
	mustClose(t, p)
	o := only(t, a.spooled(t, dir))
	if !o.closed() {
		t.Error("the stream is not closed")
	}
	var got []string
	for _, l := range o.records() {
		got = append(got, fmt.Sprint(l.Kind, l.Class, l.tenant, l.subject, l.session, l.caller, l.attrs, l.ctype, len(l.body)))
	}
	for _, r := range records {
		want := r
		body := want.Body
		for _, part := range want.Parts {
			body = append(body, part.Data...)
		}
		found := false
		for _, l := range o.records() {
			if l.Kind == uint8(r.Kind) && bytes.Equal(l.body, body) && l.session == r.Session && l.subject == r.Subject {
				found = true
			}
		}
		if !found {
			t.Errorf("%v of %d bytes is missing in %q", r.Kind, len(body), got)
		}
	}
}

// A record without an id gets one that no other has; one that came with it keeps it.
func TestIDs(t *testing.T) {
	a, dir, cfg := fileArchive(t)
	cfg.Streams = 2
	p := mustOpen(t, cfg)
	given := map[ID]bool{}
	for i := range 400 {
		r := Record{Kind: Input, CallerID: "made", Session: fmt.Sprint(i)}
		if i%4 == 0 {
			r.ID, r.CallerID = NewID(), "given"
			given[r.ID] = true
		}
		if err := p.Capture(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, p)
	seen := map[ID]bool{}
	for _, o := range a.spooled(t, dir) {
		for _, l := range o.records() {
			id := ID(l.ID)
			if id == (ID{}) || seen[id] || given[id] != (l.caller == "given") {
				t.Errorf("a record with the id %v, which was %s", id, l.caller)
			}
			seen[id] = true
		}
	}
	if len(seen) != 400 {
		t.Errorf("%d different ids, want 400", len(seen))
	}
}
