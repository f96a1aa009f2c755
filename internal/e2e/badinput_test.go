package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/event"
)

// wantText wants an error text to say what is wrong and what to do about it, in one of the words of each phrase.
func wantText(t *testing.T, what, text string, phrases ...string) {
	t.Helper()
	for _, p := range phrases {
		if !strings.Contains(text, p) {
			t.Errorf("%s: the text does not say %q:\n%s", what, p, text)
		}
	}
}

// refused opens a pipe of the site, and wants an error.
func (s *site) refused(what string, cfg logpipe.Config, phrases ...string) {
	s.t.Helper()
	if cfg.Credential == "" {
		cfg.Credential = filepath.Join(s.dir, "writer", "default.stele")
	}
	pipe, err := logpipe.Open(s.t.Context(), cfg)
	if err == nil {
		s.close(pipe)
		s.t.Errorf("%s: the pipe opened", what)
		return
	}
	wantText(s.t, what, err.Error(), phrases...)
}

// TestBadRecords: what cannot be kept is refused by name, and what comes before and after it is kept.
func TestBadRecords(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileURL(t, "archive"), fileURL(t, "spool"), nil, "--partitions", "1")
	pipe := s.service(1, logpipe.Config{MaxBody: 1000})
	good := synthetic(1, 8)[0]
	good[3].Body = nil
	good[5].Body, good[5].ContentType = []byte{}, "text/plain"
	bad := []struct {
		name, phrase string
		r            logpipe.Record
		is           error
	}{
		{"no kind", "Kind", logpipe.Record{}, nil},
		{"body over the limit", "1000", logpipe.Record{Kind: logpipe.Input, Body: make([]byte, 1001)}, logpipe.ErrTooLarge},
		{"parts over the limit", "1000", logpipe.Record{Kind: logpipe.Input,
			Parts: []logpipe.Part{{Data: make([]byte, 600)}, {Data: make([]byte, 401)}}}, logpipe.ErrTooLarge},
		{"malformed attributes", "JSON", logpipe.Record{Kind: logpipe.Input, Attributes: []byte(`{"a":`)}, nil},
		{"attributes are no object", "JSON", logpipe.Record{Kind: logpipe.Input, Attributes: []byte(`[1]`)}, nil},
		{"no class name", "Class", logpipe.Record{Kind: logpipe.Input, Class: "No Class"}, nil},
		{"body and parts", "Parts", logpipe.Record{Kind: logpipe.Input, Body: []byte("x"), Parts: []logpipe.Part{{Data: []byte("y")}}}, nil},
		{"invalid UTF-8", "UTF-8", logpipe.Record{Kind: logpipe.Input, Subject: "\xff"}, nil},
	}
	for i := range good {
		if err := pipe.Capture(t.Context(), &good[i]); err != nil {
			t.Errorf("good record %d: %v", i, err)
		}
		b := &bad[i]
		err := pipe.Capture(t.Context(), &b.r)
		if err == nil || b.is != nil && !errors.Is(err, b.is) {
			t.Errorf("%s: %v", b.name, err)
			continue
		}
		wantText(t, b.name, err.Error(), b.phrase)
	}
	s.close(pipe)
	if stats := pipe.Stats(); stats.Captured != uint64(len(good)) || len(stats.Lost) != 0 {
		t.Errorf("captured %d, lost %v", stats.Captured, stats.Lost)
	}
	s.compactOnce()
	s.verify(0, "--unlock")
	compare(t, good, s.restore())
}

// TestBadEvents: lines of JSON are refused one by one.
func TestBadEvents(t *testing.T) {
	input := strings.Join([]string{
		`{"kind":"input","body":"one"}`, `{"kind":"input","body":`, `not JSON`, `{"kind":"input","color":"red"}`,
		"{\"kind\":\"input\",\"body\":\"\xff\"}", `{"kind":"question"}`, `{"kind":"output","body":""}`}, "\n")
	want := map[int]string{2: "", 3: "", 4: "color", 5: "body_base64", 6: "kind"}
	good := 0
	for _, err := range event.NewReader(strings.NewReader(input)).All() {
		var e *event.Error
		switch {
		case err == nil:
			good++
		case !errors.As(err, &e):
			t.Errorf("%v is no *event.Error", err)
		default:
			phrase, ok := want[e.Line]
			if !ok {
				t.Errorf("refused: %v", err)
			}
			wantText(t, "line", err.Error(), phrase)
			delete(want, e.Line)
		}
	}
	if good != 2 || len(want) != 0 {
		t.Errorf("%d lines were taken, not refused: %v", good, want)
	}
}

