package repocheck

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// readmeMain runs README's service behind a chat API that takes its time.
const readmeMain = `package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	err := snippet(context.Background(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(300 * time.Millisecond)
		_, _ = io.WriteString(w, ` + "`" + `{"choices":[{"message":{"role":"assistant","content":"a stone"}}]}` + "`" + `)
	}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`

// TestReadmeServiceEndsWell stops README's first service under load, as a supervisor does, and looks for every call that was
// answered in the archive.
func TestReadmeServiceEndsWell(t *testing.T) {
	var service snippet
	for _, s := range snippets(read(t, "README.md")) {
		if strings.Contains(s.code, "signal.NotifyContext") {
			service = s
			break
		}
	}
	const address = `"127.0.0.1:8080"`
	if strings.Count(service.code, address) != 1 {
		t.Fatalf("README.md has no service at %s that ends at a signal", address)
	}
	service.code = strings.Replace(service.code, address, `os.Getenv("README_ADDRESS")`, 1)
	program, err := service.program(importPaths(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program = strings.Replace(program, "package snippet", "package main", 1)
	if err := build(t, filepath.Join(dir, "service"), map[string]string{"snippet.go": program, "main.go": readmeMain}); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(filepath.Join(dir, name), args...)
		cmd.Env = append(os.Environ(), "STELE_CONFIG="+filepath.Join(dir, "keys", "stele.yaml"))
		if args[0] == "init" {
			cmd.Env = os.Environ()
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.Bytes())
		}
		return out
	}
	for _, name := range []string{"stele", "compactor"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), "./cmd/"+name)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	run("stele", "init", "file://"+filepath.Join(dir, "archive"), "--out", filepath.Join(dir, "keys"))

	answered := serveUntilTold(t, filepath.Join(dir, "service"), filepath.Join(dir, "keys", "writer", "default.stele"))
	if len(answered) == 0 {
		t.Fatal("no call was answered")
	}
	run("compactor", "--once")
	kinds := map[string]int{}
	for line := range bytes.Lines(run("stele", "restore", "--out", "-")) {
		var record struct{ Kind, Subject string }
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		kinds[record.Kind+" of "+record.Subject]++
	}
	for _, user := range answered {
		if kinds["input of "+user] != 1 || kinds["output of "+user] != 1 {
			t.Errorf("%s was answered, and there are %d inputs and %d outputs", user, kinds["input of "+user], kinds["output of "+user])
		}
	}
	var audit struct {
		Streams []struct{ State string }
	}
	if err := json.Unmarshal(run("stele", "audit", "--json"), &audit); err != nil || len(audit.Streams) != 1 || audit.Streams[0].State != "closed" {
		t.Errorf("the stream was not closed: %+v, %v", audit, err)
	}
}

// serveUntilTold starts a service, asks it in parallel, sends SIGTERM in the middle, and returns whom it answered.
func serveUntilTold(t *testing.T, program, writer string) (answered []string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "README_ADDRESS="+address, "STELE_WRITER="+writer)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(user string) error {
		body := strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"What is a stele?"}]}`)
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/v1/chat/completions", body)
		if err != nil {
			return err
		}
		request.Header.Set("X-User", user)
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return err
	}
	for ask("first") != nil {
		select {
		case err := <-over:
			t.Fatalf("the service ended: %v\n%s", err, stderr.Bytes())
		case <-ctx.Done():
			t.Fatal("the service does not answer")
		case <-time.After(20 * time.Millisecond):
		}
	}
	var mu sync.Mutex
	var callers sync.WaitGroup
	answered = append(answered, "first")
	for i := range 8 {
		callers.Go(func() {
			for k := 0; ; k++ {
				user := fmt.Sprintf("user-%d-%d", i, k)
				if ask(user) != nil { // nobody listens any more
					return
				}
				mu.Lock()
				answered = append(answered, user)
				mu.Unlock()
			}
		})
	}
	time.Sleep(time.Second) // in the middle, wherever that is
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	callers.Wait()
	if err := <-over; err != nil {
		t.Errorf("the service ended with %v\n%s", err, stderr.Bytes())
	}
	return answered
}
