package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// isGroup marks commands that only hold others.
const isGroup = "group"

// group makes a command that only holds others show its help, and refuse a word that names none of them.
func (a *app) group(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{isGroup: "yes"}
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0:
			return unknownVerb(cmd, args[0])
		case a.json:
			return usage("name one of "+verbsOf(cmd), "'%s' alone does nothing", cmd.CommandPath())
		}
		return cmd.Help()
	}
	return cmd
}

// unknownVerb refuses a word, and guesses what was meant.
func unknownVerb(cmd *cobra.Command, word string) error {
	hint := "it is one of " + verbsOf(cmd)
	if meant := cmd.SuggestionsFor(word); len(meant) > 0 {
		hint = fmt.Sprintf("did you mean '%s %s'?", cmd.CommandPath(), strings.Join(meant, "', '"))
	}
	return usage(hint, "there is no '%s %s'", cmd.CommandPath(), word)
}

func verbsOf(cmd *cobra.Command) string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// takes wants so many arguments, and says which if there are more or fewer.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == len(names):
			return nil
		case len(names) == 0:
			return fmt.Errorf("'%s' takes no arguments, and got %q", cmd.CommandPath(), args[0])
		}
		return fmt.Errorf("write: %s %s", cmd.CommandPath(), strings.Join(names, " "))
	}
}

// helpCommand is cobra's, but that a word that names nothing is an error.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB]",
		Short: "Explain a verb, with examples",
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || of == cmd.Root() && len(args) > 0 || len(rest) > 0 && of.HasSubCommands() {
				if of == nil {
					of = cmd.Root()
				}
				return unknownVerb(of, args[len(args)-max(1, len(rest))])
			}
			return of.Help()
		},
	}
}
