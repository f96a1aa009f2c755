// Package build says which build of the commands this is.
package build

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Info names a build.
type Info struct {
	Version string `json:"version"` // "unknown" if it was not recorded
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// Read returns what the linker has recorded of the running program.
func Read() Info {
	v := Info{Version: "unknown", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	return v
}

// String is one line without an end.
func (v Info) String() string {
	commit := ""
	if v.Commit != "" {
		commit = " (" + v.Commit + ")"
	}
	return fmt.Sprintf("%s%s %s %s/%s", v.Version, commit, v.Go, v.OS, v.Arch)
}
