// Command compactor moves what writers sent from Kafka or a spool into an archive, and commits it. It opens no payload.
//
// Several may run at once, on one machine or on many: they share the partitions, and the store's create-only write
// decides between them. 'compactor --help' lists the settings; docs/OPERATIONS.md says how to run it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/stelelog/stele/cmd/internal/advice"
)

// Exit codes, as those of stele.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole command but for the process around it. It returns the exit code.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	cmd, work := newCommand(env, stderr)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "error: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	bad := new(setupError)
	switch {
	case !work.begun:
		fmt.Fprintln(stderr, "hint: 'compactor --help' shows how it is used")
		return exitUsage
	case errors.As(err, &bad):
		fmt.Fprintf(stderr, "hint: %s\n", bad.hint)
		return exitUsage
	}
	if hint := advice.For(err, work.settings); hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	return exitFailed
}

// setupError is a setting that makes no sense, and what to do about it.
type setupError struct {
	err  error
	hint string
}

func (e *setupError) Error() string { return e.err.Error() }
func (e *setupError) Unwrap() error { return e.err }

func badSetup(hint, format string, args ...any) error {
	return &setupError{fmt.Errorf(format, args...), hint}
}
