//go:build unix

package file

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/internal/durable"
)

// crashEnv makes this test binary the process that is killed: a directory, and the number of the hook call to die at.
const crashEnv = "STELE_TEST_CRASH_DIR"

// life is what a custodian lives through in these tests: what it had told its caller when it died.
type life struct {
	Created, Destroyed bool
	Blob               []byte
	Key                string // the key in base64, to look for
}

// live creates, wraps and destroys, and calls tell after each.
func live(t testing.TB, c *Custodian, tell func(life)) error {
	var l life
	if _, err := c.Create(t.Context(), 1); err != nil {
		return err
	}
	key, err := c.load(1)
	if err != nil {
		return err
	}
	l.Created, l.Key = true, base64.StdEncoding.EncodeToString(key)
	tell(l)
	if l.Blob, err = c.Wrap(t.Context(), 1, custodian.Share{7}); err != nil {
		return err
	}
	tell(l)
	if _, err = c.Destroy(t.Context(), 1); err != nil {
		return err
	}
	l.Destroyed = true
	tell(l)
	return nil
}

// counting calls stop at the n-th call of the hook.
func counting(n int, stop func(call string) error) durable.FS {
	calls := 0
	return durable.FS{Hook: func(step durable.Step, path string, done bool) error {
		if calls++; calls == n {
			return stop(fmt.Sprintf("%s of %s, done %v", step, filepath.Ext(path), done))
		}
		return nil
	}}
}

