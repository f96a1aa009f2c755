package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionAnswer says which build this is.
type versionAnswer struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (v versionAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "stele %s", v.Version)
	if v.Commit != "" {
		fmt.Fprintf(w, " (%s)", v.Commit)
	}
	fmt.Fprintf(w, " %s %s/%s\n", v.Go, v.OS, v.Arch)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is",
		Example: "  stele version --json",
		Args:    takes(),
		RunE: a.verb(func(*cobra.Command, []string) (answer, error) {
			v := versionAnswer{Version: "unknown", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				v.Version = info.Main.Version
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			return v, nil
		}),
	}
}
