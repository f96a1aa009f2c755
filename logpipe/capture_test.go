package logpipe

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/sealhook"
)

func TestCaptureRefusesBadRecords(t *testing.T) {
	_, _, cfg := fileArchive(t)
	cfg.MaxBody = 1000
	p := mustOpen(t, cfg)
	defer mustClose(t, p)
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct {
		r    Record
		what string
		is   error
	}{
		"no kind":             {Record{}, "Kind", nil},
		"unknown kind":        {Record{Kind: 5}, "Kind", nil},
		"class":               {Record{Kind: Input, Class: "No"}, "Class", nil},
		"tenant no UTF-8":     {Record{Kind: Input, Tenant: "\xff"}, "Tenant", errNotUTF8},
		"caller id no UTF-8":  {Record{Kind: Input, CallerID: "a\xc3"}, "CallerID", errNotUTF8},
		"long subject":        {Record{Kind: Input, Subject: long}, "Subject", ErrTooLarge},
		"long trace":          {Record{Kind: Input, TraceID: long[:256]}, "TraceID", ErrTooLarge},
		"attributes array":    {Record{Kind: Input, Attributes: []byte(`[1]`)}, "Attributes", nil},
		"attributes broken":   {Record{Kind: Input, Attributes: []byte(`{"a":`)}, "Attributes", nil},
		"attributes no UTF-8": {Record{Kind: Input, Attributes: []byte("{\"a\":\"\xff\"}")}, "Attributes", errNotUTF8},
		"too early":           {Record{Kind: Input, Time: time.Date(1677, 9, 1, 0, 0, 0, 0, time.UTC)}, "Time", nil},
		"too late":            {Record{Kind: Input, Time: time.Date(2262, 4, 12, 0, 0, 0, 0, time.UTC)}, "Time", nil},
		"body and parts":      {Record{Kind: Input, Body: []byte("a"), Parts: []Part{{Data: []byte("b")}}}, "Parts", nil},
		"part both":           {Record{Kind: Input, Parts: []Part{{Data: []byte("b"), URI: "x:y"}}}, "Parts", nil},
		"part size":           {Record{Kind: Input, Parts: []Part{{URI: "x:y", Size: -1}}}, "Parts", nil},
		"part URI no UTF-8":   {Record{Kind: Input, Parts: []Part{{URI: "\xff"}}}, "Parts", errNotUTF8},
		"many parts":          {Record{Kind: Input, Parts: make([]Part, maxParts+1)}, "Parts", ErrTooLarge},
		"large body":          {Record{Kind: Input, Body: make([]byte, 1001)}, "Body", ErrTooLarge},
		"large parts":         {Record{Kind: Input, Parts: []Part{{Data: make([]byte, 1000)}, {Data: []byte("x")}}}, "Body", ErrTooLarge},
		"large attributes":    {Record{Kind: Input, Attributes: []byte(`{"a":"` + strings.Repeat("x", maxFields) + `"}`)}, "", ErrTooLarge},
	} {
		err := p.Capture(t.Context(), &c.r)
		var at *OpError
		if !errors.As(err, &at) || at.What != c.what || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want an error about %q that is %v", name, err, c.what, c.is)
		}
	}
	good := []Record{
		{Kind: Input, Time: time.Date(1677, 9, 22, 0, 0, 0, 0, time.UTC), Body: make([]byte, 1000)},
		{Kind: Error, Time: time.Date(2262, 4, 11, 0, 0, 0, 0, time.UTC), Subject: strings.Repeat("ü", 2047), TraceID: long[:255]},
	}
	for i := range good {
		if err := p.Capture(t.Context(), &good[i]); err != nil {
			t.Errorf("%d is refused: %v", i, err)
		}
	}
	if st := p.Stats(); st.Captured != 2 {
		t.Errorf("%d captured, want 2", st.Captured)
	}
}

