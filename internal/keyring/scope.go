package keyring

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/keyscope"
)

// Scope is a wrapped scope key and what it is bound to.
type Scope struct {
	ID      [16]byte
	Expires bool   // its class has a TTL: see Place
	Day     uint16 // path day
	Week    uint16 // of the intake key by which it came
	Stream  [16]byte
	Encap   [16]byte // id of the encapsulation of the inner wrap
	Start   int64    // ns since 1970
	Class   string
	Inner   [keyscope.InnerSize]byte
	Tags    Tags
}

// Check is the first half of the key check value.
func (s *Scope) Check() (c [16]byte) {
	h := keyscope.KeyCheck(s.ID, s.Encap, &s.Inner)
	copy(c[:], h[:])
	return c
}

// Place gives the scope its path day. ttl is that of its class in days, 0 for none; arrival is when the transport took
// the grant.
func (s *Scope) Place(arrival time.Time, ttl uint16) {
	s.Expires, s.Day = ttl > 0, keyscope.ScopeDay(s.ID)
	if s.Expires {
		s.Day = max(s.Day, keyscope.Day(arrival.Add(time.Duration(ttl)*24*time.Hour)))
	}
}

// Stale reports whether a scope that started then cannot have been wrapped to the intake key of a week.
func Stale(week uint16, start int64) bool {
	return time.Unix(0, start).Before(keyscope.WeekStart(week).Add(-24 * time.Hour))
}

const (
	classWords  = 0
	flagTag     = 1 << 2 // tenant; subject and session are the next two
	maxFlags    = 1<<5 - 1
	fixedValue  = 1 + 2 + 4 + 8 + keyscope.InnerSize
	maxClassLen = 32
)

// classCode lists the classes that have a code.
var classCode = [...]string{1: "default", 2: "state", 3: "audit"}

func (s *Scope) value() []byte {
	flags := byte(max(slices.Index(classCode[1:], s.Class)+1, classWords))
	for i, t := range s.Tags {
		if t != (Tag{}) {
			flags |= flagTag << i
		}
	}
	b := binary.LittleEndian.AppendUint16([]byte{flags}, s.Week)
	b = append(b, s.Encap[:4]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Start))
	b = append(b, s.Inner[:]...)
	for _, t := range s.Tags {
		if t != (Tag{}) {
			b = append(b, t[:]...)
		}
	}
	if flags&3 == classWords {
		b = append(append(b, byte(len(s.Class))), s.Class...)
	}
	return b
}

// stored is a scope as an entry of the key trie has it: of the encapsulation it knows the beginning only.
type stored struct {
	Scope
	check [16]byte
}

var errValue = errors.New("value of a scope does not parse")

// parseScope reads an entry of the spaces of scopes.
func parseScope(path, value []byte) (s stored, err error) {
	if !IsScope(path) || len(value) < fixedValue || value[0] > maxFlags {
		return s, errValue
	}
	s.Expires = path[0] == spaceExpire
	s.Day = binary.BigEndian.Uint16(path[1:])
	copy(s.ID[:], path[3:])
	copy(s.check[:], path[19:])
	flags := value[0]
	s.Week = binary.LittleEndian.Uint16(value[1:])
	copy(s.Encap[:4], value[3:])
	s.Start = int64(binary.LittleEndian.Uint64(value[7:]))
	copy(s.Inner[:], value[15:])
	rest := value[fixedValue:]
	for i := range s.Tags {
		if flags&(flagTag<<i) == 0 {
			continue
		}
		if len(rest) < len(s.Tags[i]) || Tag(rest) == (Tag{}) {
			return s, errValue
		}
		s.Tags[i], rest = Tag(rest), rest[len(s.Tags[i]):]
	}
	if code := flags & 3; code != classWords {
		s.Class = classCode[code]
	} else {
		if len(rest) == 0 || int(rest[0]) != len(rest)-1 || len(rest)-1 > maxClassLen {
			return s, errValue
		}
		s.Class, rest = string(rest[1:]), nil
		if len(s.Class) == 0 || slices.Contains(classCode[1:], s.Class) {
			return s, errValue
		}
	}
	if len(rest) > 0 {
		return s, errValue
	}
	return s, nil
}

// complete fills in encapsulation and stream, if these are the ones that give the check of the path.
func (s *stored) complete(streamPath []byte) bool {
	full := s.Scope
	copy(full.Encap[:], streamPath[1:])
	copy(full.Stream[:], streamPath[17:])
	if full.Check() != s.check {
		return false
	}
	s.Scope = full
	return true
}

// near is the beginning of the path that the scope shares with those that an index path may lead to as well.
func (s *Scope) near() []byte {
	return join(s.space(), be16(s.Day), s.ID[:6])
}
