package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/merkle"
)

func appendUvarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// uv reads a number in its shortest form.
func (c *cursor) uv() uint64 {
	v, size := uvarint(c.b)
	c.broken = c.broken || size == 0
	c.bytes(uint64(size))
	return v
}

// rootRecords checks the root records before and after, and what went between them.
func (c *checker) rootRecords(e *erasure) error {
	parts := &e.entryGroup.erasure
	if len(parts.roots) < 2 {
		c.missing(e.about, whatRecords, "the root records before and after")
		return nil
	}
	before, err := c.rootRecord(e, parts.roots[0], e.Before)
	if err != nil {
		return err
	}
	after, err := c.rootRecord(e, parts.roots[1], e.Root)
	if err != nil {
		return err
	}
	if before == nil || after == nil {
		c.missing(e.about, whatRecords, "that the access policy names who signed the root records")
		return nil
	}
	if err := after.Succeeds(before, parts.roots[0]); err != nil {
		return err
	}
	x := after.Erased
	switch {
	case x == nil || before.Generation != e.From || after.Generation != e.To || after.Control != e.Control:
		return errors.New("the root records are of another step than the erasure")
	case x.List != e.List || x.Root != e.Paths || x.Scopes != e.Scopes || x.Removed != e.Removed || x.Spent != e.Spent ||
		x.Cause != string(e.Cause) || !slices.EqualFunc(x.Requests, e.Requests, sameOutcome):
		return errors.New("the root record says something else about the erasure")
	}
	e.sets = before.Custody.Sets
	c.holds(e.about, whatRecords, e.by, fmt.Sprintf("record %d to %d, %s to %d", before.N, after.N, count(before.Live, "key"), after.Live))
	return c.difference(e, before, after)
}

// sameOutcome reports whether the control log says of a request what the root record says.
func sameOutcome(a keyroot.Outcome, b control.Outcome) bool {
	until := a.Until == nil && b.Until == nil || a.Until != nil && b.Until != nil && a.Until.Format(time.RFC3339Nano) == b.Until.Format(time.RFC3339Nano)
	return until && a.Request == b.Request && a.Erased == b.Erased && a.Whole == b.Whole && a.Held == b.Held && a.Retained == b.Retained && a.Left == b.Left &&
		!b.Nothing && b.Problem == ""
}

// rootRecord reads a record that an entry names; nil if nothing in the file names who signed it.
func (c *checker) rootRecord(e *erasure, file []byte, want control.RootRef) (*keyroot.Record, error) {
	peek, err := keyroot.Peek(file)
	if err != nil {
		return nil, err
	}
	if keyroot.Hash(file) != want.Hash || peek.N != want.N || peek.Archive != c.trust.Archive {
		return nil, fmt.Errorf("root record %d is not the one that the erasure names", peek.N)
	}
	key := c.named("keyservice", peek.By, e.proof.Index)
	if key == nil {
		return nil, nil
	}
	return keyroot.Parse(file, note.VerifierList(key))
}

// difference checks the list, and that nothing else went.
func (c *checker) difference(e *erasure, before, after *keyroot.Record) error {
	parts := &e.entryGroup.erasure
	if len(parts.removed) > 0 {
		return nil
	}
	if !parts.hasList {
		c.missing(e.about, whatList, "which keys went")
		return nil
	}
	if commit.Hash(parts.list) != e.List {
		return errors.New("the list is not the one that the erasure names")
	}
	list, err := keyring.ParseErased(c.trust.Archive, parts.list)
	if err != nil {
		return err
	}
	if list.Root() != e.Paths || list.Paths() != e.Removed || list.Scopes() != e.Scopes || uint64(len(list.Spent)) != e.Spent {
		return errors.New("the list has other paths than the erasure says")
	}
	e.list = list
	c.holds(e.about, whatList, e.by, fmt.Sprintf("%s, SHA-256 %s", count(e.Removed, "path"), e.List))
	if parts.proofs == nil {
		c.missing(e.about, whatDifference, "that nothing but the list went")
		return nil
	}
	if err := keyring.VerifyErasure(before.Public(nil), after.Public(nil), list, parts.proofs); err != nil {
		return err
	}
	c.holds(e.about, whatDifference, e.by, "all paths of the list were there, are gone, and no other went")
	return nil
}

// later takes in what was said of the destruction after the erasure.
func (c *checker) later(e *erasure, hash commit.Hex32) error {
	e.said, e.last = slices.Repeat([]string{e.by}, len(e.Custody)), e.by
	for _, d := range c.about.destroyed[hash] {
		g := d.entryGroup
		g.used = true
		key, err := c.signer(g, "keyservice")
		if err != nil {
			return err
		}
		if key == nil {
			c.missing(e.about, whatCustodian, "that the access policy names "+g.entry.By)
			continue
		}
		if g.proof.Index <= e.proof.Index || d.Watermark < e.Watermark {
			return errors.New("a destruction that comes before its erasure, or goes back")
		}
		e.Custody, e.last = append(e.Custody, d.Custody...), keyName(key)
		e.said = append(e.said, slices.Repeat([]string{e.last}, len(d.Custody))...)
		e.Watermark, e.Archive, e.Open = d.Watermark, d.Archive, d.Open
	}
	return nil
}

