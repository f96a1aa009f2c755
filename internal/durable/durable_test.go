package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/durable"
)

var (
	before = []byte("what was there before")
	data   = []byte(strings.Repeat("what is written stays. ", 1000))
)

// operation is one durable operation on the file or directory "sub/target", whose directory exists.
type operation struct {
	name  string
	run   func(f durable.FS, path string) error
	setup func(t *testing.T, path string)
	// steps of a run in which nothing fails
	steps []durable.Step
	// visible says whether the path shows the whole effect; anything between is a test failure.
	visible func(t *testing.T, path string) bool
}

func operations() []operation {
	nothing := func(*testing.T, string) {}
	existing := func(t *testing.T, path string) {
		if err := os.WriteFile(path, before, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	content := func(old, new []byte) func(*testing.T, string) bool {
		return func(t *testing.T, path string) bool {
			t.Helper()
			got, err := os.ReadFile(path)
			switch {
			case errors.Is(err, fs.ErrNotExist) && old == nil:
				return false
			case err != nil:
				t.Fatal(err)
			case string(got) == string(new):
				return true
			case old == nil || string(got) != string(old):
				t.Fatalf("%s shows %d bytes that are neither old nor new", path, len(got))
			}
			return false
		}
	}
	return []operation{{
		name:    "Create",
		run:     func(f durable.FS, path string) error { return f.Create(path, data, 0o444) },
		setup:   nothing,
		visible: content(nil, data),
		steps: []durable.Step{durable.StepCreate, durable.StepWrite, durable.StepSync, durable.StepClose,
			durable.StepLink, durable.StepRemove, durable.StepOpenDir, durable.StepSyncDir},
	}, {
		name:    "WriteFile",
		run:     func(f durable.FS, path string) error { return f.WriteFile(path, data, 0o644) },
		setup:   existing,
		visible: content(before, data),
		steps: []durable.Step{durable.StepCreate, durable.StepWrite, durable.StepSync, durable.StepClose,
			durable.StepRename, durable.StepOpenDir, durable.StepSyncDir},
	}, {
		name:    "Append",
		run:     func(f durable.FS, path string) error { return f.Append(path, data, 0o644) },
		setup:   existing,
		visible: content(before, slices.Concat(before, data)),
		steps: []durable.Step{durable.StepOpen, durable.StepWrite, durable.StepSync, durable.StepClose,
			durable.StepOpenDir, durable.StepSyncDir},
	}, {
		name:  "MkdirAll",
		run:   func(f durable.FS, path string) error { return f.MkdirAll(filepath.Join(path, "deep"), 0o755) },
		setup: nothing,
		visible: func(t *testing.T, path string) bool {
			_, err := os.Stat(filepath.Join(path, "deep"))
			return err == nil
		},
		// The parent of what exists, then two levels.
		steps: []durable.Step{durable.StepOpenDir, durable.StepSyncDir,
			durable.StepMkdir, durable.StepOpenDir, durable.StepSyncDir,
			durable.StepMkdir, durable.StepOpenDir, durable.StepSyncDir},
	}}
}

// script fails the step number fail, before or after its effect, and remembers all steps.
type script struct {
	fail  int
	after bool
	seen  []durable.Step
}

func (s *script) hook(step durable.Step, path string, done bool) error {
	if !done {
		s.seen = append(s.seen, step)
	}
	if len(s.seen)-1 == s.fail && done == s.after {
		return syscall.ENOSPC
	}
	return nil
}

func target(t *testing.T, op operation) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "target")
	op.setup(t, path)
	return path
}

func TestStepOrder(t *testing.T) {
	for _, op := range operations() {
		s := script{fail: -1}
		path := target(t, op)
		if err := op.run(durable.FS{Hook: s.hook}, path); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
		if !slices.Equal(s.seen, op.steps) {
			t.Errorf("%s: steps\n%q, want\n%q", op.name, s.seen, op.steps)
		}
		if !op.visible(t, path) {
			t.Errorf("%s returned nil but has no effect", op.name)
		}
		mustHaveNoTemp(t, filepath.Dir(path))
	}
}

// TestFailingSteps fails every step of every operation in both ways: not done, and done but reported
// failed. Whatever happens the path shows all or nothing, the error names step and path and wraps the
// errno, no temporary file is left, and a repetition repairs it.
func TestFailingSteps(t *testing.T) {
	for _, op := range operations() {
		for i, step := range op.steps {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d-%s/after=%v", op.name, i, step, after), func(t *testing.T) {
					path := target(t, op)
					s := script{fail: i, after: after}
					err := op.run(durable.FS{Hook: s.hook}, path)
					mustName(t, err, step)
					mustHaveNoTempExcept(t, filepath.Dir(path), step == durable.StepRemove && !after)
					if op.name == "Append" {
						return // it promises no more than an error; see its caller
					}
					visible := op.visible(t, path)
					effect := slices.IndexFunc(op.steps, func(s durable.Step) bool {
						return s == durable.StepLink || s == durable.StepRename
					})
					if want := i > effect || i == effect && after; effect >= 0 && visible != want {
						t.Errorf("visible %v, want %v", visible, want)
					}
					err = op.run(durable.FS{}, path)
					if op.name == "Create" && visible {
						if !errors.Is(err, fs.ErrExist) {
							t.Errorf("repetition: %v, want that it exists", err)
						}
					} else if err != nil {
						t.Errorf("repetition: %v", err)
					}
					if !op.visible(t, path) {
						t.Error("no effect after the repetition")
					}
				})
			}
		}
	}
}

