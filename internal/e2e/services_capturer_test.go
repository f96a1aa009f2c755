package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/logpipe"
)

// capturerEnv makes the test binary a capturing service. Its value is a task in JSON.
const capturerEnv = "STELE_E2E_CAPTURER"

// task is what a capturing service does: it captures records of one session one after the other, for ever or so many,
// and prints the caller id of each when Capture has returned.
type task struct {
	Name       string // of the session, and of the incarnation
	Credential string
	Spool      string
	State      string
	Durability logpipe.Durability
	Records    int // 0: until it is killed
}

func capturer() int {
	if err := capture(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func capture() error {
	var job task
	if err := json.Unmarshal([]byte(os.Getenv(capturerEnv)), &job); err != nil {
		return err
	}
	ctx := context.Background()
	pipe, err := logpipe.Open(ctx, logpipe.Config{Credential: job.Credential, SpoolDir: job.Spool, StateDir: job.State,
		Beat: 100 * time.Millisecond, Default: logpipe.ClassConfig{Durability: job.Durability, Wait: 10 * time.Second}})
	if err != nil {
		return err
	}
	s := pipe.Stats().Streams[0]
	fmt.Printf("stream %s %d\n", s.ID, s.Partition)
	for i := 0; job.Records == 0 || i < job.Records; i++ {
		id := fmt.Sprintf("%s/%d", job.Name, i)
		err := pipe.Capture(ctx, &logpipe.Record{Kind: logpipe.Input, Session: job.Name, CallerID: id,
			Body: bytes.Repeat([]byte(id+" "), 20)})
		if err != nil {
			return err
		}
		if _, err := os.Stdout.WriteString(id + "\n"); err != nil { // unbuffered: what is written outlives a kill
			return err
		}
		if job.Durability == logpipe.Memory && i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return pipe.Close(ctx)
}

// incarnation is one life of a capturing service.
type incarnation struct {
	*process
	stream    string // id
	partition int
	acked     atomic.Int64 // records for which Capture returned
	read      chan struct{}
}

// serve starts a capturing service.
func serve(t *testing.T, s *site, job task) *incarnation {
	t.Helper()
	job.Credential = filepath.Join(s.dir, "writer", "default.stele")
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env, cmd.Stdout = append(s.env, capturerEnv+"="+string(text)), in
	log := filepath.Join(t.TempDir(), "capturer.log")
	c := &incarnation{process: start(t, cmd, log), read: make(chan struct{})}
	in.Close()
	named := make(chan struct{})
	go func() {
		defer close(c.read)
		defer out.Close()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, _ := fmt.Sscanf(lines.Text(), "stream %s %d", &c.stream, &c.partition); n == 2 {
				close(named)
				continue
			}
			c.acked.Add(1)
		}
	}()
	select {
	case <-named:
	case <-time.After(time.Minute):
		t.Fatalf("the service did not start: %s", tail(log))
	case <-c.read:
		t.Fatalf("the service did not start: %s", tail(log))
	}
	return c
}

// kill waits until some records were captured and so long, kills the service, and returns how many were captured.
func (c *incarnation) kill(t *testing.T, after time.Duration) int {
	t.Helper()
	eventually(t, "captures before a kill", time.Minute, func() bool { return c.acked.Load() > 3 })
	time.Sleep(after)
	c.end(syscall.SIGKILL)
	return c.count()
}

// count returns how many records were captured by a service that has ended.
func (c *incarnation) count() int {
	<-c.done
	<-c.read
	return int(c.acked.Load())
}