// custody evaluates what custodians said, by the sets that could open the generation.
func (c *checker) custody(e *erasure) error {
	gone, irrecoverable := map[string]bool{}, map[string]time.Time{}
	for i := range e.Custody {
		d := &e.Custody[i]
		if err := c.statement(d); err != nil {
			return err
		}
		if d.Destroyed == nil {
			continue
		}
		detail := fmt.Sprintf("%s, class %s, generation %d destroyed %s", d.Custodian, d.Class, d.Generation, stamp(*d.Destroyed))
		if d.Irrecoverable != nil {
			detail += ", irrecoverable " + stamp(*d.Irrecoverable)
		}
		c.holds(e.about, whatCustodian, e.said[i], detail)
		if d.Generation == e.From {
			gone[d.Custodian] = true
			if d.Irrecoverable != nil {
				irrecoverable[d.Custodian] = *d.Irrecoverable
			}
		}
	}
	if e.sets == nil {
		c.missing(e.about, whatDead, "who could open the generation")
		return nil
	}
	blocked := keyroot.Blocking(e.sets, func(name string) bool { return gone[name] })
	from, dead := keyroot.DeadFrom(e.sets, irrecoverable)
	switch {
	case dead:
		c.holds(e.about, whatDead, e.last, fmt.Sprintf("generation %d from %s: no set of %v can open it", e.From, stamp(from), e.sets))
	case blocked:
		c.holds(e.about, whatBestEffort, e.last, fmt.Sprintf("generation %d was destroyed by a blocking set of %v, of which no time can be stated", e.From, e.sets))
	default:
		c.missing(e.about, whatDead, fmt.Sprintf("generation %d: custodians that block all of %v", e.From, e.sets))
	}
	if e.Archive != nil && (!dead || e.Archive.Before(from) || e.Watermark < e.To) {
		return errors.New("it states a time for the archive that its custodians do not give")
	}
	return nil
}

// ourStatement is how the statement of a custodian begins that is in our form: docs/formats/custodian.md.
const ourStatement = `{"stele":"custodian/v1",`

// statement checks that a custodian's own words are those of the entry.
func (c *checker) statement(d *control.Destruction) error {
	if !strings.HasPrefix(d.Statement, ourStatement) {
		return nil // custodians of others may say it in their own form; the key service vouches for the entry
	}
	a, err := custodian.ParseAttestation([]byte(d.Statement))
	if err != nil {
		return err
	}
	if again, err := a.Marshal(); err != nil || string(again) != d.Statement {
		return fmt.Errorf("the statement of %s is not written as it must be", d.Custodian)
	}
	same := func(t *time.Time, said time.Time) bool {
		return (t == nil) == said.IsZero() && (t == nil || t.Equal(said))
	}
	if a.Name != d.Custodian || a.Generation != d.Generation || string(a.Class) != d.Class || a.Archive != c.trust.Archive ||
		!same(d.Destroyed, a.Destroyed) || !same(d.Irrecoverable, a.From) {
		return fmt.Errorf("the statement of %s is not what the entry says of it", d.Custodian)
	}
	return nil
}

// times says from when on nothing opens what was erased.
func (c *checker) times(e *erasure) {
	if e.Archive != nil {
		c.holds(e.about, whatArchive, e.last, "copies of the archive and of its backups: "+stamp(*e.Archive))
	} else {
		c.missing(e.about, whatArchive, "from when on no copy of the archive opens it")
	}
	c.holds(e.about, whatTransport, e.by, "copies of the grants transport: "+stamp(e.Transport))
	for _, word := range e.Open {
		c.missing(e.about, whatOpen, word)
	}
	for _, limit := range assumptions() {
		if !slices.Contains(c.report.Limits, limit) { // several erasures assume the same
			c.report.Limits = append(c.report.Limits, limit)
		}
	}
}

// removed checks the paths that stand in for the list.
func (c *checker) removed(e *erasure) error {
	if len(e.erasure.removed) > 0 {
		c.missing(e.about, whatOthers, "which other keys went, and that nothing else did: its certificate says so")
	}
	for _, r := range e.erasure.removed {
		p := merkle.InclusionProof{Index: r.index, Size: e.Removed, Path: r.proof}
		if err := p.Verify(merkle.LeafHash(r.path), e.Paths); err != nil {
			return &FailedError{r.number, false, fmt.Errorf("a path that is not in the list of the erasure: %w", err)}
		}
	}
	return nil
}
