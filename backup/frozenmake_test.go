package backup_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/event"
)

var update = flag.Bool("update", false, "make the frozen archive anew; only before a format version is released")

// frozenChild names the directory in which the test binary, run as a child, captures and then dies.
const frozenChild = "STELE_TEST_FROZEN_CHILD"

// TestMakeFrozen makes the frozen archive. A released one is never made anew.
func TestMakeFrozen(t *testing.T) {
	if dir := os.Getenv(frozenChild); dir != "" {
		m := &frozenMaker{t: t, dir: dir}
		m.capture(frozenFirst())
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if !*update {
		return
	}
	m := &frozenMaker{t: t, dir: t.TempDir()}
	m.init()
	m.child()
	m.compact()
	m.rubbish()
	m.second()
	m.compact()
	m.acknowledge()
	m.compact()
	m.save()
}

type frozenMaker struct {
	t     *testing.T
	dir   string
	store worm.Store
	keys  *keys.Service
	lines []byte
}

func (m *frozenMaker) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *frozenMaker) spool() string { return filepath.Join(m.dir, "spool") }

func (m *frozenMaker) file(name string) []byte { return (&frozen{dir: m.dir}).file(m.t, name) }

func (m *frozenMaker) init() {
	var err error
	m.store, err = dirstore.Open(filepath.Join(m.dir, "archive"), dirstore.Options{Create: true})
	m.must(err)
	_, err = admin.Init(m.t.Context(), admin.InitConfig{Store: m.store, Name: "frozen-v1", To: "file:///var/spool/stele",
		Dir: m.dir, Lock: worm.LockAdvisory})
	m.must(err)
	m.must(os.Mkdir(m.spool(), 0o700))
	m.keys, err = keys.Open(m.t.Context(), keys.Config{Store: m.store, Trust: m.file("trust.stele"),
		Identity: m.file("keys/keyservice.stele"), Custodians: keys.Custodians{URLs: map[string]string{"default": admin.DefaultCustodian(m.dir)}}, From: "file://" + m.spool()})
	m.must(err)
}

func (m *frozenMaker) open() *logpipe.Pipe {
	p, err := logpipe.Open(m.t.Context(), logpipe.Config{Credential: filepath.Join(m.dir, "writer", "default.stele"),
		To: "file://" + m.spool(), MaxBody: 1 << 20, Default: logpipe.ClassConfig{Durability: logpipe.Acked},
		Sample: func(r *logpipe.Record) bool { return r.Session != "sampled-out" }})
	m.must(err)
	return p
}

// capture captures records, and leaves the pipe open.
func (m *frozenMaker) capture(records []logpipe.Record) *logpipe.Pipe {
	p := m.open()
	for i := range records {
		m.must(p.Capture(m.t.Context(), &records[i]))
	}
	return p
}

// child captures in a process that dies, so that the stream has a successor that recovers it.
func (m *frozenMaker) child() {
	exe, err := os.Executable()
	m.must(err)
	cmd := exec.Command(exe, "-test.run=^TestMakeFrozen$")
	cmd.Env = append(os.Environ(), frozenChild+"="+m.dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		m.t.Fatalf("the child ended with %v: %s", err, out)
	}
	m.note(frozenFirst())
}

// second captures what the successor has to say: records, a declared loss, a call that sampling leaves out.
func (m *frozenMaker) second() {
	p := m.capture(frozenSecond())
	m.note(frozenSecond())
	ctx := m.t.Context()
	lost := p.Begin(ctx, logpipe.Record{Session: "too-large"})
	if err := lost.Input(ctx, logpipe.Record{Body: make([]byte, 1<<20+1)}); !errors.Is(err, logpipe.ErrTooLarge) {
		m.t.Fatalf("a body over the limit: %v", err)
	}
	out := p.Begin(ctx, logpipe.Record{Session: "sampled-out"})
	m.must(out.Input(ctx, logpipe.Record{Body: []byte("not sampled")}))
	out.Output(logpipe.Record{Body: []byte("neither")})
	m.must(out.End(ctx, nil))
	m.must(p.Close(ctx))
}

// rubbish puts a message into the transport that nobody signed.
func (m *frozenMaker) rubbish() {
	dir, err := spool.Open(m.spool(), spool.Options{})
	m.must(err)
	var id [16]byte
	rand.Read(id[:])
	w, err := dir.CreateLane(id)
	m.must(err)
	_, err = w.Append(spool.Frames, []byte("this is no frame"))
	m.must(err)
	m.must(w.Close())
}

func (m *frozenMaker) compact() {
	c, err := compact.Open(m.t.Context(), compact.Config{Store: m.store, Trust: m.file("trust.stele"),
		Identity: m.file("compactor/compactor.stele"), From: "file://" + m.spool(), Keys: m.keys})
	m.must(err)
	m.must(c.Once(m.t.Context()))
}

// acknowledge takes note of the declared loss.
func (m *frozenMaker) acknowledge() {
	a, err := backup.OpenArchive(m.t.Context(), m.store, m.file("trust.stele"))
	m.must(err)
	r, err := a.Unlock(m.file("reader/reader.stele"), m.keys)
	m.must(err)
	for _, s := range a.Streams(time.Now()) {
		if s.Lost > 0 {
			m.must(r.Acknowledge(m.t.Context(), s.Stream, "one body over the limit, see ticket 17"))
			return
		}
	}
	m.t.Fatal("no stream declares a loss")
}

func (m *frozenMaker) note(records []logpipe.Record) {
	for i := range records {
		r := records[i]
		var err error
		m.lines, err = event.Append(m.lines, &r)
		m.must(err)
	}
}

