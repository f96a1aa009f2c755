package keyring

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/keyscope"
)

// Spaces, the first bytes of paths.
const (
	spaceStay   = 0x10
	spaceExpire = 0x11
	spaceMoved  = 0x12
	spaceIntake = 0x13
	spaceSpent  = 0x14

	indexStay      = 0x20
	indexExpire    = 0x21
	indexTombstone = 0x22
	indexStream    = 0x23
	indexHold      = 0x24
	indexDeferred  = 0x25
)

const (
	scopePath  = 1 + 2 + 16 + 16 // length of the path of a scope: space, day, id, check
	nearPath   = 1 + 2 + 6       // what scopes have in common that an index path cannot tell apart
	tagPathLen = 1 + 5 + 2 + 6
)

// Tag is what a tag of grant.md is cut to: its first 12 bytes. The zero Tag stands for an empty value.
type Tag [12]byte

// ShortTag cuts a tag.
func ShortTag(tag [16]byte) (t Tag) {
	copy(t[:], tag[:])
	return t
}

// Tags of a scope: tenant, subject, session.
type Tags [3]Tag

// ShortTags cuts the tags of a grant.
func ShortTags(t *keyscope.Tags) Tags {
	return Tags{ShortTag(t.Tenant), ShortTag(t.Subject), ShortTag(t.Session)}
}

// Has reports whether one of the tags is t.
func (t *Tags) Has(tag Tag) bool { return tag != Tag{} && slices.Contains(t[:], tag) }

// Tombstone destroys on arrival, and denies until then, scopes with a tag that started at or before a time.
type Tombstone struct {
	Tag    Tag
	Cutoff int64 // ns since 1970, not negative
	// Request is the hash of the control entry that asked for it: who counts what came later does so by request.
	Request [32]byte
}

// lastWeek is the last intake week in which a grant may come that the tombstone is for.
func (t *Tombstone) lastWeek() uint16 {
	return keyscope.Week(time.Unix(0, t.Cutoff).Add(24 * time.Hour))
}

// Hold keeps all scopes with a tag from being erased.
type Hold struct {
	Tag Tag
	ID  [16]byte
}

// IntakeKey is the private half of the intake key of a week. Public is the first half of the SHA-256 of the other one.
type IntakeKey struct {
	Week   uint16
	Public [16]byte
	Seed   [32]byte
}

// Spent is the grant of a key that was erased.
type Spent struct {
	Week  uint16
	Scope [16]byte
	Check [16]byte
}

func join(space byte, parts ...[]byte) []byte {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	out := append(make([]byte, 0, n), space)
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func be16(v uint16) []byte { return []byte{byte(v >> 8), byte(v)} }

func be16of(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

func be64of(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

func (s *Scope) space() byte {
	if s.Expires {
		return spaceExpire
	}
	return spaceStay
}

// path is that of the scope's key.
func (s *Scope) path() []byte { return s.pathOf(s.Check()) }

func (s *Scope) pathOf(check [16]byte) []byte { return join(s.space(), be16(s.Day), s.ID[:], check[:]) }

// moved is the path that leads from the id to the path day, nil if that is the day in the id.
func (s *Scope) moved() []byte { return s.movedBy(s.Check()) }

func (s *Scope) movedBy(check [16]byte) []byte {
	if s.Day == keyscope.ScopeDay(s.ID) {
		return nil
	}
	return join(spaceMoved, s.ID[:], be16(s.Day), check[:])
}

// tagPath is the index path of a tag, leading to the scope's key.
func (s *Scope) tagPath(t Tag) []byte {
	day := be16(s.Day)
	if s.Expires {
		return join(indexExpire, day, t[:5], s.ID[:6])
	}
	return join(indexStay, t[:5], day, s.ID[:6])
}

// tagPaths are the index paths of all tags of the scope.
func (s *Scope) tagPaths() (out [][]byte) {
	for _, t := range s.Tags {
		if t != (Tag{}) {
			out = append(out, s.tagPath(t))
		}
	}
	return out
}

// leadsTo is the beginning of the key paths that a tag's index path leads to.
func leadsTo(path []byte) []byte {
	if path[0] == indexExpire {
		return join(spaceExpire, path[1:3], path[8:14])
	}
	return join(spaceStay, path[6:14])
}

func (s *Scope) streamPath() []byte { return join(indexStream, s.Encap[:], s.Stream[:]) }

// Spent is what is remembered of the scope's grant.
func (s *Scope) Spent() Spent { return Spent{s.Week, s.ID, s.Check()} }

func (s *Spent) path() []byte { return join(spaceSpent, be16(s.Week), s.Scope[:], s.Check[:]) }

func (k *IntakeKey) path() []byte { return join(spaceIntake, be16(k.Week), k.Public[:]) }

func (t *Tombstone) path() []byte {
	return join(indexTombstone, t.Tag[:], binary.BigEndian.AppendUint64(nil, uint64(t.Cutoff)), t.Request[:])
}

// tombstone reads an index path as a tombstone.
func tombstone(path []byte) (t Tombstone, ok bool) {
	if len(path) != 53 || path[0] != indexTombstone {
		return t, false
	}
	return Tombstone{Tag(path[1:13]), int64(be64of(path[13:])), [32]byte(path[21:])}, true
}

func (h *Hold) path() []byte { return join(indexHold, h.Tag[:], h.ID[:]) }

// IsScope reports whether a public path is that of a scope's key.
func IsScope(path []byte) bool {
	return len(path) == scopePath && (path[0] == spaceStay || path[0] == spaceExpire)
}

// prefixesOf are the three beginnings of public paths by which a scope is found; without any it is not there. The
// third one leads to others: see [movedTo].
func prefixesOf(id [16]byte) [][]byte {
	day := be16(keyscope.ScopeDay(id))
	return [][]byte{join(spaceStay, day, id[:]), join(spaceExpire, day, id[:]), join(spaceMoved, id[:])}
}

// movedTo is the path of the key that a moved path stands for, nil if path is none.
func movedTo(path []byte) []byte {
	if len(path) != scopePath || path[0] != spaceMoved {
		return nil
	}
	return join(spaceExpire, path[17:19], path[1:17], path[19:])
}

// sortSet sorts paths and leaves out those that are there twice, or that begin with another one.
func sortSet(paths [][]byte) [][]byte {
	slices.SortFunc(paths, bytes.Compare)
	out := paths[:0]
	for _, p := range paths {
		if n := len(out); n == 0 || !bytes.HasPrefix(p, out[n-1]) {
			out = append(out, p)
		}
	}
	return out
}
