package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// artefact is something that takes long to get. It is built once per version and kept in the cache.
type artefact struct {
	name    string   // of the service, for people
	version string   // a new version is a new directory
	needs   []string // commands that must be on PATH, to build it or to run it
	// build fills dir, the directory that becomes the artefact.
	build func(ctx context.Context, dir string) error
}

// missingError says which commands this machine lacks.
type missingError struct{ commands []string }

func (e *missingError) Error() string { return "not on PATH: " + strings.Join(e.commands, ", ") }

// get returns the artefact's directory and builds it first if need be. Of several processes that ask at the same time
// one builds and the others wait. A build that fails or is killed leaves nothing that would be taken for an artefact.
func (a artefact) get(ctx context.Context) (string, error) {
	if runtime.GOOS != "linux" {
		return "", errors.New("runs on Linux only")
	}
	var missing missingError
	for _, command := range a.needs {
		if _, err := exec.LookPath(command); err != nil {
			missing.commands = append(missing.commands, command)
		}
	}
	if missing.commands != nil {
		return "", &missing
	}
	if a.build == nil {
		return "", nil
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	final := filepath.Join(cache, a.name+"-"+a.version)
	if exists(final) {
		return final, nil
	}
	unlock, err := lockFile(final+".lock", true)
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(final) {
		return final, nil
	}
	return final, a.buildAt(ctx, final)
}

// buildAt builds beside final and renames. The caller holds the artefact's lock.
func (a artefact) buildAt(ctx context.Context, final string) error {
	partial := final + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return err
	}
	if err := a.build(ctx, partial); err != nil {
		return errors.Join(fmt.Errorf("building %s %s: %w", a.name, a.version, err), os.RemoveAll(partial))
	}
	return os.Rename(partial, final)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// cacheDir returns the cache's root, which it creates.
func cacheDir() (string, error) {
	dir := os.Getenv("STELE_TESTBED_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(user, "stele-testbed")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// runDir is where the shared services of one process live. Its lock is held as long as the process lives, so that
// directories of dead processes can be told and removed.
type runDir struct {
	path   string
	unlock func()
}

// newRunDir makes one, after removing those that dead processes left.
func newRunDir() (*runDir, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return newRunDirIn(filepath.Join(cache, "run"))
}

// newRunDirIn makes one in a folder, which it creates.
func newRunDirIn(run string) (*runDir, error) {
	if err := os.MkdirAll(run, 0o755); err != nil {
		return nil, err
	}
	unlockAll, err := lockFile(run+".lock", true)
	if err != nil {
		return nil, err
	}
	defer unlockAll()
	if err := removeDead(run); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(run, time.Now().UTC().Format("20060102T150405-"))
	if err != nil {
		return nil, err
	}
	unlock, err := lockFile(path+".lock", false)
	if err != nil {
		return nil, err
	}
	return &runDir{path, unlock}, nil
}

// removeDead removes the directories whose lock nobody holds. The caller holds the lock of all of run.
func removeDead(run string) error {
	locks, err := filepath.Glob(filepath.Join(run, "*.lock"))
	if err != nil {
		return err
	}
	for _, lock := range locks {
		unlock, err := lockFile(lock, false)
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return err
		}
		err = (&runDir{strings.TrimSuffix(lock, ".lock"), unlock}).remove()
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *runDir) remove() error {
	defer d.unlock()
	return errors.Join(os.RemoveAll(d.path), os.Remove(d.path+".lock"))
}

// errLocked means that somebody else holds the lock.
var errLocked = errors.New("locked by another process")
