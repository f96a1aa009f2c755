package advice

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/stelelog/stele/backup/custodian"
)

// lost finds the custodians whose folders are not there, each as "NAME in FOLDER".
func lost(err error) (all []string) {
	switch e := err.(type) {
	case *custodian.Error:
		if errors.Is(e, custodian.ErrUnavailable) && errors.Is(e, fs.ErrNotExist) && pathOf(e) != "" {
			return []string{e.Custodian + " in " + pathOf(e)}
		}
		return nil
	case interface{ Unwrap() error }:
		return lost(e.Unwrap())
	case interface{ Unwrap() []error }:
		seen := map[string]bool{}
		for _, part := range e.Unwrap() {
			for _, name := range lost(part) {
				if !seen[name] {
					seen[name] = true
					all = append(all, name)
				}
			}
		}
	}
	return all
}

// dead says whether a generation does not open because its key was destroyed.
func dead(err error) bool {
	e := new(custodian.Error)
	return errors.As(err, &e) && e.Op == "unwrap" && errors.Is(e, custodian.ErrDestroyed)
}

// custody says what to do about custodians whose folders are lost, and what is lost with them.
func custody(lost []string) string {
	return "custodian " + strings.Join(lost, ", custodian ") + ": mount the disk of the folder, or put the folder back from its backup. Without it, and without other custodians " +
		"that open the key store (custodians, custody), nothing in the archive can be read any more; 'stele verify' and 'stele audit' need none. docs/OPERATIONS.md, 'A lost key store'"
}
