package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
)

// lookWait bounds how long capture looks whether its writer was revoked: an archive that does not answer keeps nobody from capturing.
const lookWait = 5 * time.Second

// writerWatch says whether the writer of a credential was revoked. The credential cannot: only the archive knows, where the
// settings name it.
type writerWatch struct {
	site       *site
	credential []byte
	desk       *erase.Desk // nil: nothing says which archive, or it does not answer
}

// watchWriter looks at the writer of the settings before anything is captured; afterwards, end looks again.
func (s *site) watchWriter(ctx context.Context) (*writerWatch, error) {
	w := &writerWatch{site: s}
	text, err := s.credentialText()
	if err != nil || s.Need("archive", "trust") != nil {
		return w, nil // what is wrong with a credential is said where it is used
	}
	if _, err := readCredential(text); err != nil {
		return w, nil
	}
	w.credential = []byte(text)
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	store, trust, err := s.open(ctx)
	if err == nil {
		w.desk, err = erase.Open(ctx, store, trust, nil)
	}
	if err != nil {
		w.desk = nil
		w.unseen(err)
		return w, nil
	}
	by := w.look(ctx)
	if by == nil {
		return w, nil
	}
	return w, revokedBy(by, "nothing was captured, and what is in the spool stays there")
}

// end adds to what came of capturing that the writer was revoked in the meantime.
func (w *writerWatch) end(ctx context.Context, err error) error {
	if w.desk == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookWait)
	defer cancel()
	by := w.look(ctx)
	if by == nil {
		return err
	}
	late := revokedBy(by, "it happened while this was captured: what a compactor had not committed by then it sets aside, where 'stele quarantine' lists it for 30 days")
	if err != nil {
		late.err = errors.Join(late.err, err)
	}
	return late
}

func (w *writerWatch) look(ctx context.Context) *erase.Revocation {
	by, err := w.desk.Revoked(ctx, w.credential)
	if err != nil {
		w.unseen(err)
	}
	return by
}

// unseen says that nobody knows whether the writer may write.
func (w *writerWatch) unseen(err error) {
	fmt.Fprintf(w.site.app.stderr, "it could not be seen whether the writer was revoked: %s\n", redact(err.Error()))
}

func revokedBy(by *erase.Revocation, what string) *failure {
	return &failure{exitFailed, fmt.Errorf("writer %s was revoked on %s, by entry %d of the control log: %s", by.Writer, by.Time.Format(time.RFC3339), by.Entry, what),
		"'stele key add writer NAME' lets a writer in under another name: capture with its credential"}
}

// revoked looks whether the writer of the settings may still write.
func (e *exam) revoked(archive *backup.Archive) {
	c, err := e.site.credential()
	if err != nil || c.Archive != archive.ID() {
		return
	}
	for _, w := range archive.Writers() {
		if w.Name == c.Service && w.Revoked != nil {
			e.bad("writer", "give the service the credential of another writer: 'stele key add writer NAME'",
				fmt.Errorf("%s was revoked on %s: what it sends is set aside", w.Name, w.Revoked.Format(time.RFC3339)))
		}
	}
}