// TestBadCredentials: what is no credential is refused at Open; what a wrong or revoked one signs is set aside, and the
// records of others are not touched.
func TestBadCredentials(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileURL(t, "archive"), fileURL(t, "spool"), nil, "--partitions", "1")
	reader := filepath.Join(s.dir, "reader", "reader.stele")
	missing := filepath.Join(s.dir, "writer", "nobody.stele")
	s.refused("no such file", logpipe.Config{Credential: missing}, missing)
	s.refused("a reader's identity", logpipe.Config{Credential: reader}, "writer")
	s.refused("junk", logpipe.Config{Credential: base64.StdEncoding.EncodeToString([]byte("junk"))}, "credential")

	if _, stderr, code := s.stele("key", "add", "writer", "mallory"); code != 0 {
		t.Fatal(stderr)
	}
	if _, stderr, code := s.stele("key", "revoke", "writer", "mallory"); code != 0 {
		t.Fatal(stderr)
	}
	other := newSite(t, fileURL(t, "archive"), fileURL(t, "spool"), nil, "--partitions", "1")
	sent := synthetic(2, 5)
	pipe := s.service(1, logpipe.Config{})
	feed(t, pipe, sent, 0, nil)
	s.refused("another archive's", logpipe.Config{Credential: filepath.Join(other.dir, "writer", "default.stele"), To: spoolOf(t, s), StateDir: t.TempDir()}, "spool of archive")
	bad, err := logpipe.Open(t.Context(), logpipe.Config{Credential: filepath.Join(s.dir, "writer", "mallory.stele"), To: spoolOf(t, s), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err) // it cannot know
	}
	feed(t, bad, sent, 0, nil)
	s.close(bad)
	s.close(pipe)
	_, log, code := s.run(s.command("compactor", "--once"))
	if code != 0 {
		t.Fatalf("compactor --once: %d\n%s", code, log)
	}
	wantText(t, "the compactor's log", log, "set aside", "mallory", "revoked")
	r := s.verify(0, "--unlock")
	if r.Records != 10 || len(r.Streams) == 0 {
		t.Errorf("%d records, %d streams", r.Records, len(r.Streams))
	}
	compare(t, flat(sent), s.restore())
	var answer struct{ Segments []struct{ Quarantined int } }
	stdout, _, _ := s.stele("segments", "--json")
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || len(answer.Segments) != 1 || answer.Segments[0].Quarantined < 1 {
		t.Errorf("segments: %v\n%s", err, stdout)
	}
	other.compactOnce()
	other.verify(0)
}

// spoolOf reads the transport of a site out of its settings.
func spoolOf(t *testing.T, s *site) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "stele.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		if to, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "to: "); ok {
			return strings.Trim(to, `"'`)
		}
	}
	t.Fatal("stele.yaml names no transport")
	return ""
}

// TestNoArchive: a URL behind which there is no archive, or another one.
func TestNoArchive(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileURL(t, "archive"), fileURL(t, "spool"), nil)
	other := fileURL(t, "archive")
	newSite(t, other, fileURL(t, "spool"), nil)
	empty := t.TempDir()
	for _, c := range []struct {
		name, url string
		verify    int // exit code
		phrases   []string
		compactor []string // its own, if it says it in other words
	}{
		{"missing", "file://" + empty + "/nothing", 1, []string{"missing", "stele init"}, nil},
		{"empty", "file://" + empty, 1, []string{"no archive", "right", "URL"}, nil},
		// To those who trust another key it looks like an archive whose control log was replaced.
		{"another archive", other, 10, []string{"control"}, []string{"trust file is of another archive", "right URL"}},
		{"no bucket", "s3://nothing?endpoint=http://127.0.0.1:1", 1, []string{"s3://nothing"}, nil},
		{"no scheme", "ftp://example.org/x", 1, []string{"file:///", "s3://"}, nil},
	} {
		there := s.with("STELE_ARCHIVE="+c.url, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=y")
		answer, verify, v := there.stele("verify")
		_, compact, k := there.run(there.command("compactor", "--once"))
		if v != c.verify && v != 2 || k == 0 {
			t.Errorf("%s: exit codes %d of verify, %d of compactor", c.name, v, k)
		}
		wantText(t, c.name+", verify", answer+verify, c.phrases...)
		if c.compactor == nil {
			c.compactor = c.phrases
		}
		wantText(t, c.name+", compactor", compact, c.compactor...)
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) != 0 {
		t.Errorf("the empty directory holds %v, %v", left, err)
	}
}
