package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/cmd/internal/advice"
)

// read reads the trust file and the compactor's identity, and refuses to go on beside an identity that opens payloads.
func (c *config) read(env func(string) (string, bool)) (err error) {
	if c.trust, err = os.ReadFile(c.Trust); err != nil {
		return badSetup(cmp.Or(advice.For(err, c.Settings), "it is public; take it from 'stele init' or from an auditor"), "trust file: %w", err)
	}
	path := c.As
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		path = filepath.Join(path, "compactor.stele")
	}
	as, _ := env("STELE_AS")
	for _, place := range []string{filepath.Dir(path), as} {
		if bad := innocent(place); err == nil && bad != nil {
			return bad
		}
	}
	if err == nil {
		c.identity, err = os.ReadFile(path)
	}
	if err != nil {
		return badSetup(cmp.Or(advice.For(err, c.Settings), "name the compactor's folder with --as or STELE_AS"), "compactor identity: %w", err)
	}
	return nil
}

// innocent makes sure that nothing in a folder, or in a file, opens payloads: who moves records must not read them.
func innocent(place string) error {
	if place == "" {
		return nil
	}
	found, err := keys.PayloadReaders(place)
	if err != nil {
		return fmt.Errorf("looking for identities that open payloads: %w", err)
	}
	if len(found) > 0 {
		return badSetup("move it to the account of the reader: who moves records must not be able to read them",
			"the compactor does not start beside an identity that can read payloads: %s", strings.Join(found, ", "))
	}
	return nil
}
