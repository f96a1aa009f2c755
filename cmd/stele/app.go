package main

import (
	"io"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stelelog/stele/cmd/internal/build"
	"github.com/stelelog/stele/cmd/internal/settings"
)

// app is one run of the command.
type app struct {
	env            func(string) (string, bool) // os.LookupEnv
	stdin          io.Reader
	stdout, stderr io.Writer

	flags     settingFlags
	settings  *settings.Settings // those of this run, once they are read
	json      bool
	answered  bool   // the object of --json was written
	unread    string // why keys were given out without the newest grants
	closed    *alike // records that were named because they do not open
	streaming bool   // stdout carries records, so the answer goes to stderr
}

const about = `Stele keeps what an AI service was asked, what it answered, what happened in between and
what went wrong, where nobody can change it; proves that nothing was changed or left
out; and gives it back.

  stele init file:///srv/archive      make an archive, its keys and stele.yaml
  export STELE_CONFIG=$PWD/stele.yaml
  stele capture events.jsonl          put records in
  compactor --once                    commit them to the archive
  stele verify                        check everything, trusting trust.stele only
  stele restore --out - --as reader   get the records back`

const (
	groupSetUp   = "setup"
	groupWork    = "work"
	groupArchive = "archive"
	groupPeople  = "people"
)

// root is the command with all its verbs.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "stele",
		Short:         "Capture, keep, verify and restore records of AI inference",
		Long:          about,
		Version:       build.Read().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	a.group(root)
	root.SetVersionTemplate("stele {{.Version}}\n")
	root.SetHelpCommand(a.helpCommand())
	root.AddGroup(
		&cobra.Group{ID: groupSetUp, Title: "Set up and look after:"},
		&cobra.Group{ID: groupWork, Title: "Put records in:"},
		&cobra.Group{ID: groupArchive, Title: "Check the archive and read from it:"},
		&cobra.Group{ID: groupPeople, Title: "Decide, two together:"},
	)
	a.flags.add(root.PersistentFlags())
	root.PersistentFlags().BoolVar(&a.json, "json", false, "answer with one JSON object")
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupSetUp, a.initCommand(), a.keyCommand(), a.topicsCommand(), a.doctorCommand(), a.envCommand())
	add(groupWork, a.captureCommand(), a.spoolCommand())
	add(groupArchive, a.verifyCommand(), a.auditCommand(), a.diffCommand(), a.segmentsCommand(), a.quarantineCommand(), a.exportCommand(), a.expireCommand(), a.searchCommand(), a.showCommand(), a.restoreCommand(),
		a.proveCommand(), a.checkCommand(), a.drillCommand())
	add(groupPeople, a.policyCommand(), a.eraseCommand(), a.holdCommand(), a.recoverCommand())
	root.AddCommand(a.versionCommand())
	root.AddCommand(helpTopics()...)
	return root
}

// terminal reports whether a person reads w, or types into it.
func terminal(w any) bool {
	f, ok := w.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}
