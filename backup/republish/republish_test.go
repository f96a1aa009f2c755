package republish_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/local"
	"github.com/stelelog/stele/backup/republish"
	"github.com/stelelog/stele/logpipe"
)

// archive is a small archive with a reader.
type archive struct {
	*local.Local
	dir  string
	keys *keys.Service
	*backup.Reader
}

func newArchive(t *testing.T) *archive {
	t.Helper()
	ctx := t.Context()
	a := &archive{dir: t.TempDir()}
	t.Cleanup(func() { writable(a.dir) })
	var err error
	if a.Local, err = local.Open(ctx, a.dir, local.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Local.Close(context.WithoutCancel(ctx)) })
	if a.keys, err = a.Keys(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.keys.Close() })
	if err := a.Pipe.Capture(ctx, &logpipe.Record{Kind: logpipe.Input, Body: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	if err := a.Once(ctx, a.keys); err != nil {
		t.Fatal(err)
	}
	if a.Reader, err = a.Local.Reader(ctx, a.keys); err != nil {
		t.Fatal(err)
	}
	return a
}

// writable lets the directory be removed.
func writable(dir string) {
	_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error { return os.Chmod(path, 0o700) })
}

// disclosed reads the disclosures in the inbox, in the order in which they were signed.
func (a *archive) disclosed(t *testing.T) (all []disclosure) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(a.dir, "archive", "control", "inbox", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d disclosure
		if err := json.NewDecoder(bytes.NewReader(data)).Decode(&d); err != nil {
			t.Fatal(err)
		}
		if d.Type == "disclosure" {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b disclosure) int { return a.Time.Compare(b.Time) })
	return all
}

type disclosure struct {
	Type string
	Time time.Time
	By   string
	Body struct {
		What, Salted, To string
		Records          int
	}
}