func TestCaptureDoesNotAllocate(t *testing.T) {
	p, drop := stillPipe(t)
	for name, r := range map[string]*Record{
		"session":    {Kind: Output, Tenant: "t", Subject: "s", Session: "1", Body: prose(1 << 10)},
		"attributes": {Kind: Output, Session: "1", Body: prose(1 << 10), Attributes: []byte(`{"gen_ai.request.model":"m","n":[1,{"a":null}]}`), Time: time.Now()},
		"nothing":    {Kind: State, Body: prose(1 << 10)},
		"parts":      {Kind: Input, Session: "1", Parts: []Part{{Data: prose(512)}, {Data: prose(512)}, {URI: "x:y"}}},
	} {
		drop()
		n := testing.AllocsPerRun(100, func() {
			if err := p.Capture(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations in a Capture", name, n)
		}
	}
}

// fill captures until the pipe is full and returns how many records it took.
func fill(t *testing.T, p *Pipe, r Record) (n uint64) {
	t.Helper()
	for full := 0; full < 200; {
		err := p.Capture(t.Context(), &r)
		switch {
		case err == nil:
			n, full = n+1, 0
		case errors.Is(err, ErrFull):
			full++
			time.Sleep(10 * time.Millisecond) // the sealing goroutine makes room until its own bound
		default:
			t.Fatal(err)
		}
	}
	return n
}

func TestFullPipe(t *testing.T) { synctest.Test(t, testFullPipe) }

func testFullPipe(t *testing.T) {
	const wait = 40 * time.Millisecond
	a, _, cfg := fileArchive(t)
	cfg.Memory = minMemory
	cfg.Default = ClassConfig{OnFull: Reject}
	cfg.Classes = map[string]ClassConfig{"patient": {Wait: wait}, "spilling": {OnFull: Spill, Wait: wait}, "dropping": {OnFull: DropAndDeclare}}
	gate := make(chan struct{})
	p, nulls := openNull(t, cfg, gate)
	body := prose(1 << 10)
	taken := fill(t, p, Record{Kind: Input, Session: "s", Body: body})
	if used := p.Stats().Memory; used > minMemory+512<<10 {
		t.Errorf("%d bytes in use, the bound is %d and a frame", used, minMemory)
	}
	for _, class := range []string{"patient", "spilling"} {
		start := time.Now()
		err := p.Capture(t.Context(), &Record{Kind: Input, Class: class, Session: "s", Body: body})
		if d := time.Since(start); !errors.Is(err, ErrFull) || d != wait {
			t.Errorf("%s: %v after %v, want ErrFull after %v", class, err, d, wait)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		err = p.Capture(ctx, &Record{Kind: Input, Class: class, Session: "s", Body: body})
		cancel()
		if !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want ErrFull and the end of the context", class, err)
		}
	}
	const dropped = 17
	for range dropped {
		if err := p.Capture(t.Context(), &Record{Kind: Input, Class: "dropping", Session: "s", Body: body}); err != nil {
			t.Errorf("dropping: %v", err)
		}
	}
	call := p.Begin(t.Context(), Record{Session: "s"})
	if err := call.Input(t.Context(), Record{Body: body}); !errors.Is(err, ErrFull) {
		t.Errorf("call: %v, want ErrFull", err)
	}
	close(gate)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := call.End(t.Context(), errors.New("boom")); !errors.Is(err, ErrFull) {
		t.Errorf("End returns %v, want the first error", err)
	}
	mustClose(t, p)
	o := nulls[0].open(t, a)
	if got := uint64(len(o.records())); got != taken+1 || o.lost(t) != dropped+1 {
		t.Errorf("%d records and %d declared lost, want %d and %d", got, o.lost(t), taken+1, dropped+1)
	}
	closing := o.leaves[len(o.leaves)-1]
	d, err := record.ParseClose(closing.Detail)
	if err != nil || d.Reason != closeClean || d.Captured != taken+1+dropped+1 || d.Lost != dropped+1 {
		t.Errorf("close says %+v (%v)", d, err)
	}
}

// Every captured record is in a frame or in a declared loss, whatever the callers and the transport do.
func TestCapturedIsSealedPlusDeclared(t *testing.T) {
	a, _, cfg := fileArchive(t)
	cfg.Memory, cfg.Streams = minMemory, 2
	cfg.Default = ClassConfig{OnFull: DropAndDeclare}
	gate := make(chan struct{})
	p, nulls := openNull(t, cfg, gate)
	const callers, each = 4, 2000
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				r := Record{Kind: Input, Session: fmt.Sprint(c), CallerID: fmt.Sprint(i), Body: prose(200 + i%700)}
				if err := p.Capture(context.Background(), &r); err != nil {
					t.Error(err)
				}
				if c == 0 && i == each/2 {
					close(gate)
				}
			}
		})
	}
	wg.Wait()
	mustClose(t, p)
	records, lost := 0, uint64(0)
	last := map[string]int{}
	for _, n := range nulls {
		o := n.open(t, a)
		lost += o.lost(t)
		for _, l := range o.records() {
			records++
			var i int
			fmt.Sscan(l.caller, &i)
			if before, ok := last[l.session]; ok && i <= before {
				t.Fatalf("session %s: %d after %d", l.session, i, before)
			}
			last[l.session] = i
		}
	}
	st := p.Stats()
	if uint64(records)+lost != callers*each || st.Captured != callers*each || st.Sealed != uint64(records) {
		t.Errorf("%d records and %d declared of %d; stats %+v", records, lost, callers*each, st)
	}
	if lost == 0 {
		t.Error("the test lost nothing and proves nothing")
	}
}

// So is every record that was captured while the pipe closes: one that is not is refused.
func TestCapturedWhileClosing(t *testing.T) {
	a, _, cfg := fileArchive(t)
	cfg.Memory = minMemory
	cfg.Default = ClassConfig{OnFull: DropAndDeclare}
	for range 10 {
		gate := make(chan struct{})
		p, nulls := openNull(t, cfg, gate)
		var taken, dropping atomic.Uint64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					r := Record{Kind: Input, Body: random(3000)}
					err := p.Capture(context.Background(), &r)
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					taken.Add(1)
					dropping.Store(p.waits.Load())
				}
			})
		}
		for dropping.Load() == 0 {
			runtime.Gosched()
		}
		close(gate)
		mustClose(t, p)
		wg.Wait()
		records, lost := uint64(0), uint64(0)
		for _, n := range nulls {
			o := n.open(t, a)
			records, lost = records+uint64(len(o.records())), lost+o.lost(t)
		}
		for _, sh := range p.shards {
			if err := sh.drop("", record.MemoryFull, 1); !errors.Is(err, ErrClosed) {
				t.Fatalf("dropped and not declared: %v", err)
			}
		}
		if records+lost != taken.Load() {
			t.Fatalf("%d records and %d declared of %d", records, lost, taken.Load())
		}
	}
}

