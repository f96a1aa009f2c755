package evidence

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/answer"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

// timesPart is a part of kind 19.
type timesPart struct {
	number int
	file   []byte
	commit *commit.Commit // unverified
	all    []commit.Times
	used   bool
}

// takeTimes takes a part of kind 19.
func (c *checker) takeTimes(n int, p Part) error {
	if len(c.ranges) == 0 || len(c.records)+len(c.entries) > 0 {
		return errMisplaced
	}
	file, all, spans, err := answer.ParseTimes(p.Data)
	if err != nil {
		return err
	}
	peek, err := commit.Peek(file)
	if err != nil {
		return err
	}
	if !control.Canonical(file) || peek.Archive != c.trust.Archive || peek.Spans == nil || *peek.Spans != spans || all[len(all)-1].End != peek.Tree.Size {
		return errors.New("times that are not those of its commit")
	}
	if k := len(c.spans); k > 0 && c.spans[k-1].commit.Log >= peek.Log {
		return errMisplaced
	}
	c.spans = append(c.spans, &timesPart{number: n, file: file, commit: peek, all: all})
	return nil
}

// timesOf are the times of the commits of a log, and who says so; nil if the file does not show it.
func (c *checker) timesOf(l merkle.Checkpoint, before uint64) (*timesPart, note.Verifier, error) {
	for _, t := range c.spans {
		if t.commit.Log != l.Origin {
			continue
		}
		key := c.named("compactor", t.commit.By, before)
		if key == nil {
			t.used = true // who could say so is missing
			return nil, nil, nil
		}
		if _, err := commit.Parse(t.file, note.VerifierList(key)); err != nil {
			return nil, nil, &FailedError{t.number, false, err}
		}
		if t.commit.Tree.Size != l.Size || t.commit.Tree.Root != l.Root {
			return nil, nil, failed(t.number, "a commit that is not at the head of its log")
		}
		return t, key, nil
	}
	return nil, nil, nil
}

// elsewhere says that leaves which are not shown cannot match, if that is so by the commits.
func (c *checker) elsewhere(l merkle.Checkpoint, t *timesPart, key note.Verifier, first, end uint64) bool {
	query := c.ranges[0].Query
	if t == nil || !query.Outside(t.all, first, end) {
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
