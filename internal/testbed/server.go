package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 5 * time.Minute // a broker needs 3 s alone on two cores, far more under a loaded race build
	stopTimeout  = 30 * time.Second
	pollInterval = 50 * time.Millisecond
	logTail      = 8 << 10
)

// Server is one running server process. It keeps its port and its directory when it is stopped and started again.
// Its methods are safe for concurrent use.
type Server struct {
	// Dir holds all that the server writes: its data and its log.
	Dir string

	name   string
	argv   []string
	env    []string // beside the few variables that baseEnv lets through
	user   *account // who it runs as, if not who we are
	ready  func(ctx context.Context) error
	ports  []*port
	shared bool

	mu   sync.Mutex // guards proc
	proc *process   // nil when not running
}

// account is a user of the system.
type account struct{ uid, gid uint32 }

// process is one child. Its fields are set before it is handed out, but err, which is set before done is closed.
type process struct {
	pid  int
	done chan struct{}
	err  error
}

// Start starts the server after Stop or Kill and returns when it answers, or with an error when ctx or two minutes end
// before. Its address and data are those of before.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return fmt.Errorf("%s runs already", s.name)
	}
	proc, err := s.launch()
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.proc = proc
	if err := s.await(ctx); err != nil {
		err = fmt.Errorf("start %s: %w\n%s", s.name, err, s.Log())
		return errors.Join(err, s.end(syscall.SIGKILL))
	}
	return nil
}

// Stop ends the server as its operator would, and returns when it is gone.
func (s *Server) Stop() error { return s.endDedicated(syscall.SIGTERM) }

// Kill ends the server without a chance to save anything, and returns when it is gone.
func (s *Server) Kill() error { return s.endDedicated(syscall.SIGKILL) }

// Log returns the end of what the server printed since it was first started.
func (s *Server) Log() string {
	f, err := os.Open(s.logPath())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > logTail {
		_, _ = f.Seek(-logTail, io.SeekEnd)
	}
	data, _ := io.ReadAll(f)
	return fmt.Sprintf("end of the log of %s:\n%s", s.name, data)
}

func (s *Server) logPath() string { return filepath.Join(s.Dir, "server.log") }

func (s *Server) logIfFailed(t testing.TB) {
	if t.Failed() {
		t.Log(s.Log())
	}
}

// launch starts the process. A goroutine of its own waits for it.
func (s *Server) launch() (*process, error) {
	log, err := os.OpenFile(s.logPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own descriptor
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Dir, cmd.Env = s.Dir, append(baseEnv(s.Dir), s.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttr(s.user)

	proc := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go onChildThread(func() {
		err := cmd.Start()
		if err == nil {
			proc.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			proc.err = cmd.Wait()
			close(proc.done)
		}
	})
	return proc, <-started
}

// await polls until the server answers. The caller holds mu.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var last error
	for {
		last = s.ready(ctx)
		select {
		case <-s.proc.done: // looked at first: an answer may have come from a stranger on our port
			return fmt.Errorf("it ended at once: %w", s.proc.err)
		default:
		}
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", errors.Join(ctx.Err(), last))
		case <-s.proc.done:
		case <-time.After(pollInterval):
		}
	}
}

func (s *Server) endDedicated(sig syscall.Signal) error {
	if s.shared {
		return fmt.Errorf("%s is shared with other tests: ask for it with Dedicated()", s.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return fmt.Errorf("%s does not run", s.name)
	}
	return s.end(sig)
}

// stop ends the server for good, if it runs, and gives its ports back.
func (s *Server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.proc != nil {
		err = s.end(syscall.SIGTERM)
	}
	s.releasePorts()
	return err
}

func (s *Server) releasePorts() {
	for _, p := range s.ports {
		p.release()
	}
	s.ports = nil
}

// end signals the process and waits for it; one that takes too long is killed, which is reported. The caller holds mu.
func (s *Server) end(sig syscall.Signal) error {
	proc := s.proc
	s.proc = nil
	select {
	case <-proc.done: // its number may belong to another process by now
		return nil
	default:
	}
	if err := signalGroup(proc.pid, sig); err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	select {
	case <-proc.done:
		return nil
	case <-time.After(stopTimeout):
	}
	err := signalGroup(proc.pid, syscall.SIGKILL)
	<-proc.done
	return errors.Join(fmt.Errorf("%s did not stop within %v and was killed", s.name, stopTimeout), err)
}

// startFresh starts a new server, with new ports if another process was quicker to take one.
// plan describes the server; it is called again for each try.
func startFresh(plan func() (*Server, error)) (*Server, error) {
	const tries = 4
	for try := 1; ; try++ {
		s, err := plan()
		if err != nil {
			return nil, err
		}
		if err = s.Start(context.Background()); err == nil {
			return s, nil
		}
		s.releasePorts()
		if try == tries || !strings.Contains(strings.ToLower(s.Log()), "already in use") {
			return nil, err
		}
	}
}

// baseEnv is the environment of every child: nothing of the user's settings reaches a server by it.
func baseEnv(home string) []string {
	env := []string{"HOME=" + home, "LANG=C.UTF-8"}
	for _, name := range []string{"PATH", "TMPDIR", "JAVA_HOME"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