func mustName(t *testing.T, err error, step durable.Step) {
	t.Helper()
	var pathErr *fs.PathError
	if !errors.As(err, &pathErr) || pathErr.Op != string(step) || !filepath.IsAbs(pathErr.Path) {
		t.Errorf("error %v does not name step %q and path", err, step)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v does not wrap the errno", err)
	}
	if errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v passes for fs.ErrExist", err)
	}
}

func mustHaveNoTemp(t *testing.T, dir string) {
	t.Helper()
	mustHaveNoTempExcept(t, dir, false)
}

func mustHaveNoTempExcept(t *testing.T, dir string, one bool) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, ".tmp*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 1 || len(found) == 1 && !one {
		t.Errorf("temporary files left: %q", found)
	}
}

// TestCrash stops the process, as far as a test can, before and after every step of Create: what is
// visible is whole, and RemoveStale takes what is left.
func TestCrash(t *testing.T) {
	op := operations()[0]
	for i := range op.steps {
		for _, after := range []bool{false, true} {
			path := target(t, op)
			s := script{fail: -1}
			crash := func(step durable.Step, p string, done bool) error {
				s.hook(step, p, done)
				if len(s.seen)-1 == i && done == after {
					panic("crash")
				}
				return nil
			}
			func() {
				defer func() { recover() }()
				op.run(durable.FS{Hook: crash}, path)
			}()
			op.visible(t, path) // fails on partial content
			durable.RemoveStale(filepath.Dir(path), time.Hour)
			durable.RemoveStale(filepath.Dir(path), -time.Hour)
			mustHaveNoTemp(t, filepath.Dir(path))
			if err := op.run(durable.FS{}, path); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Errorf("after a crash at step %d: %v", i, err)
			}
			if !op.visible(t, path) {
				t.Errorf("after a crash at step %d and a repetition: not there", i)
			}
		}
	}
}

func TestRemoveStaleLeavesTheRest(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".tmp~0011", "object", ".hidden"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	durable.RemoveStale(dir, time.Hour)
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("a fresh temporary file was removed: %v", entries)
	}
	durable.RemoveStale(dir, -time.Hour)
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left: %v", entries)
	}
	durable.RemoveStale(filepath.Join(dir, "missing"), 0)
}

func TestCreateRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "target")
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() { errs[i] = durable.Create(path, []byte(fmt.Sprint(i)), 0o444) })
	}
	wg.Wait()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	winners := 0
	for i, err := range errs {
		switch {
		case err == nil:
			winners++
			if string(got) != fmt.Sprint(i) {
				t.Errorf("%d won but %q is there", i, got)
			}
		case !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
	}
	if winners != 1 {
		t.Errorf("%d winners", winners)
	}
	mustHaveNoTemp(t, filepath.Dir(path))
	if info, _ := os.Stat(path); info.Mode().Perm()&0o222 != 0 {
		t.Errorf("mode %v", info.Mode())
	}
}

// TestExistingNameIsSynced: a caller takes ErrExist for "it is there for good", so the name that somebody
// else made must be durable before that error is returned.
func TestExistingNameIsSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "target")
	if err := durable.Create(path, before, 0o444); err != nil {
		t.Fatal(err)
	}
	s := script{fail: -1}
	if err := (durable.FS{Hook: s.hook}).Create(path, data, 0o444); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("error %v", err)
	}
	if !slices.Contains(s.seen, durable.StepSyncDir) {
		t.Errorf("steps %q", s.seen)
	}
}

func TestMkdirAllOverFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "sub")} {
		if err := durable.MkdirAll(path, 0o755); err == nil {
			t.Errorf("MkdirAll(%s) over a file succeeded", path)
		}
	}
}

func TestRealErrno(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err == nil {
		if err := (durable.FS{}).Append("/dev/full", data, 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("full device: %v", err)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing", "target")
	for _, err := range []error{
		durable.Create(missing, data, 0o444),
		durable.WriteFile(missing, data, 0o444),
		durable.FS{}.SyncDir(missing),
	} {
		var pathErr *fs.PathError
		if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &pathErr) {
			t.Errorf("missing folder: %v", err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		if err := durable.Create(filepath.Join(dir, fmt.Sprint(i)), data, 0o444); err != nil {
			b.Fatal(err)
		}
	}
}
