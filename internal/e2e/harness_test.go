// Package e2e_test runs the whole as its users do: the binaries stele and compactor as processes, services that capture
// through logpipe, real brokers and real stores. It knows nothing of what is inside.
//
// What the tests share is in harness_test.go (sites, nodes, processes), feed_test.go (input and comparison) and
// services_test.go (stores, locks, copies).
package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/testbed"
)

// binDir holds the binaries under test, built once for all tests of this test binary.
var binDir string

// TestMain makes the test binary a capturing service, too: see capturer_test.go.
func TestMain(m *testing.M) {
	if os.Getenv(capturerEnv) != "" {
		os.Exit(capturer())
	}
	var err error
	if binDir, err = os.MkdirTemp("", "stele-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := testbed.Main(m)
	if err := os.RemoveAll(binDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// build builds the binaries, without the race detector: they run as users have them.
var build = sync.OnceValue(func() error {
	out, err := exec.Command("go", "build", "-race=false", "-o", binDir+"/", "../../cmd/stele", "../../cmd/compactor").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

// site is an archive and the directory that 'stele init' made for it.
type site struct {
	t   *testing.T
	dir string
	env []string // of every process
}

// newSite makes an archive. archive and to are URLs; flags go to 'stele init'.
func newSite(t *testing.T, archive, to string, env []string, flags ...string) *site {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: shortDir(t), env: append(baseEnv(t), env...)}
	args := append([]string{"init", archive, "--to", to, "--out", s.dir, "--name", "e2e", "--yes"}, flags...)
	if _, stderr, code := s.stele(args...); code != 0 {
		t.Fatalf("stele init: exit code %d\n%s", code, stderr)
	}
	s.env = append(s.env, "STELE_CONFIG="+filepath.Join(s.dir, "stele.yaml"))
	return s
}

// shortDir is a directory whose path leaves room for the name of a unix socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stele-site-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(t, dir) })
	return dir
}

// removeAll removes a directory in which files and folders may be read-only.
func removeAll(t *testing.T, dir string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// baseEnv is the environment of every process: nothing of the user's settings reaches it.
func baseEnv(t *testing.T) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LANG=C.UTF-8"}
}

// with returns the site with more environment.
func (s *site) with(env ...string) *site {
	return &site{s.t, s.dir, append(slices.Clone(s.env), env...)}
}

// command prepares one of the binaries.
func (s *site) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binDir, name), args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

// stele runs a verb to its end.
func (s *site) stele(args ...string) (stdout, stderr string, code int) {
	return s.run(s.command("stele", args...))
}

func (s *site) run(cmd *exec.Cmd) (stdout, stderr string, code int) {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%s: %v", cmd, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// compactOnce commits all that the transport holds.
func (s *site) compactOnce() {
	s.t.Helper()
	if _, stderr, code := s.run(s.command("compactor", "--once")); code != 0 {
		s.t.Fatalf("compactor --once: exit code %d\n%s", code, stderr)
	}
}

// report is what the tests look at of 'stele verify --json'.
type report struct {
	Verdicts    map[string]struct{ State, Detail string }
	Records     uint64
	Opened      uint64
	Disclosures uint64
	Logs        []struct {
		Origin                  string
		Commits, Size, Provable uint64
	}
	Streams         []stream
	Faults, Notices []struct{ Verdict, Key, Detail string }
}

// stream is the report on one stream.
type stream struct {
	Stream, State, Verdict string
	Leaves, Lost           uint64
	Gaps                   []string
	Complete               bool
}

// anyExit is for tests that cannot know whether all streams are complete.
const anyExit = -1

// verify runs 'stele verify' and wants an exit code. With anyExit that is 11 if a stream is not complete, else 0.
func (s *site) verify(want int, flags ...string) report {
	s.t.Helper()
	stdout, stderr, code := s.stele(append([]string{"verify", "--json"}, flags...)...)
	var answer struct{ Report report }
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil {
		s.t.Fatalf("stele verify: exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	r := answer.Report
	if want == anyExit {
		want = 0
		if slices.ContainsFunc(r.Streams, func(s stream) bool { return !s.Complete }) {
			want = 11
		}
	}
	if code != want {
		s.t.Errorf("stele verify: exit code %d, want %d", code, want)
		for name, v := range r.Verdicts {
			s.t.Logf("%s %s: %s", name, v.State, v.Detail)
		}
		for _, f := range r.Faults[:min(len(r.Faults), 20)] {
			s.t.Logf("fault: %+v", f)
		}
	}
	return r
}

// allVerdicts are those that a first release can give.
const allVerdicts = "integrity,completeness,worm,readability"

// node is a machine on which a compactor runs: a working directory with the files of that role and nothing else. The
// nodes of a site share the folder of the key service, so that one of them has the role.
type node struct {
	*site
	name  string
	flags []string
	log   string // path of what all its compactors print
	proc  *process
}

func (s *site) node(name string, env []string, flags ...string) *node {
	s.t.Helper()
	dir := shortDir(s.t)
	n := &node{site: s.with(append(env, "STELE_CONFIG="+filepath.Join(dir, "stele.yaml"))...), name: name, flags: flags,
		log: filepath.Join(s.t.TempDir(), name+".log")}
	n.dir = dir
	err := errors.Join(
		os.CopyFS(filepath.Join(dir, "compactor"), os.DirFS(filepath.Join(s.dir, "compactor"))),
		os.Symlink(filepath.Join(s.dir, "keys"), filepath.Join(dir, "keys")))
	for _, file := range []string{"stele.yaml", "trust.stele"} {
		data, readErr := os.ReadFile(filepath.Join(s.dir, file))
		err = errors.Join(err, readErr, os.WriteFile(filepath.Join(dir, file), data, 0o600))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// start starts the compactor of the node, which the end of the test kills.
func (n *node) start() {
	n.t.Helper()
	cmd := n.command("compactor", append([]string{"--log-format", "json", "--metrics", "127.0.0.1:0", "--segment-age", "1s", "--heads-every", "1s"}, n.flags...)...)
	n.proc = start(n.t, cmd, n.log)
}

// kill ends the compactor without a chance to save anything.
func (n *node) kill() { n.proc.end(syscall.SIGKILL) }

// stop ends the compactor as its operator would.
func (n *node) stop() {
	n.t.Helper()
	n.proc.end(syscall.SIGTERM)
	if n.proc.err != nil {
		n.t.Errorf("compactor %s did not stop in good order: %v\n%s", n.name, n.proc.err, tail(n.log))
	}
}

// committed is a commit that a compactor logged.
type committed struct {
	Time      time.Time
	Msg       string
	Partition int
}

// commits returns what the compactors of this node have committed so far.
func (n *node) commits() (all []committed) {
	data, err := os.ReadFile(n.log)
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(data) {
		var c committed
		if bytes.Contains(line, []byte(`"committed"`)) && json.Unmarshal(line, &c) == nil && c.Msg == "committed" {
			all = append(all, c)
		}
	}
	return all
}

// process is a child. err is valid when done is closed.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// start starts a child that prints to the end of a file, unless its output goes somewhere already. It dies with the test,
// and with the test binary, however that ends.
func start(t *testing.T, cmd *exec.Cmd, log string) *process {
	t.Helper()
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stderr = f
	if cmd.Stdout == nil {
		cmd.Stdout = f
	}
	dieWithParent(cmd)
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the kernel ties the child to this thread
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

// end signals the process and waits until it is gone.
func (p *process) end(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig) // fails only if it is gone
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// tail is the end of a log.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4096):])
}

// fileURL is the URL of a directory below a new temporary one.
func fileURL(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	t.Cleanup(func() { removeAll(t, dir) })
	return "file://" + dir
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// lines joins a few strings for a failure message.
func lines(of []string) string { return strings.Join(of[:min(len(of), 10)], "\n") }
