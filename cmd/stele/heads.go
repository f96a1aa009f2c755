package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/location"
)

// heads is where this user keeps the newest head that he saw of each archive, so that none goes backwards unnoticed.
func (a *app) heads() (string, error) {
	if dir, ok := a.env("XDG_STATE_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "stele", "heads"), nil
	}
	if dir, ok := a.env("HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, ".local", "state", "stele", "heads"), nil
	}
	return "", errors.New("neither HOME nor XDG_STATE_HOME is set")
}

// seen holds an archive against the heads that this user saw of it. A copy at another place may be older; it must not be
// another history. contradicted are those heads that the archive contradicts, with their files.
func (s *site) seen(ctx context.Context, archive *backup.Archive) (contradicted map[string][]byte, err error) {
	dir, err := s.app.heads()
	if err != nil {
		return nil, nil
	}
	own := s.headFile(dir, archive)
	files, err := headFiles(dir, archive)
	if err != nil {
		return nil, err
	}
	var newest []byte
	contradicted = map[string][]byte{}
	for _, path := range files {
		head, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		err = archive.Continues(head)
		if path == own {
			newest = head
		}
		if err != nil && (path == own || !errors.Is(err, backup.ErrBackwards)) {
			contradicted[path] = head
		}
	}
	if len(contradicted) > 0 {
		return contradicted, nil
	}
	head, _, err := archive.Head(ctx)
	if err != nil || head == nil || string(head) == string(newest) {
		return nil, err
	}
	if err := keepHead(own, head); err != nil {
		fmt.Fprintf(s.app.stderr, "the head of this archive could not be kept, so nobody will notice if it goes backwards: %v\n", err)
	}
	return nil, nil
}

// older reports whether this user has seen a newer head of the archive at another place.
func (s *site) older(archive *backup.Archive) bool {
	dir, err := s.app.heads()
	if err != nil {
		return false
	}
	files, _ := headFiles(dir, archive)
	return slices.ContainsFunc(files, func(path string) bool {
		head, err := os.ReadFile(path)
		return err == nil && errors.Is(archive.Continues(head), backup.ErrBackwards)
	})
}

// headFiles are the files with heads of the archive, one for each place.
func headFiles(dir string, archive *backup.Archive) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, archive.ID()+"-*.checkpoint"))
}

// headFile is where the head of an archive at its place is kept.
func (s *site) headFile(dir string, archive *backup.Archive) string {
	place := sha256.Sum256([]byte(location.Redact(s.Archive)))
	return filepath.Join(dir, fmt.Sprintf("%s-%x.checkpoint", archive.ID(), place[:4]))
}

func keepHead(path string, head []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replaceFile(path, head)
}

// forward refuses an archive that contradicts what was seen of it.
func (s *site) forward(ctx context.Context, archive *backup.Archive) error {
	contradicted, err := s.seen(ctx, archive)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for path, head := range contradicted {
		return hinted(fmt.Errorf("this archive contradicts what was seen of it before: %w", archive.Continues(head)),
			"'stele verify' says more. Keep "+path+" as evidence. If the archive was put back from an older copy on purpose, move that file away")
	}
	return nil
}

// headsBefore are the heads that a verification has to look for: those in files, and the ones in the user's keeping that the
// archive contradicts.
func (s *site) headsBefore(ctx context.Context, archive *backup.Archive, files []string) (heads [][]byte, err error) {
	for _, path := range files {
		head, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := archive.Continues(head); errors.Is(err, backup.ErrNoHead) && archive.Founded() == nil {
			return nil, usage("a head is the file that 'stele export tiles' calls checkpoint, or an object under control/checkpoints/", "%s: %w", path, err)
		}
		heads = append(heads, head)
	}
	if archive.Founded() != nil {
		return heads, nil
	}
	contradicted, err := s.seen(ctx, archive)
	for path, head := range contradicted {
		fmt.Fprintf(s.app.stderr, "this archive contradicts what was seen of it before: that head is in %s: keep it as evidence. If the archive was put back from an older copy on purpose, move it away\n", path)
		if !slices.ContainsFunc(heads, func(h []byte) bool { return bytes.Equal(h, head) }) {
			heads = append(heads, head)
		}
	}
	return heads, err
}