// cluster is a broker in this process, with topics.
func cluster(t *testing.T, topics ...kfake.Opt) (addr string) {
	t.Helper()
	c, err := kfake.NewCluster(append(topics, kfake.NumBrokers(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// consume reads the messages of a partition that are there.
func consume(t *testing.T, addr, topic string, partition int) (values []string) {
	t.Helper()
	c := &kafka.Client{Addr: kafka.TCP(addr), Timeout: 30 * time.Second}
	for at := int64(0); ; {
		res, err := c.Fetch(t.Context(), &kafka.FetchRequest{Topic: topic, Partition: partition, Offset: at, MinBytes: 1, MaxBytes: 64 << 20, MaxWait: time.Second})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			t.Fatal(err)
		}
		for at < res.HighWatermark {
			r, err := res.Records.ReadRecord()
			if err != nil {
				break
			}
			if at = r.Offset + 1; r.Key != nil || len(r.Headers) > 0 {
				t.Errorf("message %d has a key or headers", r.Offset)
			}
			value, err := kafka.ReadAll(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, string(value))
		}
		if at >= res.HighWatermark {
			return values
		}
	}
}

func open(t *testing.T, cfg republish.Config) *republish.Topic {
	t.Helper()
	topic, err := republish.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

func write(t *testing.T, topic *republish.Topic, lane int, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := topic.Write(t.Context(), lane, []byte(line+"\n")); err != nil {
			t.Fatal(err)
		}
	}
}

// What is written is in the topic, one message a line without a key, each lane in order; and the archive knows of it from
// before the first message on.
func TestPublish(t *testing.T) {
	a, addr := newArchive(t), cluster(t, kfake.SeedTopics(2, "out"))
	topic := open(t, republish.Config{Reader: a.Reader, URL: "kafka://" + addr + "/out", Selection: []byte(`{"subject":"user-17"}`)})
	if d := a.disclosed(t); len(d) != 0 {
		t.Errorf("before anything was written the inbox holds %+v", d)
	}
	want := make([][]string, 2)
	for i := range 3000 {
		line := fmt.Sprintf(`{"kind":"input","body":"%d %s"}`, i, strings.Repeat("x", i))
		lane := i % 5
		write(t, topic, lane, line)
		want[lane%2] = append(want[lane%2], line)
		if i > 0 {
			continue
		}
		if d := a.disclosed(t); len(d) != 1 || d[0].Body.Records != 0 || len(consume(t, addr, "out", 0)) > 0 {
			t.Errorf("before the first message the inbox holds %+v", d)
		}
	}
	if err := topic.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for p := range want {
		if got := consume(t, addr, "out", p); !slices.Equal(got, want[p]) {
			t.Errorf("partition %d holds %d messages, want %d", p, len(got), len(want[p]))
		}
	}
	d := a.disclosed(t)
	if len(d) != 2 || d[1].Body.Records != 3000 || d[0].Body.Salted != d[1].Body.Salted {
		t.Fatalf("the inbox holds %+v", d)
	}
	salted, _ := topic.Disclosure()
	for _, d := range d {
		if d.Type != "disclosure" || !strings.Contains(d.By, "reader") || d.Body.What != "kafka" ||
			d.Body.To != "kafka://"+addr+"/out" || d.Body.Salted != fmt.Sprintf("%x", salted) {
			t.Errorf("the inbox holds %+v", d)
		}
	}
	if err := a.Once(t.Context(), a.keys); err != nil {
		t.Fatal(err)
	}
	opened, err := a.Archive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	report, err := opened.Verify(t.Context(), backup.VerifyOptions{})
	if err != nil || report.Disclosures != 2 {
		t.Errorf("the control log holds %d disclosures, %v", report.Disclosures, err)
	}
}

// A run that was killed after its last saved position is gone on with: nothing is missing, and nothing is there twice, not
// even where two records are the same line.
func TestGoOn(t *testing.T) {
	a, addr := newArchive(t), cluster(t, kfake.SeedTopics(2, "out"))
	cfg := republish.Config{Reader: a.Reader, URL: "kafka://" + addr + "/out"}
	lines := []string{"a", "b", "b", "c", "b", "d", "e", "b", "f"}
	for _, c := range []struct{ saved, sent int }{{0, 0}, {0, 4}, {2, 5}, {4, 8}, {9, 9}} {
		first := open(t, cfg)
		begun := len(consume(t, addr, "out", 0)) + len(consume(t, addr, "out", 1))
		at := first.Position()
		for i, line := range lines[:c.sent] {
			write(t, first, i, line)
			if err := first.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if i < c.saved {
				at = first.Position()
			}
		}
		again := cfg
		again.After = kept(t, at)
		second := open(t, again)
		again.After = kept(t, second.Position()) // saved when it had just begun
		write(t, second, c.saved, lines[c.saved:min(c.saved+3, len(lines))]...)
		if err := second.Flush(t.Context()); err != nil { // and killed
			t.Fatal(err)
		}
		third := open(t, again)
		for i, line := range lines[c.saved:] {
			write(t, third, c.saved+i, line)
		}
		if err := third.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(consume(t, addr, "out", 0)) + len(consume(t, addr, "out", 1)) - begun; got != len(lines) {
			t.Errorf("saved after %d of %d: %d messages, want %d", c.saved, c.sent, got, len(lines))
		}
	}
	var got []string
	for p := range 2 {
		got = append(got, consume(t, addr, "out", p)...)
	}
	want := slices.Repeat(lines, 5)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the topic holds %q\nwant %q", got, want)
	}
}

// kept is a position after it was kept as JSON.
func kept(t *testing.T, at republish.Position) *republish.Position {
	t.Helper()
	raw, err := json.Marshal(at)
	if err != nil {
		t.Fatal(err)
	}
	again := new(republish.Position)
	if err := json.Unmarshal(raw, again); err != nil {
		t.Fatal(err)
	}
	return again
}

// Topics that cannot be, or must not be, written to are refused before anything leaves or is entered.
func TestRefusedTopics(t *testing.T) {
	a, addr := newArchive(t), cluster(t, kfake.SeedTopics(1, "chat", "chat.grants", "out", "other"))
	other := open(t, republish.Config{Reader: a.Reader, URL: "kafka://" + addr + "/other"})
	at := other.Position()
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	entered := len(a.disclosed(t))
	for _, c := range []struct {
		topic, want string
		after       *republish.Position
	}{
		{"nothing", "there is no topic nothing", nil},
		{"chat", "is the transport of an archive", nil},
		{"chat.grants", "is the transport of an archive", nil},
		{"out", "is another topic than it was", &at},
		{"other", "messages were lost", &republish.Position{Topic: at.Topic, Next: map[int]int64{0: 7}}},
	} {
		_, err := republish.Open(t.Context(), republish.Config{Reader: a.Reader, URL: "kafka://" + addr + "/" + c.topic, After: c.after})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.topic, err, c.want)
		}
	}
	if d := a.disclosed(t); len(d) != entered {
		t.Errorf("%d disclosures were entered for what was refused", len(d)-entered)
	}
}

// A record that the topic cannot take ends the publication with what to do; what was written before it is there.
func TestTooLarge(t *testing.T) {
	a, addr := newArchive(t), cluster(t, kfake.SeedTopics(1, "out"))
	topic := open(t, republish.Config{Reader: a.Reader, URL: "kafka://" + addr + "/out"})
	write(t, topic, 0, "small")
	tooLarge := func(topic *republish.Topic) {
		t.Helper()
		err := topic.Write(t.Context(), 0, make([]byte, 2<<20))
		if large := new(republish.TooLargeError); !errors.As(err, &large) || large.Size <= 2<<20 || large.Limit != 1048588 ||
			!strings.Contains(err.Error(), "raise its max.message.bytes") {
			t.Errorf("2 MiB: %v", err)
		}
	}
	tooLarge(topic)
	write(t, topic, 0, "small, too")
	if err := topic.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := consume(t, addr, "out", 0); !slices.Equal(got, []string{"small", "small, too"}) {
		t.Errorf("the topic holds %q", got)
	}
	// Who tries again and publishes nothing discloses nothing.
	entered := len(a.disclosed(t))
	again := open(t, republish.Config{Reader: a.Reader, URL: "kafka://" + addr + "/out", After: kept(t, topic.Position())})
	tooLarge(again)
	if err := again.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := a.disclosed(t); entered != 2 || len(d) != entered {
		t.Errorf("%d disclosures, and %d after a run that published nothing", entered, len(d))
	}
}
