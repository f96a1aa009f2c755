package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// artefacts lists all that Prepare gets, quick ones first.
func artefacts() []artefact {
	return []artefact{kcatArtefact(), softhsmArtefact(), kafkaArtefact(), pythonArtefact(), versitygwArtefact(),
		fsckArtefact(), litewitnessArtefact(), trillianArtefact(), minioArtefact(), vaultArtefact()}
}

// Prepare gets everything that the tests of this repository use, and writes one line for each to w: what is there and
// how long it took, or what this machine lacks. With CI=true the latter is an error, which comes after all were tried.
func Prepare(ctx context.Context, w io.Writer) error {
	consequence := "its tests are skipped"
	if inCI() {
		consequence = "its tests would fail"
	}
	var errs []error
	for _, a := range artefacts() {
		start := time.Now()
		_, err := a.get(ctx)
		switch {
		case err == nil:
			fmt.Fprintf(w, "%-10s %-42s ready in %v\n", a.name, a.version, time.Since(start).Round(100*time.Millisecond))
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			fmt.Fprintf(w, "%-10s %-42s %s: %s\n", a.name, a.version, consequence, oneLine(err))
			errs = append(errs, fmt.Errorf("%s: %w", a.name, err))
		}
	}
	if inCI() {
		return errors.Join(errs...)
	}
	return nil
}

func kafkaArtefact() artefact {
	const version = "4.4.0"
	// The XML namespace is optional to Maven.
	const pom = `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>stele.testbed</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>` + version + `</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
`
	return artefact{name: "kafka", version: version, needs: []string{"java", "mvn"},
		build: func(ctx context.Context, dir string) error {
			if err := os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(pom), 0o644); err != nil {
				return err
			}
			err := run(ctx, dir, os.Environ(), "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs")
			if err != nil {
				return err
			}
			// An older Java than Kafka needs shows here rather than in every test.
			return run(ctx, dir, os.Environ(), kafkaJava(dir, "kafka.tools.StorageTool", "random-uuid")...)
		}}
}

func minioArtefact() artefact {
	// Its repository is archived; this is its last module. It is licensed under the AGPL: a server to test against,
	// never to import.
	return goArtefact("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
}

func versitygwArtefact() artefact {
	return goArtefact("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
}

// goArtefact is a command written in Go.
func goArtefact(name, pkg, version string) artefact {
	return artefact{name: name, version: version, needs: []string{"go"},
		build: func(ctx context.Context, dir string) error {
			return run(ctx, dir, append(buildEnv(), "GOBIN="+dir), niced("go", "install", "-p", "2", "-ldflags=-s -w", pkg+"@"+version)...)
		}}
}

// buildEnv is the environment for building servers: the settings of the build that runs us (-race, say) are not for them.
// Two compilers at a time, so that a build of minutes does not starve what goes on beside it.
func buildEnv() []string {
	return append(os.Environ(), "GOFLAGS=", "GOTOOLCHAIN=local", "GOOS=", "GOARCH=", "CGO_ENABLED=0", "GOMAXPROCS=2", "GOWORK=off")
}

// niced lets a command run behind everybody else.
func niced(argv ...string) []string {
	if _, err := exec.LookPath("nice"); err == nil {
		return append([]string{"nice", "-n", "10"}, argv...)
	}
	return argv
}

// output returns what a command prints, without white space around it.
func output(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = buildEnv()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

func pythonArtefact() artefact {
	const pyarrow, duckdb, cryptography = "26.0.1", "2.0.0", "48.0.0"
	return artefact{name: "python", version: "pyarrow-" + pyarrow + "-duckdb-" + duckdb + "-cryptography-" + cryptography, needs: []string{"python3"},
		build: func(ctx context.Context, dir string) error {
			if err := run(ctx, dir, os.Environ(), "python3", "-m", "venv", "."); err != nil {
				return err
			}
			err := run(ctx, dir, os.Environ(), interpreter(dir), "-m", "pip", "install", "-q", "pyarrow=="+pyarrow, "duckdb=="+duckdb,
				"cryptography=="+cryptography)
			if err != nil {
				return err
			}
			return run(ctx, dir, os.Environ(), interpreter(dir), "-c", "import pyarrow, duckdb, cryptography")
		}}
}

func interpreter(dir string) string { return filepath.Join(dir, "bin", "python") }

// Python returns the path of a Python interpreter that has pyarrow, duckdb and cryptography, or skips the test (fails it with CI=true)
// where Python is missing.
func Python(t testing.TB) string {
	t.Helper()
	dir, err := pythonArtefact().get(t.Context())
	if err != nil {
		unavailable(t, "Python with pyarrow, duckdb and cryptography", err)
	}
	return interpreter(dir)
}

func kcatArtefact() artefact {
	return artefact{name: "kcat", version: "as installed", needs: []string{"kcat"}}
}

// Kcat returns the path of the kcat command, or skips the test (fails it with CI=true) where it is not installed.
func Kcat(t testing.TB) string {
	t.Helper()
	if _, err := kcatArtefact().get(t.Context()); err != nil {
		unavailable(t, "kcat", err)
	}
	path, err := exec.LookPath("kcat")
	if err != nil {
		unavailable(t, "kcat", err)
	}
	return path
}

// run runs a command to its end. Its output is in the error if it fails. It dies with this process.
func run(ctx context.Context, dir string, env []string, argv ...string) error {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, env
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = childAttr(nil)
	cmd.Cancel = func() error { return signalGroup(cmd.Process.Pid, 9) }
	var err error
	onChildThread(func() { err = cmd.Run() })
	if err == nil {
		return nil
	}
	printed := bytes.TrimSpace(output.Bytes())
	if tail := 2000; len(printed) > tail {
		printed = printed[len(printed)-tail:]
	}
	return fmt.Errorf("%s: %w\n%s", argv[0], err, printed)
}
