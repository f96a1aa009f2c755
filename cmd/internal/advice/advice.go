// Package advice knows what to do about errors that come from far below both commands.
package advice

import (
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/cmd/internal/settings"
)

// For says in a sentence what to do about err, or nothing. s may be nil: the settings that were in force, to say which of
// them holds the address where nothing listens.
func For(err error, s *settings.Settings) string {
	switch {
	case errors.As(err, new(*backup.ForeignError)):
		return pair(s)
	case len(lost(err)) > 0:
		return custody(lost(err))
	case dead(err):
		return "this key store is older than an erasure that was carried out since, as in a copy or a backup: its keys are dead, on purpose. Use the archive as it is today, or put in its keys/ " +
			"of today, from a replica say. docs/OPERATIONS.md, 'A copy from before an erasure'"
	case errors.Is(err, fs.ErrPermission) && pathOf(err) != "":
		return "check the owner and the mode of " + pathOf(err) + ": " + owner(pathOf(err))
	case errors.Is(err, fs.ErrPermission):
		return "check the credentials, and what they may do: docs/OPERATIONS.md lists the rights that each role needs"
	case errors.Is(err, syscall.EROFS):
		return "the file system is mounted read-only: mount it writable; only what is to be new can go into another directory"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full: make room and run the command again"
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused(err, s)
	}
	return ""
}

// pair says which archive and which trust file do not fit together, and what to do.
func pair(s *settings.Settings) string {
	these := ""
	if s != nil {
		these = Pair(s) + ". "
	}
	return these + "Name the archive of this trust file with --archive, or the trust file of this archive with --trust: " +
		"'stele init' wrote it, and printed its SHA-256. The folders of roles belong to one archive, too"
}

// Pair says which archive and which trust file were used, for when they do not fit together.
func Pair(s *settings.Settings) string {
	return "archive and trust file must belong together; these are " + location.Redact(s.Archive) + " (" + s.Source("archive") + ") and " +
		s.Trust + " (" + s.Source("trust") + ")"
}

// pathOf is the file or folder that err is about, if it is about one.
func pathOf(err error) string {
	if at := new(fs.PathError); errors.As(err, &at) {
		return at.Path
	}
	return ""
}

// owner says to whom a file or folder belongs.
func owner(path string) string {
	switch name := filepath.Base(path); {
	case name == "trust.stele":
		return "it is public, so everybody may read it"
	case strings.HasSuffix(name, ".stele"):
		return "files of a role belong to the user of the role, mode 0600"
	}
	return "who works in an archive, a spool or a role's folder must own it, or be let in by its mode"
}

// refused says where nothing listens, and which setting says that something does.
func refused(err error, s *settings.Settings) string {
	at := new(net.OpError)
	if !errors.As(err, &at) || at.Addr == nil {
		return "nothing listens there; is the service running, and is the address right? 'stele env' shows it"
	}
	address := at.Addr.String()
	hint := "nothing listens at " + address + ": is the service running, and is the address right? "
	if s == nil {
		return hint + "'stele env' shows it"
	}
	if from := naming(address, s); from != "" {
		return hint + from
	}
	return hint + "No setting has this address: a name in one stands for it, or the brokers sent it (advertised.listeners); 'stele env' shows all settings"
}

// naming says of the settings that hold an address where they come from.
func naming(address string, s *settings.Settings) string {
	var names []string
	for _, v := range s.List() {
		if strings.Contains(v.Value, address) && !(v.Name == "from" && v.Value == s.To) {
			names = append(names, s.Origin(v.Name))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return strings.Join(names, "; ")
}
