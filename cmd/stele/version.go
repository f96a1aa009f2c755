package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/cmd/internal/build"
)

// versionAnswer says which build this is.
type versionAnswer struct{ build.Info }

func (v versionAnswer) print(w io.Writer) { fmt.Fprintf(w, "stele %s\n", v.Info) }

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is",
		Example: "  stele version --json",
		Args:    takes(),
		RunE:    a.verb(func(*cobra.Command, []string) (answer, error) { return versionAnswer{build.Read()}, nil }),
	}
}
