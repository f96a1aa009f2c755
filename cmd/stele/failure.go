package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/cmd/internal/advice"
)

// Exit codes. Those of verdicts start at 10, in the order of backup.VerdictNames.
const (
	exitOK         = 0
	exitFailed     = 1 // could not finish
	exitUsage      = 2
	exitRefused    = 3 // some input was refused
	exitIntegrity  = 10
	exitIncomplete = 11
	exitAnchoring  = 12
	exitWORM       = 13
	exitErasure    = 14
	exitUnreadable = 15
)

// failure is an error with what the process makes of it.
type failure struct {
	code int
	err  error  // nil: what was printed says it all
	hint string // what to do, a sentence
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// usage is for a command line that makes no sense.
func usage(hint, format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...), hint}
}

// hinted adds what to do to an error that has no such advice yet.
func hinted(err error, hint string) error {
	if f := new(failure); err == nil || errors.As(err, &f) || errors.Is(err, context.Canceled) {
		return err
	}
	return &failure{exitFailed, err, hint}
}

// exit ends with a code and says no more than the answer did.
func exit(code int) error {
	if code == exitOK {
		return nil
	}
	return &failure{code: code}
}

// judge turns any error of a verb into a failure.
func (a *app) judge(err error) *failure {
	f := new(failure)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.Canceled):
		return &failure{exitFailed, errors.New("interrupted before the work was finished"), ""}
	}
	hint := advice.For(err, a.settings)
	if hint == "" {
		hint = refusedHint(err)
	}
	return &failure{exitFailed, err, hint}
}

// refusedHint says what to do about what the control log would not take, or does not know.
func refusedHint(err error) string {
	var refused *erase.RefusedError
	var unknown *erase.UnknownError
	switch {
	case errors.As(err, &refused) && refused.Why == "role":
		return "--as FILE names the role file of somebody who may: approvers approve and reject, they and holders place holds, readers ask, too; 'stele policy show' names them all"
	case errors.As(err, &unknown) && unknown.What == "hold":
		return "'stele hold list' shows the holds; one placed just now is there when 'compactor --once', or a compactor that runs, has taken it in"
	case errors.As(err, &unknown):
		return "'stele erase status' lists the requests, 'stele hold list' the holds; one made just now is there when 'compactor --once', or a compactor that runs, has taken it in"
	}
	return ""
}

// failedVerdicts lists the exit codes of all required verdicts that do not hold; the process ends with the lowest.
func failedVerdicts(r *backup.Report, require []string) (codes []int) {
	codes = []int{} // an array in JSON, empty too
	for _, name := range backup.VerdictNames() {
		asked := slices.Contains(require, name) || len(require) == 0 && r.Verdicts[name].State != backup.Unchecked
		if code := r.ExitCode(name); code != exitOK && asked {
			codes = append(codes, code)
		}
	}
	return codes
}
