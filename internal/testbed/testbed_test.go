package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestNameFitsTopicsAndBuckets(t *testing.T) {
	valid := regexp.MustCompile(`^[a-z][a-z0-9-]{2,61}[a-z0-9]$`)
	seen := map[string]bool{}
	for _, sub := range []string{"plain", "MiXed/und_er.score", strings.Repeat("long", 30), "ünï…", "-"} {
		t.Run(sub, func(t *testing.T) {
			for range 2 {
				name := Name(t)
				if !valid.MatchString(name) || seen[name] {
					t.Errorf("bad or repeated name %q", name)
				}
				seen[name] = true
			}
		})
	}
}

// outcome records how a test would have ended.
type outcome struct {
	testing.TB
	fatal, skip string
}

func (o *outcome) Helper()                   {}
func (o *outcome) Context() context.Context  { return context.Background() }
func (o *outcome) Fatalf(f string, a ...any) { o.fatal = fmt.Sprintf(f, a...); runtime.Goexit() }
func (o *outcome) Skipf(f string, a ...any)  { o.skip = fmt.Sprintf(f, a...); runtime.Goexit() }

func TestMissingCommandSkipsButFailsInCI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	services := map[string]func(testing.TB){
		"java, mvn": func(t testing.TB) { Kafka(t) },
		"go":        func(t testing.TB) { MinIO(t) },
		"python3":   func(t testing.TB) { Python(t) },
		"kcat":      func(t testing.TB) { Kcat(t) },
	}
	for missing, ask := range services {
		for _, ci := range []string{"", "true"} {
			t.Setenv("CI", ci)
			var got outcome
			done := make(chan struct{})
			go func() { defer close(done); ask(&got) }()
			<-done
			said, other := got.skip, got.fatal
			if ci == "true" {
				said, other = got.fatal, got.skip
			}
			if !strings.HasSuffix(said, "not on PATH: "+missing) || strings.Contains(said, "\n") || other != "" {
				t.Errorf("CI=%q: without %s: fatal %q, skip %q", ci, missing, got.fatal, got.skip)
			}
		}
	}
}

func TestPrepareReportsWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("STELE_TESTBED_CACHE", t.TempDir())
	for ci, fails := range map[string]bool{"": false, "true": true} {
		t.Setenv("CI", ci)
		var out strings.Builder
		if err := Prepare(t.Context(), &out); (err != nil) != fails {
			t.Errorf("CI=%q: Prepare = %v", ci, err)
		}
		if got := strings.Count(out.String(), ": not on PATH"); got != len(artefacts()) {
			t.Errorf("%d lines name what is missing, want %d:\n%s", got, len(artefacts()), out.String())
		}
	}
}

func TestArtefactIsBuiltOnce(t *testing.T) {
	t.Setenv("STELE_TESTBED_CACHE", t.TempDir())
	var builds atomic.Int32
	a := artefact{name: "a", version: "1", build: func(_ context.Context, dir string) error {
		if builds.Add(1) == 1 {
			return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o644), errors.New("broken off"))
		}
		return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o644)
	}}
	if dir, err := a.get(t.Context()); err == nil || exists(dir) {
		t.Fatalf("a failed build gave %q, %v", dir, err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := a.get(t.Context())
			if err != nil || !exists(filepath.Join(dir, "whole")) || exists(filepath.Join(dir, "half")) {
				t.Errorf("get = %q, %v", dir, err)
			}
		})
	}
	wg.Wait()
	if got := builds.Load(); got != 2 {
		t.Errorf("built %d times, want one failure and one success", got)
	}
}

func TestPortsAreExclusive(t *testing.T) {
	t.Setenv("STELE_TESTBED_CACHE", t.TempDir())
	ports, err := takePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		_, err := lockByte(filepath.Join(cache, "ports.lock"), int64(p.number))
		if !errors.Is(err, errLocked) || seen[p.number] {
			t.Errorf("port %d could be taken twice: %v", p.number, err)
		}
		seen[p.number] = true
	}
	for _, p := range ports {
		p.release()
	}
	unlock, err := lockByte(filepath.Join(cache, "ports.lock"), int64(ports[0].number))
	if err != nil {
		t.Fatalf("a released port stayed locked: %v", err)
	}
	unlock()
}

func TestServerThatCannotStart(t *testing.T) {
	s := &Server{Dir: t.TempDir(), name: "nothing", argv: []string{"sh", "-c", "echo why; exit 3"}}
	s.ready = func(context.Context) error { // another server on our port, which answers in our server's place
		<-s.proc.done
		return nil
	}
	err := s.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "why") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Start = %v, want the exit status and the log", err)
	}
	s.argv = []string{filepath.Join(s.Dir, "absent")}
	if err := s.Start(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start = %v", err)
	}
	s.argv, s.ready = []string{"sleep", "60"}, func(context.Context) error { return errors.New("silent") }
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Start(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "silent") {
		t.Errorf("Start = %v", err)
	}
}

// TestServersDieWithTheirTestBinary kills a test binary that runs shared and dedicated servers, and looks for survivors.
func TestServersDieWithTheirTestBinary(t *testing.T) {
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	VersityGW(t) // built beforehand, and this test's own end if it cannot be
	holder := exec.Command(os.Args[0], "-test.run=^TestHoldServers$", "-test.v")
	holder.Env = append(os.Environ(), "TESTBED_HOLD=1", "STELE_TESTBED_CACHE="+cache)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	var dir string
	for lines := bufio.NewScanner(out); len(pids) < 2 && lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), "holding "); ok {
			number, path, _ := strings.Cut(rest, " ")
			pid, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(err)
			}
			pids, dir = append(pids, pid), path
		}
	}
	// Before the kill: afterwards any other test binary that starts may remove it.
	if !exists(dir) {
		t.Errorf("the shared server's directory %q is not there: this test looks at the wrong one", dir)
	}
	if err := errors.Join(holder.Process.Kill(), ignoreExit(holder.Wait())); err != nil || len(pids) != 2 {
		t.Fatalf("the other test binary ran %d servers, %v", len(pids), err)
	}
	for _, pid := range pids {
		for deadline := time.Now().Add(30 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d survived its test binary", pid)
			}
		}
	}
	next, err := newRunDir()
	if err != nil {
		t.Fatal(err)
	}
	if exists(dir) {
		t.Errorf("the dead binary's directory %q is still there", dir)
	}
	if err := next.remove(); err != nil {
		t.Error(err)
	}
}

// TestHoldServers is the other process of TestServersDieWithTheirTestBinary and does nothing by itself.
func TestHoldServers(t *testing.T) {
	if os.Getenv("TESTBED_HOLD") == "" {
		return
	}
	for _, s := range []*S3{VersityGW(t, Dedicated()), VersityGW(t)} {
		fmt.Printf("\nholding %d %s\n", s.proc.pid, s.Dir)
	}
	select {}
}

func ignoreExit(err error) error {
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return nil
	}
	return err
}