// save puts what verification and restore need into testdata, after a look at what they give.
func (m *frozenMaker) save() {
	m.must(m.keys.Close())
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	m.must(err)
	_, err = w.Write(m.lines)
	m.must(errors.Join(err, w.Close()))
	m.must(os.WriteFile(filepath.Join(m.dir, "expected.jsonl.gz"), z.Bytes(), 0o644))

	report := asJSON(m.t, openFrozen(m.t, m.dir).report(m.t))
	m.must(os.WriteFile(filepath.Join(m.dir, "report.json"), []byte(report), 0o644))
	for _, name := range []string{"archive", "trust.stele", "reader", "keys", "expected.jsonl.gz", "report.json"} {
		to := filepath.Join(frozenDir, name)
		m.must(os.RemoveAll(to))
		m.must(copyTree(to, filepath.Join(m.dir, name)))
	}
}

func copyTree(to, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// The messages of a chat, each long enough to be worth a reference.
var frozenChat = []string{
	`{"role":"system","content":"You answer in one short sentence. You never speak about the weather of yesterday."}`,
	`{"role":"user","content":"Which river flows through the city of Wrocław, and into which sea does it run?"}`,
	`{"role":"assistant","content":"The Oder (Odra) flows through Wrocław and runs into the Baltic Sea, at Szczecin. 🌊"}`,
	`{"role":"user","content":"And how long is it from the source to the mouth? Please give kilometres and miles."}`,
}

func chatBody(n int) []byte {
	return []byte(`{"model":"m-1","messages":[` + strings.Join(frozenChat[:n], ",") + `]}`)
}

func frozenTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

// frozenFirst are the records of the stream that dies.
func frozenFirst() []logpipe.Record {
	chat := logpipe.Record{Kind: logpipe.Input, Tenant: "acme", Subject: "ada", Session: "chat-1", CallerID: "req-1",
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7", ContentType: "application/json",
		Attributes: []byte(`{"gen_ai.operation.name":"chat","gen_ai.provider.name":"example","gen_ai.request.model":"m-1","gen_ai.request.temperature":0.70}`)}
	first, answer, second := chat, chat, chat
	first.Time, first.Body = frozenTime("2026-03-01T12:00:00.000000001+01:00"), chatBody(2)
	answer.Time, answer.Kind, answer.ParentID = frozenTime("2026-03-01T12:00:01.5+01:00"), logpipe.Output, "00f067aa0ba902b7"
	answer.Attributes = []byte(`{"gen_ai.usage.input_tokens":57,"gen_ai.usage.output_tokens":23,"gen_ai.response.finish_reasons":["stop"],"big":9007199254740993}`)
	answer.Body = []byte(`{"choices":[{"message":` + frozenChat[2] + `}]}`)
	second.Time, second.Body, second.CallerID = frozenTime("2026-03-01T12:01:00Z"), chatBody(4), "req-2"
	long := bytes.Repeat([]byte("All work and no play makes a dull archive. "), 600_000/43)
	return []logpipe.Record{first, answer, second,
		{Kind: logpipe.State, Class: "state", Time: frozenTime("2026-03-01T12:01:01Z"), Tenant: "acme", Subject: "ada",
			Session: "chat-1", Attributes: []byte(`{"stele.state.name":"retrieved"}`), ContentType: "text/plain", Body: long},
		{Kind: logpipe.Error, Class: "audit", Time: frozenTime("2026-03-01T12:01:02Z"), Tenant: "acme", Subject: "ada", Session: "chat-1",
			Attributes: []byte(`{"error.type":"timeout","http.response.status_code":504}`), Body: []byte("upstream timed out")},
	}
}

// frozenSecond are the records of its successor.
func frozenSecond() []logpipe.Record {
	chat := frozenFirst()[2]
	picture := sha256.Sum256([]byte("a picture"))
	return []logpipe.Record{
		{Kind: logpipe.Output, Time: frozenTime("2026-03-01T12:02:00Z"), Tenant: "acme", Subject: "ada", Session: "chat-1", CallerID: "req-2",
			ContentType: "application/json", Body: []byte(`{"choices":[{"message":{"role":"assistant","content":"866 km, or 538 miles."}}]}`)},
		{Kind: logpipe.Input, Time: frozenTime("2026-03-01T12:02:01Z"), Tenant: "acme", Subject: "grace", Session: "chat-2", CallerID: "req-2",
			ContentType: chat.ContentType, Attributes: chat.Attributes, Body: chat.Body},
		{Kind: logpipe.Input, Time: frozenTime("2026-03-01T12:02:02Z"), Tenant: "acme", Subject: "grace", Session: "chat-2",
			ContentType: "application/json", Parts: []logpipe.Part{{Data: []byte(`["what is on this picture?",`)},
				{URI: "s3://pictures/1.png", SHA256: picture, Size: 9, MediaType: "image/png"}, {Data: []byte(`""]`)}}},
		{Kind: logpipe.State, Class: "state", Time: frozenTime("2026-03-01T12:02:03Z"), Subject: "grace", Body: []byte{0xff, 0x00, 0x80}},
		{Kind: logpipe.Output, Class: "audit", Time: frozenTime("1969-07-20T20:17:40.000000001Z"), Tenant: "globex", CallerID: "ünïcödé \"id\""},
		{Kind: logpipe.Error, Time: frozenTime("2026-03-01T12:02:05.123456789-11:30"), Body: []byte("nobody's error\x00 with a NUL")},
	}
}
