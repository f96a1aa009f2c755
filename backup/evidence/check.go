package evidence

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/merkle"
)

// FailedError says that a file claims what does not hold: it shows nothing then, whatever else is in it.
type FailedError struct {
	Part    int  // number in the file, from 0; -1 if it is of none
	Foreign bool // the file is of another archive than the trust file, and nothing else of it was looked at
	Err     error
}

func (e *FailedError) Error() string {
	if e.Part < 0 {
		return fmt.Sprintf("evidence: %v", e.Err)
	}
	return fmt.Sprintf("evidence: part %d: %v", e.Part, e.Err)
}

// Unwrap returns what is wrong.
func (e *FailedError) Unwrap() error { return e.Err }

func failed(part int, format string, args ...any) error {
	return &FailedError{Part: part, Err: fmt.Errorf(format, args...)}
}

// checker is one check.
type checker struct {
	trust   identity.Trust
	logKey  note.Verifier
	rootKey note.Verifier
	report  *Report

	records []*recordGroup
	entries []*entryGroup
	ranges  []*rangePart
	spans   []*timesPart
	streams map[[16]byte]*keyscope.Cert

	places   map[leafOf]leafPlace   // in ranges, of the leaves of records
	told     map[[16]byte]bool      // streams of frames about which all was said
	timesBy  map[string]*timesPart  // by log
	byHead   map[string]*loggedHead // by checkpoint
	byCommit map[commit.Hex32]*loggedHead

	head     merkle.Checkpoint // of the control log
	headFile []byte
	names    []nameSource
	index    nameIndex
	vouches  []vouchPart
	erased   []*erasure
	about    aboutErasures
	gone     map[erasedKey][]goneKey
}

// Check says what a file shows to whoever trusts the trust file. An error that wraps [ErrFormat] says that the file
// cannot be read; a [*FailedError], that something in it does not hold. Then there is no report: a file shows all that it
// claims, or nothing. It fetches nothing, takes time in proportion to what the file unpacks to, and holds at most some
// twenty times as much.
func Check(trust, file []byte) (*Report, error) {
	c := &checker{streams: map[[16]byte]*keyscope.Cert{}, places: map[leafOf]leafPlace{}, told: map[[16]byte]bool{},
		timesBy: map[string]*timesPart{}, byHead: map[string]*loggedHead{}, byCommit: map[commit.Hex32]*loggedHead{}}
	if err := c.trust.UnmarshalText(trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	var err error
	if c.logKey, err = c.trust.LogVerifier(); err == nil {
		c.rootKey, err = newNamedKey(c.trust.Root)
	}
	if err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	archive, parts, err := Parse(file)
	if err != nil {
		return nil, err
	}
	if archive != c.trust.Archive {
		return nil, &FailedError{-1, true, fmt.Errorf("the file is of the archive %x, and the trust file of %x (%s)", archive, c.trust.Archive, c.trust.Name)}
	}
	c.report = &Report{Stele: "check/v1", Archive: hex.EncodeToString(archive[:]), Name: c.trust.Name,
		Records: []Record{}, Holds: []Statement{}, Missing: []Statement{}, Limits: limits()}
	if err := c.gather(parts); err != nil {
		return nil, err
	}
	return c.report, c.check()
}

func (c *checker) check() error {
	if err := c.controlProofs(); err != nil {
		return err
	}
	if err := c.loggedHeads(); err != nil {
		return err
	}
	if err := c.vouched(); err != nil {
		return err
	}
	if err := c.rosters(); err != nil {
		return err
	}
	if err := c.erasures(); err != nil {
		return err
	}
	if err := c.completeness(); err != nil {
		return err
	}
	for _, g := range c.records {
		if err := c.record(g); err != nil {
			return err
		}
	}
	return c.leftOver()
}

// controlProofs checks that the entries are in the control log, all under one head.
func (c *checker) controlProofs() error {
	last := uint64(0)
	for _, e := range c.entries {
		if e.entry.Archive != c.trust.Archive {
			return failed(e.number, "an entry of another archive")
		}
		if e.proof == nil {
			continue
		}
		if c.headFile != nil && !bytes.Equal(c.headFile, e.proof.Checkpoint) {
			return failed(e.number, "its proof leads to another head of the control log than the others")
		}
		if c.headFile != nil && e.proof.Index <= last {
			return failed(e.number, "entries that do not ascend")
		}
		if err := c.controlProof(e); err != nil {
			return &FailedError{e.number, false, fmt.Errorf("its proof in the control log: %w", err)}
		}
		last = e.proof.Index
	}
	if c.headFile == nil {
		c.missing("archive", whatControl, "no head of the control log")
		return nil
	}
	c.holds("archive", whatControl, keyName(c.logKey), fmt.Sprintf("size %d, root %s", c.head.Size, c.head.Root))
	return nil
}

// controlProof checks the proof of an entry, and with the first one the signature of the head.
func (c *checker) controlProof(e *entryGroup) error {
	leaf := control.LeafHash(e.file)
	if c.headFile != nil {
		return merkle.InclusionProof{Index: e.proof.Index, Size: c.head.Size, Path: e.proof.Path}.Verify(leaf, c.head.Root)
	}
	head, err := e.proof.Verify(leaf, c.trust.Origin(), note.VerifierList(c.logKey))
	if err == nil {
		c.head, c.headFile = head, e.proof.Checkpoint
	}
	return err
}

// leftOver refuses what nothing needed: an honest author has no use for it.
func (c *checker) leftOver() error {
	for _, e := range c.entries {
		if !e.used && (e.proof != nil || e.bound) {
			return failed(e.number, "a %s entry that says nothing about any record here", e.entry.Type)
		}
		if e.proof == nil && !e.bound {
			c.missing("archive", whatControl, fmt.Sprintf("part %d: a %s entry without its proof in the control log", e.number, e.entry.Type))
		}
	}
	for _, e := range c.erased {
		for _, r := range e.erasure.removed {
			if !r.used {
				return failed(r.number, "a path of an erasure that no record here needs")
			}
		}
	}
	for _, s := range c.names {
		if n := s.group.names; n != nil && slices.ContainsFunc(n.lines, func(line string) bool { return !s.used[line] }) {
			return failed(n.number, "a line of the roster that nothing here needs")
		}
	}
	return nil
}
