package main

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/cmd/internal/settings"
)

func operations(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Operators read docs/OPERATIONS.md: it names every metric that is served, and none that is not.
func TestMetricsAreDocumented(t *testing.T) {
	halted := func() compact.Stats {
		return compact.Stats{Halted: map[int]error{0: io.EOF}, Failing: map[string]error{"partition 1": io.EOF}, Behind: map[string]uint64{"W": 1}}
	}
	families, err := newRegistry(halted, func() *keys.Stats { return new(keys.Stats) }).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var served []string
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, "stele_") {
			served = append(served, name)
		}
	}
	if len(served) < 10 {
		t.Fatalf("only %q are served", served)
	}
	documented := regexp.MustCompile("`(stele_[a-z_]+)`").FindAllStringSubmatch(operations(t), -1)
	for _, name := range served {
		if !slices.ContainsFunc(documented, func(m []string) bool { return m[1] == name }) {
			t.Errorf("docs/OPERATIONS.md does not say what `%s` means", name)
		}
	}
	for _, m := range documented {
		if !slices.Contains(served, m[1]) {
			t.Errorf("docs/OPERATIONS.md names `%s`, which is not served", m[1])
		}
	}
}

// It names every flag and setting of the compactor, too: those of stele.yaml in the table of settings, the others in the
// table of commands.
func TestFlagsAreDocumented(t *testing.T) {
	text := operations(t)
	row := regexp.MustCompile("(?m)^\\| `compactor` .*$").FindString(text)
	cmd, _ := newCommand(func(string) (string, bool) { return "", false }, io.Discard)
	fields := settings.Fields()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		i := slices.IndexFunc(fields, func(field settings.Field) bool { return field.Flag() == f.Name })
		switch {
		case i >= 0 && !regexp.MustCompile("(?m)^\\|[^|]*`"+fields[i].Name+"`").MatchString(text):
			t.Errorf("the table of settings in docs/OPERATIONS.md lacks `%s`", fields[i].Name)
		case i < 0 && f.Name != "config" && !strings.Contains(row, "`--"+f.Name):
			t.Errorf("the row of the compactor in docs/OPERATIONS.md lacks --%s: %q", f.Name, row)
		}
	})
	for _, m := range regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(row, -1) {
		if cmd.Flags().Lookup(m[1]) == nil {
			t.Errorf("docs/OPERATIONS.md gives the compactor --%s, which it does not have", m[1])
		}
	}
}
