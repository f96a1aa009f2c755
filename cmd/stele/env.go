package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/cmd/internal/settings"
)

func (a *app) envCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Show every setting and where it came from",
		Long: `Show every setting, of all commands, and where it came from: a flag, an environment variable, a line of
stele.yaml, or a default. Secrets are shown as "set".`,
		Example: "  stele env\n  stele env --config /etc/stele/stele.yaml --json",
		Args:    takes(),
		RunE: a.verb(func(*cobra.Command, []string) (answer, error) {
			s, err := a.site("")
			if err != nil {
				return nil, err
			}
			return envAnswer{s.List()}, nil
		}),
	}
}

// envAnswer lists settings.
type envAnswer struct {
	Settings []settings.Value `json:"settings"`
}

func (e envAnswer) print(w io.Writer) {
	rows := [][]string{{"SETTING", "VALUE", "FROM"}}
	for _, v := range e.Settings {
		value, source := v.Value, v.Source
		if value == "" {
			value = "-"
		}
		if source == "" {
			source = "not set"
		}
		rows = append(rows, []string{v.Name, printable(value, 200), source})
	}
	table(w, rows)
}