func TestPanicWhileSealingIsALossAndNoMore(t *testing.T) {
	a, dir, cfg := fileArchive(t)
	var mu sync.Mutex
	broken := false
	ctx := sealhook.With(t.Context(), func(key []byte) (cipher.AEAD, error) {
		mu.Lock()
		defer mu.Unlock()
		if broken {
			panic("cipher")
		}
		return gcm(key)
	})
	p, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	set := func(b bool) { mu.Lock(); broken = b; mu.Unlock() }
	send := func(n int) {
		for i := range n {
			if err := p.Capture(t.Context(), &Record{Kind: Input, Session: "s", Body: prose(100 + i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	send(3)
	set(true)
	send(5)
	set(false)
	send(2)
	mustClose(t, p)
	o := only(t, a.spooled(t, dir))
	if len(o.records()) != 5 || o.lost(t) != 5 || !o.closed() {
		t.Errorf("%d records, %d lost, closed %v; want 5, 5, true", len(o.records()), o.lost(t), o.closed())
	}
	if st := p.Stats(); st.Lost[record.SealFailed.String()] != 5 {
		t.Errorf("stats: %v", st.Lost)
	}
}

func TestRedact(t *testing.T) {
	a, dir, cfg := fileArchive(t)
	cfg.Redact = func(r *Record) error {
		switch r.CallerID {
		case "change":
			r.Body, r.Session = []byte(strings.ReplaceAll(string(r.Body), "secret", "xxx")), "other"
		case "fail":
			r.Subject = "half done"
			return errors.New("no")
		case "panic":
			panic("no")
		case "invalid":
			r.Attributes = []byte("no JSON")
		case "parts":
			r.Parts = []Part{{Data: []byte("one")}, {Data: []byte("two")}}
		}
		return nil
	}
	p := mustOpen(t, cfg)
	for _, id := range []string{"change", "fail", "panic", "invalid", "keep"} {
		if err := p.Capture(t.Context(), &Record{Kind: Input, Subject: "s", CallerID: id, Body: []byte("a secret"), Attributes: []byte(`{"a":1}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Capture(t.Context(), &Record{Kind: Input, Subject: "s", CallerID: "parts", Time: time.Unix(5, 0)}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, p)
	want := map[string]string{"change": "a xxx", "fail": "", "panic": "", "invalid": "", "keep": "a secret", "parts": "onetwo"}
	for _, l := range only(t, a.spooled(t, dir)).records() {
		withheld := l.Flags&record.Withheld != 0
		if string(l.body) != want[l.caller] || withheld != (want[l.caller] == "") || l.subject != "s" {
			t.Errorf("%s: body %q, withheld %v, subject %q", l.caller, l.body, withheld, l.subject)
		}
		if l.caller != "parts" && l.attrs != `{"a":1}` || l.caller == "parts" && l.Time != 5e9 {
			t.Errorf("%s: attributes %q, time %d", l.caller, l.attrs, l.Time)
		}
		delete(want, l.caller)
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}
}

// What a call cannot capture because it is not valid is declared: nobody captures it again.
func TestRefusedRecordsOfACallAreDeclared(t *testing.T) {
	for name, keep := range map[string]bool{"kept": true, "not sampled": false} {
		t.Run(name, func(t *testing.T) {
			a, dir, cfg := fileArchive(t)
			cfg.Sample, cfg.MaxBody = func(*Record) bool { return keep }, 100
			p := mustOpen(t, cfg)
			c := p.Begin(t.Context(), Record{Session: "s"})
			var at *OpError
			for field, r := range map[string]Record{"Class": {Class: "No!"}, "Attributes": {Attributes: []byte("[]")}, "Subject": {Subject: "\xff"}} {
				if err := c.State(t.Context(), r); !errors.As(err, &at) || at.What != field {
					t.Errorf("%s: %v", field, err)
				}
			}
			if err := c.State(t.Context(), Record{Body: make([]byte, 101)}); !errors.Is(err, ErrTooLarge) {
				t.Errorf("large body: %v", err)
			}
			if err := c.End(t.Context(), errors.New("boom")); err == nil {
				t.Error("End does not tell")
			}
			mustClose(t, p)
			o := only(t, a.spooled(t, dir))
			if lost := p.Stats().Lost; lost[record.Refused.String()] != 3 || lost[record.TooLarge.String()] != 1 || o.lost(t) != 4 {
				t.Errorf("lost %v, %d declared", lost, o.lost(t))
			}
			if n := len(o.records()); n != 1 {
				t.Errorf("%d records, want that of the error", n)
			}
		})
	}
}
