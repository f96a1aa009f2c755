package evidence

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/merkle"
)

// recordGroup is a record part and those behind it that are about it.
type recordGroup struct {
	number int
	leafPart
	log    *merkle.TLogProof
	fields *[seal.FieldCount]Value
	scope  *scopePart
}

// entryGroup is an entry of the control log with its proof and, of a roster, names.
type entryGroup struct {
	number int
	file   string
	entry  *control.Entry
	proof  *merkle.TLogProof
	names  *namesPart
	logs   []byte // lines of a list of logs; nil without
	more   bool   // something else than its proof belongs to it
	bound  bool   // a roster that the heads behind it name
	used   bool
	opened string // key whose signature holds

	erasure erasureParts
}

// gather sorts the parts.
func (c *checker) gather(parts []Part) error {
	seen := map[merkle.Hash]bool{}
	for n, p := range parts {
		if err := c.take(n, p, seen); err != nil {
			f := new(FailedError)
			if errors.As(err, &f) {
				return err
			}
			return &FailedError{n, false, err}
		}
	}
	if len(c.records)+len(c.entries)+len(c.ranges) == 0 {
		return failed(-1, "it has no record and no entry of the control log")
	}
	return nil
}

var errMisplaced = errors.New("it does not follow what it belongs to, or is there twice")

func (c *checker) take(n int, p Part, seen map[merkle.Hash]bool) error {
	var r *recordGroup
	var e *entryGroup
	if len(c.records) > 0 {
		r = c.records[len(c.records)-1]
	}
	if len(c.entries) > 0 {
		e = c.entries[len(c.entries)-1]
	}
	if len(c.vouches) > 0 && (p.Kind < KindCosigned || p.Kind > KindAnchored && p.Kind <= rangeproof.KindTimes) {
		return errMisplaced
	}
	switch p.Kind {
	case KindRecord:
		return c.takeRecord(n, p, r, seen)
	case rangeproof.KindLeaves:
		return c.takeRange(n, p)
	case rangeproof.KindSigned:
		return c.takeSigned(p)
	case rangeproof.KindTimes:
		return c.takeTimes(n, p)
	case KindLog, KindFields, KindScope:
		if r == nil {
			return errMisplaced
		}
		return r.take(p)
	case KindStream:
		cert, err := keyscope.ParseCert(p.Data)
		if err != nil {
			return err
		}
		if c.streams[cert.Stream] != nil || !c.awaits(r, cert.Stream) {
			return errMisplaced
		}
		c.streams[cert.Stream] = cert
	case KindEntry:
		return c.takeEntry(n, p, seen)
	case KindCosigned, KindAnchored:
		return c.takeVouch(n, p)
	case KindControl, KindNames, KindRoot, KindErased, KindTries, KindSelect, KindRemoved, rangeproof.KindLogs:
		if e == nil {
			return errMisplaced
		}
		return e.take(n, p)
	default:
		c.missing("archive", whatUnknown, fmt.Sprintf("part %d of kind %d, %d bytes: a newer stele may know it", n, p.Kind, len(p.Data)))
	}
	return nil
}

// takeRecord begins what the file holds of a record, behind all of the one before.
func (c *checker) takeRecord(n int, p Part, before *recordGroup, seen map[merkle.Hash]bool) error {
	g := &recordGroup{number: n}
	var err error
	if g.leafPart, err = parseRecord(p.Data); err != nil {
		return err
	}
	leaf := merkle.LeafHash(g.leafdata)
	if seen[leaf] {
		return errMisplaced
	}
	seen[leaf] = true
	if before != nil && c.streams[before.leaf.Stream] == nil {
		return errors.New("the certificate of the stream of the record before is not behind it")
	}
	c.records = append(c.records, g)
	return nil
}

// takeEntry begins what the file holds of an entry of the control log.
func (c *checker) takeEntry(n int, p Part, seen map[merkle.Hash]bool) error {
	leaf := control.LeafHash(string(p.Data))
	entry, err := control.ParseEntry(string(p.Data))
	if err == nil {
		err = cmp.Or(spelled(entry.Body), isNote(p.Data))
	}
	if err != nil {
		return err
	}
	if seen[leaf] {
		return errMisplaced
	}
	seen[leaf] = true
	c.entries = append(c.entries, &entryGroup{number: n, file: string(p.Data), entry: entry})
	return nil
}

func (g *recordGroup) take(p Part) error {
	var err error
	switch {
	case p.Kind == KindLog && g.log == nil:
		g.log, err = parseProof(p.Data)
	case p.Kind == KindFields && g.fields == nil:
		var fields [seal.FieldCount]Value
		fields, err = parseFields(p.Data)
		g.fields = &fields
	case p.Kind == KindScope && g.scope == nil:
		var s scopePart
		s, err = parseScope(p.Data)
		g.scope = &s
	default:
		err = errMisplaced
	}
	return err
}

func (g *entryGroup) take(n int, p Part) (err error) {
	if p.Kind == KindControl {
		if g.proof != nil || g.more {
			return errMisplaced
		}
		g.proof, err = parseProof(p.Data)
		return err
	}
	g.more = true
	if p.Kind == rangeproof.KindLogs {
		if g.entry.Type != control.TypeLogs || g.logs != nil {
			return errMisplaced
		}
		g.logs = p.Data
		return nil
	}
	if p.Kind != KindNames {
		return g.takeErasure(n, p)
	}
	if g.entry.Type != control.TypeRoster || g.names != nil {
		return errMisplaced
	}
	names, err := parseNames(p.Data)
	names.number, g.names = n, &names
	return err
}

// parseProof reads a tlog-proof as this format has it: nothing in it is without meaning.
func parseProof(data []byte) (*merkle.TLogProof, error) {
	p := new(merkle.TLogProof)
	if err := p.UnmarshalText(data); err != nil {
		return nil, err
	}
	if err := isNote(p.Checkpoint); err != nil {
		return nil, fmt.Errorf("tlog-proof: %w", err)
	}
	if len(p.Extra) > 0 || !control.Canonical(p.Checkpoint) {
		return nil, errors.New("tlog-proof: it has extra data, or its checkpoint more than one signature")
	}
	return p, nil
}

// isNote checks that a file is a note, by whomever.
func isNote(file []byte) error {
	var unverified *note.UnverifiedNoteError
	if _, err := note.Open(file, note.VerifierList()); !errors.As(err, &unverified) {
		return err
	}
	return nil
}
