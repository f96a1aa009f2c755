package admin

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/internal/transport"
)

// CheckSpool is an error if the spool at a file:// URL belongs to another archive than the one with that id, in hex. Without
// an id, for an archive that is to be made, it is one if the spool belongs to any, or holds lanes. A spool that does not exist is fine.
func CheckSpool(url, archive string) error {
	id, err := archiveID(archive)
	if err != nil {
		return err
	}
	path, err := transport.FilePath(url)
	if err != nil {
		return err
	}
	dir, err := spool.Open(path, spool.Options{Archive: id, MustExist: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || archive != "" {
		return err
	}
	if owner := dir.Archive(); owner != [16]byte{} {
		return fmt.Errorf("%s is the spool of archive %x; each archive needs a spool directory of its own", path, owner)
	}
	lanes, err := dir.Lanes()
	if err == nil && len(lanes) > 0 {
		err = fmt.Errorf("the spool %s holds messages, which are of another archive; each archive needs a spool directory of its own", path)
	}
	return err
}

// OwnSpool makes the spool at a file:// URL, if it is not there, and names in it the archive with that id, in hex.
func OwnSpool(url, archive string) error {
	id, err := archiveID(archive)
	if err != nil {
		return err
	}
	path, err := transport.FilePath(url)
	if err == nil {
		_, err = spool.Open(path, spool.Options{Archive: id, Own: true})
	}
	return err
}

func archiveID(text string) (id [16]byte, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(id) && len(raw) != 0 {
		return id, fmt.Errorf("%q is no id of an archive", text)
	}
	copy(id[:], raw)
	return id, nil
}
