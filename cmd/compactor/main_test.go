package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/stelelog/stele/internal/testbed"
)

// patience bounds every wait of the scripts.
const patience = 2 * time.Minute

// TestMain makes the test binary the command compactor, too, for the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"compactor": main})
}

// TestScripts runs testdata/script. The scripts are written to be read.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "../stele")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Values[gateKey{}] = new(testbed.Gate)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit": cmdExit, "port": cmdPort, "get": cmdGet, "await": cmdAwait, "until": cmdUntil, "term": cmdTerm, "broker": cmdBroker,
		},
	})
}

// cmdExit runs a command and wants an exit code: exit CODE COMMAND ARGUMENT…
func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND [ARGUMENT…]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code, exit := 0, new(exec.ExitError)
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// cmdPort finds a free port of the loopback interface: port VARIABLE
func cmdPort(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(errors.Join(err, l.Close()))
	ts.Setenv(args[0], port)
}

// cmdGet gets a page as soon as it is served, and wants a status: get STATUS URL
func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(args[1])
		if last = err; err != nil {
			continue
		}
		_, err = io.Copy(ts.Stdout(), resp.Body)
		resp.Body.Close()
		ts.Check(err)
		if got := strconv.Itoa(resp.StatusCode); got != args[0] {
			ts.Fatalf("%s: status %s, want %s", args[1], got, args[0])
		}
		return
	}
	ts.Fatalf("%v", last)
}

// cmdAwait gets a page until it has a status, and a line: await STATUS URL [LINE]
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	last := "no answer"
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(args[1])
		if err != nil {
			continue
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		ts.Check(err)
		last = strconv.Itoa(resp.StatusCode)
		if last == args[0] && (len(args) < 3 || slices.Contains(strings.Split(string(page), "\n"), args[2])) {
			_, err = ts.Stdout().Write(page)
			ts.Check(err)
			return
		}
	}
	ts.Fatalf("%s: status %s, want %s", args[1], last, args[0])
}

type gateKey struct{}

// cmdBroker starts a Kafka cluster in this process, at $KAFKA, and cuts it off the network for a while: broker start|cut|back
func cmdBroker(ts *testscript.TestScript, neg bool, args []string) {
	gate := ts.Value(gateKey{}).(*testbed.Gate)
	if args[0] != "start" {
		gate.Shut(args[0] == "cut")
		return
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(gate.Listen))
	ts.Check(err)
	ts.Defer(cluster.Close)
	ts.Setenv("KAFKA", cluster.ListenAddrs()[0])
}

// cmdTerm sends SIGTERM to the background command with an argument that contains a text: term TEXT
func cmdTerm(ts *testscript.TestScript, neg bool, args []string) {
	for _, cmd := range ts.BackgroundCmds() {
		if strings.Contains(strings.Join(cmd.Args, " "), args[0]) {
			ts.Check(cmd.Process.Signal(syscall.SIGTERM))
			return
		}
	}
	ts.Fatalf("no background command with %q", args[0])
}

// cmdUntil repeats a command until it ends with exit code 0: until COMMAND ARGUMENT…
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = ts.Exec(args[0], args[1:]...); err == nil {
			return
		}
	}
	ts.Fatalf("%s: %v", fmt.Sprint(args), err)
}
