package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kfake"
)

// TestMain makes the test binary the command stele, too, for the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"stele": main})
}

// TestScripts runs testdata/script, one script a verb. They are written to be read: each is a short manual.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "../compactor")
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
			env.Values[brokerKey{}] = new(broker)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit":   cmdExit,
			"flip":   cmdFlip,
			"lines":  cmdLines,
			"json":   cmdJSON,
			"let":    cmdLet,
			"crash":  cmdCrash,
			"broker": cmdBroker, "topic": cmdTopic, "consume": cmdConsume, "truncate": cmdTruncate,
		},
	})
}

// broker is the Kafka cluster of one script.
type broker struct {
	cluster *kfake.Cluster // nil while it is stopped
	port    int            // 0 before the first start
}

type brokerKey struct{}

// cmdBroker starts a Kafka cluster in this process, at $KAFKA, or stops it: broker start|stop. One that is started again
// has the same address and has forgotten everything.
func cmdBroker(ts *testscript.TestScript, neg bool, args []string) {
	b := ts.Value(brokerKey{}).(*broker)
	if args[0] == "stop" {
		b.cluster.Close()
		b.cluster = nil
		return
	}
	ts.Check(b.start())
	ts.Setenv("KAFKA", b.cluster.ListenAddrs()[0])
	ts.Defer(b.cluster.Close)
}

// start takes any port the first time, then the same one; if somebody else has that for a moment, it tries again.
func (b *broker) start() (err error) {
	options := []kfake.Opt{kfake.NumBrokers(1)}
	if b.port != 0 {
		options = append(options, kfake.Ports(b.port))
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if b.cluster, err = kfake.NewCluster(options...); err != nil {
			continue
		}
		_, port, err := net.SplitHostPort(b.cluster.ListenAddrs()[0])
		if err != nil {
			return err
		}
		b.port, err = strconv.Atoi(port)
		return err
	}
	return err
}

// cmdExit runs a command and wants an exit code: exit CODE COMMAND ARGUMENT…
func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND [ARGUMENT…]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := err.(*exec.ExitError); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// cmdFlip flips one bit in the middle of the files that match a pattern: flip PATTERN
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: flip PATTERN")
	}
	paths, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(paths) == 0 {
		ts.Fatalf("no file matches %s", args[0])
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		ts.Check(err)
		data[len(data)/2] ^= 1
		ts.Check(os.Chmod(path, 0o600))
		ts.Check(os.WriteFile(path, data, 0o600))
	}
}
