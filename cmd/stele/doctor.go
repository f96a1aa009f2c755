package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/probe"
)

func (a *app) doctorCommand() *cobra.Command {
	var fix bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what is wrong with the set-up",
		Long: `Go through everything that an archive needs: settings, trust file, store, locks, transport, credential,
role folders, key service, compactor. Each answer that is not ok says what to do.

Doctor does not believe what the store says of its locks: it writes canaries under probe/ and tries to
delete, shorten and overwrite them. With the admin folder at hand the outcome goes into the archive's
control log. The canaries stay locked for a quarter of an hour.

--fix repairs what can be repaired without a decision: modes of role files, missing topics and folders.
The exit code is 13 if the store does not hold what it should, 1 if anything else is wrong.`,
		Example: `  stele doctor
  stele doctor --fix`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.doctor(cmd.Context(), fix) }),
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "repair what can be repaired")
	return cmd
}

// check is one question and its answer.
type check struct {
	probe.Result
	Warning bool   `json:"warning,omitempty"` // worth a look, and no failure
	Fixed   bool   `json:"fixed,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// doctorAnswer lists checks.
type doctorAnswer struct {
	Checks []check `json:"checks"`
}

func (d *doctorAnswer) print(w io.Writer) {
	for _, c := range d.Checks {
		line := probeLine(c.Result)
		switch {
		case c.Fixed:
			line = "fixed" + line[4:]
		case c.Warning:
			line = "look " + line[4:]
		default:
			line = line[:4] + " " + line[4:]
		}
		fmt.Fprintln(w, redact(line))
		if c.Hint != "" && (!c.OK || c.Warning) && !c.Fixed {
			fmt.Fprintf(w, "       → %s\n", c.Hint)
		}
	}
}

// exam is one run of the doctor.
type exam struct {
	app    *app
	site   *site
	fix    bool
	answer *doctorAnswer
	worm   bool // the store does not hold

	archive *backup.Archive // nil if it does not open, which is told
}

func (a *app) doctor(ctx context.Context, fix bool) (answer, error) {
	s, err := a.site("admin")
	if err != nil {
		return nil, err
	}
	e := &exam{app: a, site: s, fix: fix, answer: new(doctorAnswer)}
	e.settings()
	e.store(ctx)
	e.transport(ctx)
	e.writerCredential()
	e.roles()
	e.compactor(ctx)
	e.keyService(ctx)
	e.clock(ctx)
	code := exitOK
	for _, c := range e.answer.Checks {
		if !c.OK && !c.Fixed {
			code = exitFailed
		}
	}
	if e.worm {
		code = exitWORM
	}
	return e.answer, exit(code)
}

func (e *exam) ok(name, format string, args ...any) {
	e.add(check{Result: probe.Result{Name: name, OK: true, Detail: fmt.Sprintf(format, args...)}})
}

func (e *exam) look(name, hint, format string, args ...any) {
	e.add(check{Result: probe.Result{Name: name, OK: true, Detail: fmt.Sprintf(format, args...)}, Warning: true, Hint: hint})
}

func (e *exam) bad(name, hint string, err error) {
	f := e.app.judge(err)
	if hint == "" {
		hint = f.hint
	}
	e.add(check{Result: probe.Result{Name: name, Detail: f.Error()}, Hint: hint})
}

// repair reports a fault, and repairs it if that was asked for.
func (e *exam) repair(name, what string, do func() error) {
	c := check{Result: probe.Result{Name: name, Detail: what}, Hint: "'stele doctor --fix' repairs it"}
	if e.fix {
		if err := do(); err != nil {
			c.Detail += "; " + err.Error()
		} else {
			c.Fixed = true
		}
	}
	e.add(c)
}

func (e *exam) add(c check) { e.answer.Checks = append(e.answer.Checks, c) }
