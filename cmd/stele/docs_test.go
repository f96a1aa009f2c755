package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stelelog/stele/cmd/internal/settings"
)

// Operators read docs/OPERATIONS.md: its table of commands has a row for each verb with each of its flags, its table of
// settings has a row for each setting, and neither names what does not exist.
func TestCommandsAreDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	rows, root := map[string]string{}, new(app).root()
	for _, m := range regexp.MustCompile("(?m)^\\| `stele ([^`]*)` \\|(.*)$").FindAllStringSubmatch(text, -1) {
		cmd, _, err := root.Find(strings.Fields(m[1]))
		if err != nil || cmd == root {
			t.Errorf("docs/OPERATIONS.md has a row for stele %s, which is no command", m[1])
			continue
		}
		rows[cmd.CommandPath()] = m[2]
	}
	verbs(root, func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		row, ok := rows[path]
		if !ok {
			t.Errorf("the table of commands in docs/OPERATIONS.md lacks %s", path)
			return
		}
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(row, "`--"+f.Name) {
				t.Errorf("the row of %s in docs/OPERATIONS.md lacks --%s", path, f.Name)
			}
		})
		for _, m := range regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(row, -1) {
			if cmd.Flags().Lookup(m[1]) == nil && cmd.InheritedFlags().Lookup(m[1]) == nil {
				t.Errorf("docs/OPERATIONS.md gives %s --%s, which it does not have", path, m[1])
			}
		}
	})
	var table []string
	for _, m := range regexp.MustCompile(`(?m)^\|([^|]*)\|([^|]*)\|`).FindAllStringSubmatch(text, -1) {
		table = append(table, m[1]+" "+m[2])
	}
	for _, f := range settings.Fields() {
		named := slices.ContainsFunc(table, func(row string) bool {
			return strings.Contains(row, "`"+f.Name+"`") && (f.Env == "" || strings.Contains(row, "`"+f.Env+"`"))
		})
		if !named {
			t.Errorf("the table of settings in docs/OPERATIONS.md lacks `%s` with %q", f.Name, f.Env)
		}
	}
	for _, name := range []string{"--config", "--json"} {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/OPERATIONS.md does not name %s", name)
		}
	}
}

// The page of help about settings has a line for each flag that all verbs take and that is a setting.
func TestHelpOfSettings(t *testing.T) {
	flags := new(app).root().PersistentFlags()
	for _, f := range settings.Fields() {
		if flags.Lookup(f.Name) != nil && !strings.Contains(helpSettings, "\n  --"+f.Name+" ") {
			t.Errorf("'stele help settings' lacks --%s", f.Name)
		}
	}
}

// verbs calls see for every command that does something.
func verbs(cmd *cobra.Command, see func(*cobra.Command)) {
	if cmd.Runnable() && cmd.Annotations[isGroup] == "" {
		see(cmd)
	}
	for _, c := range cmd.Commands() {
		verbs(c, see)
	}
}

// Help teaches: each verb says what it does, at length but not too wide, and shows how.
func TestHelpTeaches(t *testing.T) {
	root := new(app).root()
	verbs(root, func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Parent().Name() == "completion" {
			return
		}
		if cmd.Long == "" && cmd.Name() != "version" || cmd.Short == "" {
			t.Errorf("%s does not say what it does", cmd.CommandPath())
		}
		if !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%s shows no example", cmd.CommandPath())
		}
		for _, line := range strings.Split(cmd.Long+"\n"+cmd.Example, "\n") {
			if len([]rune(line)) > 120 {
				t.Errorf("%s: the help is too wide: %s", cmd.CommandPath(), line)
			}
		}
	})
}
