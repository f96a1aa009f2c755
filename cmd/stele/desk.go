package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stelelog/stele/backup/erase"
)

// desk opens the control log with an identity: the one that --as names, else that of a role beside stele.yaml; without a
// role and --as, with none.
func (a *app) desk(ctx context.Context, role, file string) (*site, *erase.Desk, error) {
	s, err := a.site(role)
	if err != nil {
		return nil, nil, err
	}
	var who []byte
	if role != "" {
		if who, err = s.person(role, file); err != nil {
			return nil, nil, err
		}
	}
	store, trust, err := s.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	desk, err := erase.Open(ctx, store, trust, who)
	if err != nil {
		return nil, nil, s.misfit(err)
	}
	return s, desk, nil
}

// person reads an identity. --as names a file of any role, or a folder that holds one; what it names goes before the role.
func (s *site) person(role, file string) ([]byte, error) {
	if s.As != "" && s.Source("as") != "" {
		if data, err := s.personAt(s.As); data != nil || err != nil {
			return data, err
		}
	}
	return s.role(role, file)
}

// personAt reads the identity in a file, or in a folder that holds one; nil if there is none.
func (s *site) personAt(name string) ([]byte, error) {
	for _, path := range []string{name, s.beside(name)} {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case info.Mode().IsRegular():
			return os.ReadFile(path)
		}
		for _, name := range []string{"root.stele", "reader.stele", "recovery.stele"} {
			if data, err := os.ReadFile(filepath.Join(path, name)); err == nil {
				return data, nil
			}
		}
	}
	return nil, nil
}
