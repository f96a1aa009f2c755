package evidence

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

// timesPart is a part of kind 19.
type timesPart struct {
	number int
	file   []byte
	commit *commit.Commit // unverified
	open   []rangeproof.Open
	used   bool
}

// takeTimes takes a part of kind 19.
func (c *checker) takeTimes(n int, p Part) error {
	if len(c.ranges) == 0 || len(c.records)+len(c.entries) > 0 {
		return errMisplaced
	}
	file, open, size, spans, err := rangeproof.ParseTimes(p.Data, &c.ranges[0].Query)
	if err != nil {
		return err
	}
	peek, err := commit.Peek(file)
	if err != nil {
		return err
	}
	if again, err := commit.MarshalLine(peek); err != nil || !bytes.HasPrefix(file, append(again, '\n')) {
		return errors.New("a commit that is not written as it must be")
	}
	if !control.Canonical(file) || peek.Archive != c.trust.Archive || peek.Spans == nil || *peek.Spans != spans || size != peek.Tree.Size {
		return errors.New("times that are not those of its commit")
	}
	if k := len(c.spans); k > 0 && c.spans[k-1].commit.Log >= peek.Log {
		return errMisplaced
	}
	t := &timesPart{number: n, file: file, commit: peek, open: open}
	c.spans, c.timesBy[peek.Log] = append(c.spans, t), t
	return nil
}

// timesOf are the times of the commits of a log, and who says so; nil if the file does not show it. The head that names the commit must stand before an
// entry of the control log.
func (c *checker) timesOf(l merkle.Checkpoint, before uint64) (*timesPart, note.Verifier, error) {
	t := c.timesBy[l.Origin]
	if t == nil {
		return nil, nil, nil
	}
	key, err := c.timesKey(t, l, before)
	if err != nil {
		return nil, nil, &FailedError{t.number, false, err}
	}
	return t, key, nil
}

// timesKey finds who signed a commit that is in the archive, and the head of l; nil if the file does not show it.
func (c *checker) timesKey(t *timesPart, l merkle.Checkpoint, before uint64) (note.Verifier, error) {
	h := c.byCommit[commit.Hash(t.file)]
	if h == nil || h.e.proof.Index >= before {
		return nil, nil
	}
	h.e.used = true
	byHead := c.named("compactor", h.e.entry.By, h.e.proof.Index)
	key := c.named("compactor", t.commit.By, h.e.proof.Index)
	if byHead == nil || key == nil {
		return nil, nil
	}
	if err := h.e.signedBy(byHead); err != nil {
		return nil, fmt.Errorf("the entry with the head of its commit: %w", err)
	}
	at, err := merkle.OpenCheckpoint([]byte(h.Checkpoint), l.Origin, note.VerifierList(byHead))
	if err != nil {
		return nil, fmt.Errorf("the head of its commit: %w", err)
	}
	if _, err := commit.Parse(t.file, note.VerifierList(key)); err != nil {
		return nil, err
	}
	if h.Log != l.Origin || h.Commit != t.commit.N || at != l || t.commit.Tree.Size != l.Size || t.commit.Tree.Root != l.Root {
		return nil, errors.New("a commit that is not at the head of its log")
	}
	return key, nil
}

// elsewhere says that leaves which are not shown cannot match, if that is so by the commits.
func (c *checker) elsewhere(l merkle.Checkpoint, t *timesPart, key note.Verifier, first, end uint64) bool {
	if t != nil && key == nil {
		t.used = true // who could say so is missing
	}
	if t == nil || key == nil || !rangeproof.Closed(t.open, first, end) {
		return false
	}
	t.used = true
	c.holds("log "+l.Origin, whatOutside, keyName(key), fmt.Sprintf("leaves %d to %d of %d are of other times", first, end-1, l.Size))
	return true
}

// needlessTimes refuses a part of which nothing followed.
func (c *checker) needlessTimes() error {
	for _, t := range c.spans {
		if !t.used {
			return failed(t.number, "times of commits that nothing here needs")
		}
	}
	return nil
}
