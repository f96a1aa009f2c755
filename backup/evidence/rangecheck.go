package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/merkle"
)

// rangePart is a part of kind 14.
type rangePart struct {
	number int
	*rangeproof.Run

	origin string // from here on once it is known who vouches for it
	logKey note.Verifier
	entry  *entryGroup
	commit uint64

	partition uint32

	// Part 15: frames of each stream; streams in the order of their first ones, and their places there, from certified on to be certified.
	frames    map[[16]byte][]signedFrame
	streams   [][16]byte
	places    map[[16]byte]int
	certified int
}

// leafOf is a leaf of a partition.
type leafOf struct {
	partition uint32
	hash      merkle.Hash
}

// leafPlace is where a leaf is shown; zero if it is not.
type leafPlace struct {
	r     *rangePart
	index uint64
}

// takeRange takes a part of kind 14.
func (c *checker) takeRange(n int, p Part) error {
	r, err := rangeproof.Parse(p.Data)
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
		if last.At.Origin == r.At.Origin && !bytes.Equal(last.Head, r.Head) {
			return errTwoHeads
		}
	}
	if len(c.spans)+len(c.records)+len(c.entries) > 0 {
		return errMisplaced
	}
	c.ranges = append(c.ranges, &rangePart{number: n, Run: r, places: map[[16]byte]int{}})
	return nil
}

// completeness checks who signed the heads of the ranges and the matches in them, where they are logged, and which logs there are.
func (c *checker) completeness() error {
	if len(c.ranges) == 0 {
		return nil
	}
	c.report.Limits = append(c.rangeLimits(), c.report.Limits[1:]...)
	c.report.Answer = &rangeproof.Summary{Query: c.ranges[0].Query, Logs: []rangeproof.Log{}}
	for _, g := range c.records {
		c.places[leafOf{g.header.Partition, merkle.LeafHash(g.leafdata)}] = leafPlace{}
	}
	list, err := c.listed()
	if err != nil {
		return err
	}
	for _, r := range c.ranges {
		if err := c.complete(r); err != nil {
			return &FailedError{r.number, false, err}
		}
		if err := c.signedMatches(r); err != nil {
			return &FailedError{r.number, false, err}
		}
	}
	return c.outside(list)
}

func (c *checker) complete(r *rangePart) error {
	about := fmt.Sprintf("range %s %d", r.At.Origin, r.First)
	e, head := c.headOf(r.Head)
	if head == nil {
		c.missing(about, whatComplete, "that its head is in the control log")
		return nil
	}
	partition, err := partitionOf(c.trust.Name, head.Log)
	if err != nil {
		return err
	}
	key := c.named("compactor", e.entry.By, e.proof.Index)
	if key == nil {
		c.missing(about, whatComplete, fmt.Sprintf("that the access policy names %s, who signed its head", e.entry.By))
		return nil
	}
	if err := e.signedBy(key); err != nil {
		return fmt.Errorf("the entry with its head: %w", err)
	}
	at, err := merkle.OpenCheckpoint(r.Head, head.Log, note.VerifierList(key))
	if err != nil {
		return fmt.Errorf("its head: %w", err)
	}
	r.origin, r.partition, r.logKey, r.entry, r.commit = head.Log, partition, key, e, head.Commit
	if r.Matches == nil {
		r.Matches = []rangeproof.Match{}
	}
	c.report.Ranges = append(c.report.Ranges, rangeproof.Range{Log: head.Log, First: r.First, Leaves: r.Leaves, Size: at.Size, Records: r.Records,
		Query: r.Query, Matches: r.Matches})
	matches := "match"
	if len(r.Matches) == 1 {
		matches = "matches"
	}
	c.holds(about, whatComplete, keyName(key), fmt.Sprintf("leaves %d to %d of %d, root %s; %d of %s %s %s, root over their leaf hashes %s",
		r.First, r.First+r.Leaves-1, at.Size, at.Root, len(r.Matches), count(r.Records, "record"), matches, r.Text(), r.Root()))
	c.holds(about, whatHead, keyName(c.logKey), fmt.Sprintf("entry %d of %d, commit %d", e.proof.Index, c.head.Size, head.Commit))
	return nil
}

// rangeLimits are what a file with ranges does not show, in the place of "no other record is missing".
func (c *checker) rangeLimits() []string {
	word := "that the list of logs is whole: it is the word of the compactor that signed it, which 'stele verify' compares with all heads before it"
	if slices.ContainsFunc(c.report.Missing, func(m Statement) bool { return m.What == whatWitness }) {
		word += "; under a head that nobody else has seen, whoever holds the keys of the archive could make another history with another list"
	}
	return []string{
		word,
		"which records came since that list was made",
		"that this is the question that was asked: whoever has the archive, or the file, can ask another one",
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
	at := c.places[leafOf{g.header.Partition, merkle.LeafHash(g.leafdata)}]
	r := at.r
	if r == nil {
		return false
	}
	out.Log, out.Index = r.origin, at.index
	c.holds(about, whatLog, keyName(r.logKey), fmt.Sprintf("%s leaf %d of %d, root %s", r.origin, at.index, r.At.Size, r.At.Root))
	c.holds(about, whatHead, keyName(c.logKey), fmt.Sprintf("entry %d of %d, commit %d", r.entry.proof.Index, c.head.Size, r.commit))
	return true
}
