package evidence

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/answer"
	"github.com/stelelog/stele/merkle"
)

// rangePart is a part of kind 14.
type rangePart struct {
	number int
	*answer.Run

	origin string // from here on once it is known who vouches for it
	logKey note.Verifier
	entry  *entryGroup
	commit uint64
	places map[merkle.Hash]uint64 // of the matches
}

// takeRange takes a part of kind 14.
func (c *checker) takeRange(n int, p Part) error {
	r, err := answer.Parse(p.Data)
	if err != nil {
		return err
	}
	if len(c.ranges) > 0 {
		last := c.ranges[len(c.ranges)-1]
		if last.Text() != r.Text() {
			return errors.New("it answers another query than the range before")
		}
		if !r.Behind(last.Run) {
			return errMisplaced
		}
	}
	if len(c.records)+len(c.entries) > 0 {
		return errMisplaced
	}
	c.ranges = append(c.ranges, &rangePart{number: n, Run: r})
	return nil
}

// completeness checks who signed the heads of the ranges, and where they are logged.
func (c *checker) completeness() error {
	if len(c.ranges) > 0 {
		c.report.Limits = append(rangeLimits(), c.report.Limits[1:]...)
	}
	for _, r := range c.ranges {
		if err := c.complete(r); err != nil {
			return &FailedError{r.number, err}
		}
	}
	c.outside()
	return nil
}

// outside says which leaves of the logs are not shown, and how many matches without their writer's signature: a range
// can be cut by whoever has the file, and a match alone is the word of whoever signed the head.
func (c *checker) outside() {
	signed := map[merkle.Hash]bool{}
	for _, g := range c.records {
		signed[merkle.LeafHash(g.leafdata)] = true
	}
	var lines []string
	matches, unsigned := 0, 0
	next, size, log := uint64(0), uint64(0), ""
	gap := func(to uint64) {
		if next < to {
			lines = append(lines, fmt.Sprintf("what is in leaves %d to %d of %d of %s, which are not shown", next, to-1, size, log))
		}
	}
	for i := range c.report.Ranges {
		r := &c.report.Ranges[i]
		if r.Log != log {
			gap(size)
			next, size, log = 0, 0, r.Log
		}
		size = max(size, r.Size)
		gap(r.First)
		next = r.First + r.Leaves
		for j := range r.Matches {
			matches++
			if !signed[r.Matches[j].Hash] {
				unsigned++
			}
		}
	}
	gap(size)
	if unsigned > 0 {
		lines = append(lines, fmt.Sprintf("who wrote %d of the %d matches: they are as who signed the head has them", unsigned, matches))
	}
	c.report.Limits = append(lines, c.report.Limits...)
}

func (c *checker) complete(r *rangePart) error {
	about := fmt.Sprintf("range %s %d", r.At.Origin, r.First)
	e, head, err := c.headOf(r.Head)
	if err != nil {
		return err
	}
	if head == nil {
		c.missing(about, whatComplete, "that its head is in the control log")
		return nil
	}
	if _, err := partitionOf(c.trust.Name, head.Log); err != nil {
		return err
	}
	key := c.named("compactor", e.entry.By, e.proof.Index)
	if key == nil {
		c.missing(about, whatComplete, fmt.Sprintf("that the access policy names %s, who signed its head", e.entry.By))
		return nil
	}
	if _, err := note.Open([]byte(e.file), note.VerifierList(key)); err != nil {
		return fmt.Errorf("the entry with its head: %w", err)
	}
	at, err := merkle.OpenCheckpoint(r.Head, head.Log, note.VerifierList(key))
	if err != nil {
		return fmt.Errorf("its head: %w", err)
	}
	r.origin, r.logKey, r.entry, r.commit, r.places = head.Log, key, e, head.Commit, map[merkle.Hash]uint64{}
	for i := range r.Matches {
		r.places[r.Matches[i].Hash] = r.Matches[i].Index
	}
	c.report.Ranges = append(c.report.Ranges, answer.Range{Log: head.Log, First: r.First, Leaves: r.Leaves, Size: at.Size, Records: r.Records,
		Query: r.Query, Matches: append([]answer.Match{}, r.Matches...)})
	c.holds(about, whatComplete, keyName(key), fmt.Sprintf("leaves %d to %d of %d, root %s; %d of %d records match %s, root over their leaf hashes %s",
		r.First, r.First+r.Leaves-1, at.Size, at.Root, len(r.Matches), r.Records, r.Text(), r.Root()))
	c.holds(about, whatHead, keyName(c.logKey), fmt.Sprintf("entry %d of %d, commit %d", e.proof.Index, c.head.Size, head.Commit))
	return nil
}

// rangeLimits are what a file with ranges does not show, in the place of "no other record is missing".
func rangeLimits() []string {
	return []string{
		"that there is no such record outside the leaves shown, in another log, or behind the head: compare with 'stele segments', or see 'stele verify'",
		"that nothing was lost before it came into a log: 'stele audit' says how complete a stream is",
	}
}

// partitionOf is the partition whose log an origin names.
func partitionOf(archive, origin string) (uint32, error) {
	rest, ours := strings.CutPrefix(origin, archive+"/")
	number, _, more := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	if !ours || !more || err != nil {
		return 0, fmt.Errorf("%q is no log of %s", origin, archive)
	}
	return uint32(n), nil
}

// inRange finds the place of a record in a range that holds. It reports whether there is one.
func (c *checker) inRange(g *recordGroup, about string, out *Record) bool {
	leaf := merkle.LeafHash(g.leafdata)
	for _, r := range c.ranges {
		index, ok := r.places[leaf]
		if n, err := partitionOf(c.trust.Name, r.origin); !ok || err != nil || n != g.header.Partition {
			continue
		}
		out.Log, out.Index = r.origin, index
		c.holds(about, whatLog, keyName(r.logKey), fmt.Sprintf("%s leaf %d of %d, root %s", r.origin, index, r.At.Size, r.At.Root))
		c.holds(about, whatHead, keyName(c.logKey), fmt.Sprintf("entry %d of %d, commit %d", r.entry.proof.Index, c.head.Size, r.commit))
		return true
	}
	return false
}
