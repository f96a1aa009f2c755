package logpipe

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/testbed"
)

// helperEnv makes the test binary run as a capturing process: its value is "<credential> <durability>".
const helperEnv = "STELE_LOGPIPE_TEST_WRITER"

func TestMain(m *testing.M) {
	if args := os.Getenv(helperEnv); args != "" {
		fmt.Fprintln(os.Stderr, captureForever(args))
		os.Exit(1)
	}
	// A cluster of kfake that is closed while it delays an answer never lets go of the goroutine that does so.
	goleak.VerifyTestMain(withServices{m}, goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*Cluster).runControl.func1"))
}

// withServices stops the servers of the testbed before anything looks for leaks.
type withServices struct{ *testing.M }

func (m withServices) Run() int { return testbed.Main(m.M) }

// captureForever captures and prints the number of each record once Capture has returned.
func captureForever(args string) error {
	f := strings.Fields(args)
	d := map[string]Durability{"memory": Memory, "spooled": Spooled, "acked": Acked}[f[1]]
	p, err := Open(context.Background(), Config{Credential: f[0], Default: ClassConfig{Durability: d}, Linger: time.Millisecond})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		r := Record{Kind: Input, Session: "s", CallerID: fmt.Sprint(i), Body: prose(300 + i%5000)}
		if err := p.Capture(context.Background(), &r); err != nil {
			return err
		}
		fmt.Println(i) // one write
	}
}

func TestKilledProcess(t *testing.T) {
	t.Parallel()
	for _, durability := range []string{"spooled", "acked", "memory"} {
		t.Run(durability, func(t *testing.T) {
			a, dir, _ := fileArchive(t)
			for round := range 3 {
				acknowledged := captureAndKill(t, a.credential+" "+durability, time.Duration(60+40*round)*time.Millisecond)
				if durability == "memory" {
					acknowledged = -1
				}
				checkKilled(t, a, dir, acknowledged)
				if t.Failed() {
					return
				}
				os.RemoveAll(filepath.Join(dir, "lanes"))
				os.Mkdir(filepath.Join(dir, "lanes"), 0o700)
			}
		})
	}
}

// captureAndKill runs a capturing process for d and returns the last record that it had acknowledged.
func captureAndKill(t *testing.T, args string, d time.Duration) (last int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+args)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	last = -1
	for scan := bufio.NewScanner(out); scan.Scan(); {
		if timer == nil {
			timer = time.AfterFunc(d, func() { cmd.Process.Kill() })
		}
		fmt.Sscan(scan.Text(), &last)
	}
	cmd.Wait()
	return last
}

// checkKilled opens a successor and looks at what both left.
func checkKilled(t *testing.T, a *archive, dir string, acknowledged int) {
	t.Helper()
	p := mustOpen(t, Config{Credential: a.credential})
	mustClose(t, p)
	var dead, heir *opened
	for _, o := range a.spooled(t, dir) {
		if o.closed() {
			heir = o
		} else {
			dead = o
		}
	}
	if dead == nil || heir == nil {
		t.Fatal("no two streams, one of them closed")
	}
	records := dead.records()
	for i, l := range records {
		if l.caller != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i, l.caller)
		}
	}
	if len(records)-1 < acknowledged {
		t.Fatalf("record %d was acknowledged, the lane ends with %d", acknowledged, len(records)-1)
	}
	last := dead.leaves[len(dead.leaves)-1]
	if heir.cert.Prev.Stream != dead.cert.Stream || heir.leaves[1].Type != record.Recovered {
		t.Fatal("the successor does not link to the dead stream, or does not say where it ended")
	}
	d, err := record.ParseRecovered(heir.leaves[1].Detail)
	if err != nil || d.Stream != dead.cert.Stream || d.Seq < last.Seq || dead.cert.Durability > keyscope.Memory && d.Seq != last.Seq {
		t.Errorf("recovered at %d of %x (%v), the lane ends at %d", d.Seq, d.Stream, err, last.Seq)
	}
}