// TestCrashHelper is no test but the process that TestKilled kills.
func TestCrashHelper(t *testing.T) {
	dir := os.Getenv(crashEnv)
	if dir == "" {
		return // only TestKilled starts it
	}
	dir, n, _ := strings.Cut(dir, "|")
	at, err := strconv.Atoi(n)
	if err != nil {
		t.Fatal(err)
	}
	die := func(call string) error {
		fmt.Println("dies at", call)
		return errors.Join(syscall.Kill(os.Getpid(), syscall.SIGKILL), errors.New("still alive"))
	}
	c, err := open(dir, testID(), disk{fs: counting(at, die), now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	err = live(t, c, func(l life) {
		line, _ := json.Marshal(l)
		fmt.Printf("life %s\n", line)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestKilled kills a process at each step of Create and Destroy.
func TestKilled(t *testing.T) {
	for n := 1; ; n++ {
		dir := filepath.Join(t.TempDir(), "keys")
		cmd := exec.Command(os.Args[0], "-test.run", "^TestCrashHelper$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", crashEnv, dir, n))
		out, err := cmd.CombinedOutput()
		var l life
		step := ""
		for line := range strings.Lines(string(out)) {
			if text, ok := strings.CutPrefix(line, "life "); ok {
				if err := json.Unmarshal([]byte(text), &l); err != nil {
					t.Fatal(err)
				}
			}
			if text, ok := strings.CutPrefix(line, "dies at "); ok {
				step = strings.TrimSpace(text)
			}
		}
		if step == "" {
			if err != nil || !l.Destroyed {
				t.Fatalf("call %d was not reached: %v\n%s", n, err, out)
			}
			enough(t, n)
			return
		}
		t.Run(step, func(t *testing.T) { resumes(t, dir, l) })
	}
}

// TestStepFails lets each step fail, before and after it had its effect.
func TestStepFails(t *testing.T) {
	for n := 1; ; n++ {
		dir, step := filepath.Join(t.TempDir(), "keys"), ""
		fail := func(call string) error {
			step = call
			return errors.New("injected")
		}
		c, err := open(dir, testID(), disk{fs: counting(n, fail), now: time.Now})
		var l life
		if err == nil {
			err = live(t, c, func(now life) { l = now })
		}
		if step == "" {
			if err != nil {
				t.Fatal(err)
			}
			enough(t, n)
			return
		}
		if err == nil {
			t.Errorf("%s: the fault was not reported", step)
		}
		t.Run(step, func(t *testing.T) { resumes(t, dir, l) })
	}
}

// TestDiskRefuses: what a disk refuses, a full one for example, is worth another try at each step, and says what to do.
func TestDiskRefuses(t *testing.T) {
	for refusal, remedy := range map[syscall.Errno]string{
		syscall.ENOSPC: "make room", syscall.EDQUOT: "quota", syscall.EROFS: "mount it writable", syscall.EIO: "replace it",
	} {
		n, refused := 1, true
		for ; refused; n++ {
			refused = false
			fail := func(string) error {
				refused = true
				return &fs.PathError{Op: "write", Path: "x", Err: refusal}
			}
			c, err := open(filepath.Join(t.TempDir(), "keys"), testID(), disk{fs: counting(n, fail), now: time.Now})
			if err == nil {
				err = live(t, c, func(life) {})
			}
			if refused && (!errors.Is(err, custodian.ErrUnavailable) || !errors.Is(err, refusal) || !strings.Contains(err.Error(), remedy)) {
				t.Errorf("step %d: %v", n, err)
			}
		}
		enough(t, n)
	}
}

// enough makes sure that the hooks were there.
func enough(t *testing.T, n int) {
	t.Helper()
	if n < 40 {
		t.Errorf("only %d steps were stopped at", n-1)
	}
}

// resumes checks what is left, and that it can be gone on with.
func resumes(t *testing.T, dir string, l life) {
	c := mustOpen(t, dir, testID())
	s, err := c.Status(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if l.Created && s.State == custodian.Unknown || l.Destroyed && s.State != custodian.Destroyed {
		t.Errorf("%+v, and now the state is %v", l, s.State)
	}
	if s.State == custodian.Destroyed {
		absent(t, dir, l.Key)
	}
	if l.Blob != nil {
		_, err := c.Unwrap(t.Context(), 1, l.Blob)
		if err != nil && !errors.Is(err, custodian.ErrDestroyed) {
			t.Errorf("unwrap: %v", err)
		}
		if err == nil && s.State != custodian.Live {
			t.Errorf("unwrapped in state %v", s.State)
		}
	} else { // it died while it created: once more
		_, blob := wrapped(t, c, 1)
		if _, err := c.Unwrap(t.Context(), 1, blob); err != nil {
			t.Error(err)
		}
	}
	if s, err = c.Destroy(t.Context(), 1); err != nil || s.State != custodian.Destroyed {
		t.Fatalf("destroy: %v, %v", s.State, err)
	}
	if l.Blob != nil {
		if _, err := c.Unwrap(t.Context(), 1, l.Blob); !errors.Is(err, custodian.ErrDestroyed) {
			t.Errorf("unwrap at last: %v", err)
		}
	}
	absent(t, dir, l.Key)
	for _, name := range names(t, dir) {
		if strings.HasSuffix(name, ".key") {
			t.Errorf("left: %s", name)
		}
	}
	wrapped(t, c, 2) // which cleans up behind the marks, too
	for _, name := range names(t, dir) {
		if strings.HasPrefix(name, ".tmp~") {
			t.Errorf("left: %s", name)
		}
	}
}

// absent looks for a key in all files.
func absent(t *testing.T, dir, key string) {
	t.Helper()
	if key == "" {
		return
	}
	for _, name := range names(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || bytes.Contains(data, []byte(key)) {
			t.Errorf("%s holds the key, or %v", name, err)
		}
	}
}

// TestCrashBetweenLinkAndRemove: the second name of a live key is cleaned away without harm to the key.
func TestCrashBetweenLinkAndRemove(t *testing.T) {
	c := mustOpen(t, filepath.Join(t.TempDir(), "keys"), testID())
	share, blob := wrapped(t, c, 1)
	if err := os.Link(c.keyPath(1), filepath.Join(c.dir, ".tmp~0123")); err != nil {
		t.Fatal(err)
	}
	wrapped(t, c, 2)
	if got, err := c.Unwrap(t.Context(), 1, blob); err != nil || got != share {
		t.Errorf("a live key was lost: %v", err)
	}
	if all := strings.Join(names(t, c.dir), " "); strings.Contains(all, "tmp") {
		t.Errorf("left: %s", all)
	}
}

// TestProcesses lets processes create and destroy at the same time, with each other's help.
func TestProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	const processes = 4
	errs := make(chan error, processes)
	for range processes {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestProcessHelper$")
		cmd.Env = append(os.Environ(), "STELE_TEST_SHARED_DIR="+dir)
		go func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w\n%s", err, out)
			}
			errs <- err
		}()
	}
	for range processes {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, name := range names(t, dir) {
		if strings.HasSuffix(name, ".key") || strings.HasPrefix(name, ".tmp~") {
			t.Errorf("left: %s", name)
		}
	}
}

// TestProcessHelper is one of the processes of TestProcesses.
func TestProcessHelper(t *testing.T) {
	dir := os.Getenv("STELE_TEST_SHARED_DIR")
	if dir == "" {
		return // only TestProcesses starts it
	}
	c := mustOpen(t, dir, testID())
	for generation := range uint64(30) {
		if _, err := c.Create(t.Context(), generation); err != nil && !errors.Is(err, custodian.ErrDestroyed) {
			t.Fatal(err)
		}
		blob, err := c.Wrap(t.Context(), generation, custodian.Share{9})
		if err == nil {
			if _, err = c.Unwrap(t.Context(), generation, blob); errors.Is(err, custodian.ErrBlob) {
				t.Fatalf("two keys for one generation: %v", err)
			}
		}
		if err != nil && !errors.Is(err, custodian.ErrDestroyed) {
			t.Fatal(err)
		}
		if s, err := c.Destroy(t.Context(), generation); err != nil || s.State != custodian.Destroyed {
			t.Fatalf("%v, %v", s.State, err)
		}
	}
}
