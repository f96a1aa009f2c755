package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TrillianLog is a running Trillian log server with its signer, on a PostgreSQL of their own.
type TrillianLog struct {
	// Addr is the host and port of its gRPC services, which have no TLS.
	Addr string

	database, server, signer *Server
	psql                     []string
}

func trillianArtefact() artefact {
	a := artefact{name: "trillian", version: "v1.8.0", needs: []string{"go"}}
	a.build = func(ctx context.Context, dir string) error {
		const module = "github.com/google/trillian"
		for _, command := range []string{"trillian_log_server", "trillian_log_signer"} {
			err := run(ctx, dir, append(buildEnv(), "GOBIN="+dir), niced("go", "install", "-p", "2", "-ldflags=-s -w",
				"-tags", "postgresql,etcd", module+"/cmd/"+command+"@"+a.version)...)
			if err != nil {
				return err
			}
		}
		source, err := moduleDir(ctx, module, a.version)
		if err != nil {
			return err
		}
		schema, err := os.ReadFile(filepath.Join(source, "storage/postgresql/schema/storage.sql"))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "storage.sql"), schema, 0o644)
	}
	return a
}

// Trillian returns a Trillian log server of the test's own, or skips the test (fails it with CI=true) where it cannot be built or
// PostgreSQL is not installed.
func Trillian(t testing.TB) *TrillianLog {
	t.Helper()
	programs, err := postgresPrograms()
	if err != nil {
		unavailable(t, "PostgreSQL (Debian package postgresql)", err)
	}
	bin, err := trillianArtefact().get(t.Context())
	if err != nil {
		unavailable(t, "Trillian", err)
	}
	log := new(TrillianLog)
	port := log.startDatabase(t, programs)
	log.Query(t, "postgres", "CREATE DATABASE trillian")
	schema, err := os.ReadFile(filepath.Join(bin, "storage.sql"))
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	log.Query(t, "trillian", string(schema))
	storage := []string{"--storage_system=postgresql", "--quota_system=noop",
		fmt.Sprintf("--postgresql_uri=postgresql://postgres@127.0.0.1:%d/trillian?sslmode=disable", port)}
	start := func(name string, args ...string) *Server {
		return serve(t, name, options{dedicated: true}, func(dir string) (*Server, *Server, error) {
			var s *Server
			server, err := startFresh(func() (*Server, error) {
				ports, err := takePorts(2)
				if err != nil {
					return nil, err
				}
				s = &Server{Dir: dir, name: name, ports: ports, ready: httpReady("http://"+ports[1].addr()+"/healthz", http.StatusOK)}
				s.argv = slices.Concat([]string{filepath.Join(bin, name)}, storage, args,
					[]string{"--rpc_endpoint=" + ports[0].addr(), "--http_endpoint=" + ports[1].addr()})
				return s, nil
			})
			return s, server, err
		})
	}
	log.server = start("trillian_log_server")
	log.signer = start("trillian_log_signer", "--force_master", "--sequencer_interval=100ms", "--batch_size=500")
	log.Addr = log.server.ports[0].addr()
	t.Cleanup(func() { // an orderly end takes seconds, and nothing is kept
		for _, s := range []*Server{log.signer, log.server, log.database} {
			_ = s.Kill() // unless it ended before, which its own cleanup reports
		}
	})
	return log
}

// Kill ends all its processes at once, as a power failure would.
func (l *TrillianLog) Kill() error {
	var errs []error
	for _, s := range []*Server{l.signer, l.server, l.database} {
		errs = append(errs, s.Kill())
	}
	return errors.Join(errs...)
}

// Start starts them again on the data that they had. A database that was killed does not start before the last of its
// processes has noticed.
func (l *TrillianLog) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for l.database.Start(ctx) != nil && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
	}
	for _, s := range []*Server{l.server, l.signer} {
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// KillSigner ends what puts queued leaves into trees.
func (l *TrillianLog) KillSigner() error { return l.signer.Kill() }

// StartSigner starts it again.
func (l *TrillianLog) StartSigner(ctx context.Context) error { return l.signer.Start(ctx) }

// startDatabase starts an empty PostgreSQL and returns its port.
func (l *TrillianLog) startDatabase(t testing.TB, programs string) int {
	t.Helper()
	dir, as := unprivilegedDir(t)
	initdb := exec.CommandContext(t.Context(), filepath.Join(programs, "initdb"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", "-D", filepath.Join(dir, "data"))
	initdb.Dir, initdb.Env, initdb.SysProcAttr = dir, baseEnv(dir), childAttr(as)
	var out []byte
	var err error
	onChildThread(func() { out, err = initdb.CombinedOutput() })
	if err != nil {
		t.Fatalf("testbed: initdb: %v\n%s", err, out)
	}
	l.database = serve(t, "PostgreSQL", options{dedicated: true}, func(string) (*Server, *Server, error) {
		var s *Server
		server, err := startFresh(func() (*Server, error) {
			ports, err := takePorts(1)
			if err != nil {
				return nil, err
			}
			port := strconv.Itoa(ports[0].number)
			l.psql = []string{filepath.Join(programs, "psql"), "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-q", "-t", "-A"}
			s = &Server{Dir: dir, name: "PostgreSQL", ports: ports, user: as,
				argv: []string{filepath.Join(programs, "postgres"), "-D", filepath.Join(dir, "data"), "-h", "127.0.0.1", "-p", port,
					"-k", "", "-c", "fsync=off", "-c", "shared_buffers=16MB"},
				ready: func(ctx context.Context) error {
					_, err := l.query(ctx, "postgres", "SELECT 1")
					return err
				}}
			return s, nil
		})
		return s, server, err
	})
	return l.database.ports[0].number
}

// Query runs SQL in a database ("trillian") and returns what it prints.
func (l *TrillianLog) Query(t testing.TB, database, sql string) string {
	t.Helper()
	out, err := l.query(t.Context(), database, sql)
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	return out
}

func (l *TrillianLog) query(ctx context.Context, database, sql string) (string, error) {
	cmd := exec.CommandContext(ctx, l.psql[0], append(l.psql[1:], "-d", database)...)
	cmd.Stdin, cmd.Env = strings.NewReader(sql), baseEnv(os.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

// postgresPrograms is the folder of the programs of the newest PostgreSQL that is installed.
func postgresPrograms() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append(found, path)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	if len(found) == 0 {
		return "", errors.New("no program postgres in /usr/lib/postgresql or on PATH")
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// unprivilegedDir makes a directory for a server that refuses to run as root, and says as whom it shall run: nil for the user of
// this process. Directories of dead processes are removed.
func unprivilegedDir(t testing.TB) (string, *account) {
	t.Helper()
	base := filepath.Join(os.TempDir(), "stele-testbed-"+strconv.Itoa(os.Getuid()))
	dir, err := newRunDirIn(base)
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	t.Cleanup(func() {
		if err := dir.remove(); err != nil {
			t.Errorf("testbed: %v", err)
		}
	})
	if os.Getuid() != 0 {
		return dir.path, nil
	}
	as, err := someUser()
	if err == nil {
		err = errors.Join(os.Chmod(base, 0o711), os.Chown(dir.path, int(as.uid), int(as.gid)))
	}
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	return dir.path, as
}

func someUser() (*account, error) {
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
			gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
			return &account{uint32(uid), uint32(gid)}, errors.Join(err1, err2)
		}
	}
	return nil, errors.New("no user postgres or nobody, and the server refuses to run as root")
}