func TestSuccessorLinksToAStreamThatClosed(t *testing.T) {
	a, dir, cfg := fileArchive(t)
	for range 3 {
		p := mustOpen(t, cfg)
		if err := p.Capture(t.Context(), &Record{Kind: Input}); err != nil {
			t.Fatal(err)
		}
		mustClose(t, p)
	}
	streams := map[[16]byte]*opened{}
	linked := 0
	for _, o := range a.spooled(t, dir) {
		streams[o.cert.Stream] = o
	}
	for _, o := range streams {
		for _, l := range o.leaves {
			if l.Type == record.Recovered {
				t.Error("a stream that closed was recovered")
			}
		}
		prev := o.cert.Prev
		if prev.Stream == ([16]byte{}) {
			continue
		}
		linked++
		before := streams[prev.Stream]
		if before == nil || prev.Seq != uint64(len(before.leaves)-1) || prev.Head != before.head {
			t.Errorf("a link goes to seq %d of %x, which is not where a stream ended", prev.Seq, prev.Stream)
		}
	}
	if len(streams) != 3 || linked != 2 {
		t.Errorf("%d streams, %d of them linked, want 3 and 2", len(streams), linked)
	}
}

func TestTwoPipesTakeTwoSlots(t *testing.T) {
	_, dir, cfg := fileArchive(t)
	p, q := mustOpen(t, cfg), mustOpen(t, cfg)
	mustClose(t, p)
	mustClose(t, q)
	slots, err := filepath.Glob(filepath.Join(dir, "state", "chat", "slot-*"))
	if err != nil || len(slots) != 2 {
		t.Errorf("slots %v (%v), want 2", slots, err)
	}
}

func TestDamagedTipIsNoTip(t *testing.T) {
	a, dir, cfg := fileArchive(t)
	mustClose(t, mustOpen(t, cfg))
	path := filepath.Join(dir, "state", "chat", "slot-0", "tip")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] ^= 0x55
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, cfg))
	for _, o := range a.spooled(t, dir) {
		if o.cert.Prev != (keyscope.Link{}) {
			t.Error("a stream links to what a damaged tip says")
		}
	}
}

func TestOpenRefusesBadConfigurations(t *testing.T) {
	_, dir, good := fileArchive(t)
	t.Setenv("STELE_WRITER", "")
	t.Setenv("STELE_TO", "")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no credential":      {func(c *Config) { c.Credential = "" }, "set STELE_WRITER"},
		"no such file":       {func(c *Config) { c.Credential = dir + "/nothing" }, "nothing"},
		"bad base64":         {func(c *Config) { c.Credential = strings.Repeat("!", 2000) }, "base64"},
		"not a credential":   {func(c *Config) { c.Credential = file }, "credential"},
		"unknown scheme":     {func(c *Config) { c.To = "s3://user:secret@x" }, `"s3" is no transport`},
		"relative file":      {func(c *Config) { c.To = "file://x/y" }, "file:///absolute/path"},
		"spool is a file":    {func(c *Config) { c.To = "file://" + file }, "spool directory"},
		"state is a file":    {func(c *Config) { c.StateDir = file }, "state directory"},
		"bad Kafka URL":      {func(c *Config) { c.To = "kafka://u:secret@h/t" }, "user information"},
		"memory":             {func(c *Config) { c.Memory = 1 }, "Memory"},
		"body":               {func(c *Config) { c.MaxBody = -1 }, "MaxBody"},
		"streams":            {func(c *Config) { c.Streams = 65 }, "Streams"},
		"linger":             {func(c *Config) { c.Linger = time.Second }, "Linger"},
		"beat":               {func(c *Config) { c.Beat = -1 }, "Beat"},
		"compression":        {func(c *Config) { c.Compression = "best" }, "Compression"},
		"class name":         {func(c *Config) { c.Classes = map[string]ClassConfig{"A": {}} }, "class name"},
		"durability":         {func(c *Config) { c.Default.Durability = 9 }, "out of range"},
		"spooled, no spool":  {func(c *Config) { c.To, c.Default.Durability = "kafka://127.0.0.1:1/t", Spooled }, "needs Config.SpoolDir"},
		"spilling, no spool": {func(c *Config) { c.To, c.Default.OnFull = "kafka://127.0.0.1:1/t", Spill }, "needs Config.SpoolDir"},
	} {
		cfg := good
		c.change(&cfg)
		_, err := Open(t.Context(), cfg)
		var at *OpError
		if !errors.As(err, &at) || at.Op != "open" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error that says %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, good); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestCredentialFromTheEnvironment(t *testing.T) {
	a, dir, _ := fileArchive(t)
	data, err := os.ReadFile(a.credential)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("STELE_WRITER", base64.StdEncoding.EncodeToString(data))
	p := mustOpen(t, Config{})
	if err := p.Capture(t.Context(), &Record{Kind: Input}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, p)
	if o := only(t, a.spooled(t, dir)); len(o.records()) != 1 {
		t.Error("the record is missing")
	}
}

func TestReadOnlySpool(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root writes everywhere; a file in place of the directory is the nearest that refuses.
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "lanes"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), Config{Credential: newArchive(t, "file://"+dir).credential})
		if err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v, want an error that names %s", err, dir)
		}
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Credential: newArchive(t, "file://"+dir).credential})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v, want a refusal that names %s", err, dir)
	}
}

func TestClosedPipe(t *testing.T) {
	_, _, cfg := fileArchive(t)
	p := mustOpen(t, cfg)
	mustClose(t, p)
	mustClose(t, p)
	if err := p.Capture(t.Context(), &Record{Kind: Input}); !errors.Is(err, ErrClosed) {
		t.Errorf("Capture: %v", err)
	}
	if err := p.Flush(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Flush: %v", err)
	}
	if err := p.Session("t", "s", "x").End(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("End: %v", err)
	}
	if err := p.Begin(t.Context(), Record{}).End(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("call: %v", err)
	}
}

// TestSampledCallEndsAfterClose: a call that sampling would leave out is counted, or refused when nobody counts it any more.
func TestSampledCallEndsAfterClose(t *testing.T) {
	a, dir, cfg := fileArchive(t)
	cfg.Sample = func(*Record) bool { return false }
	p := mustOpen(t, cfg)
	before, after := p.Begin(t.Context(), Record{}), p.Begin(t.Context(), Record{})
	if err := errors.Join(after.Input(t.Context(), Record{Body: []byte("x")}), before.End(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, p)
	if err := after.End(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if used := p.Stats().Memory; used != 0 {
		t.Errorf("memory in use is %d", used)
	}
	for _, l := range only(t, a.spooled(t, dir)).leaves {
		if l.Type == record.Sampled {
			if d, err := record.ParseSampled(l.Detail); err != nil || d.Calls != 1 {
				t.Errorf("sampled says %+v (%v)", d, err)
			}
			return
		}
	}
	t.Error("no leaf counts the call before Close")
}

// Close ends in time when the transport takes nothing, and what could not be sealed is in the last frame as a loss.
func TestCloseAtTheDeadline(t *testing.T) { synctest.Test(t, testCloseAtTheDeadline) }

func testCloseAtTheDeadline(t *testing.T) {
	a, _, cfg := fileArchive(t)
	cfg.Memory = minMemory
	cfg.Default = ClassConfig{OnFull: Reject}
	gate := make(chan struct{})
	p, nulls := openNull(t, cfg, gate)
	taken := fill(t, p, Record{Kind: Input, Session: "s", Body: prose(1 << 10)})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := p.Close(ctx)
	if d := time.Since(start); d < 100*time.Millisecond || d > 100*time.Millisecond+closeGrace {
		t.Errorf("Close took %v", d)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v, want the end of the context", err)
	}
	var messages []message
	for _, it := range nulls[0].s.out.items {
		messages = append(messages, message{logOf(it), it.data})
	}
	o, err := a.open(messages)
	if err != nil {
		t.Fatal(err)
	}
	if o.lost(t) == 0 || uint64(len(o.records()))+o.lost(t) != taken || !o.closed() {
		t.Errorf("%d records and %d declared of %d, closed %v", len(o.records()), o.lost(t), taken, o.closed())
	}
	if d, _ := record.ParseClose(o.leaves[len(o.leaves)-1].Detail); d.Reason != closeDeadline {
		t.Errorf("the stream closed for reason %d", d.Reason)
	}
}

func TestCaptureWaitsForItsDurability(t *testing.T) { synctest.Test(t, testCaptureWaits) }

func testCaptureWaits(t *testing.T) {
	_, _, cfg := fileArchive(t)
	cfg.Classes = map[string]ClassConfig{"spooled": {Durability: Spooled}, "acked": {Durability: Acked}}
	gate := make(chan struct{})
	p, nulls := openNull(t, cfg, gate)
	for _, class := range []string{"spooled", "acked"} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		err := p.Capture(ctx, &Record{Kind: Input, Class: class})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v while nothing was durable", class, err)
		}
	}
	close(gate)
	for _, class := range []string{"spooled", "acked"} {
		start := time.Now()
		if err := p.Capture(t.Context(), &Record{Kind: Input, Class: class}); err != nil {
			t.Errorf("%s: %v", class, err)
		}
		if d := time.Since(start); d != urgentLinger {
			t.Errorf("%s: took %v; the linger for those who wait is %v", class, d, urgentLinger)
		}
	}
	mustClose(t, p)
	if n := nulls[0].records.Load(); n != 4 {
		t.Errorf("%d records, want 4: those whose callers gave up too", n)
	}
}
