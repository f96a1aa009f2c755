package control

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyscope"
)

const (
	selectorFormat = "selector/v1"
	// MaxScopes bounds the scopes that one request names.
	MaxScopes = 10_000
	// MaxReason bounds the free text of a request in bytes.
	MaxReason = 2_000
)

// Selector is what a request or a hold selects, in clear: for who asks, who approves, and the key service.
type Selector struct {
	Stele   string         `json:"stele"`
	Archive commit.Hex16   `json:"archive"`
	Kind    string         `json:"kind"`
	Value   string         `json:"value,omitempty"`  // tenant, subject, session or class
	Tag     *commit.Hex16  `json:"tag,omitempty"`    // of tenant, subject or session
	Scopes  []commit.Hex16 `json:"scopes,omitempty"` // ascending
	Asked   string         `json:"asked,omitempty"`  // where scopes were found by something else: by what
	Reason  string         `json:"reason,omitempty"`
	Salt    commit.Hex32   `json:"salt"`
}

// Line is the selector as it is hashed and sealed.
func (s *Selector) Line() ([]byte, error) {
	s.Stele = selectorFormat
	if err := s.check(); err != nil {
		return nil, err
	}
	return commit.MarshalLine(s)
}

// Salted is the hash of a selector's line, as entries name it.
func Salted(line []byte) commit.Hex32 {
	return sha256.Sum256(append([]byte("stele/selector/v1\x00"), line...))
}

// ParseSelector reads a line that an entry names.
func ParseSelector(line []byte, named *Selection, archive [16]byte) (*Selector, error) {
	if Salted(line) != named.Salted {
		return nil, errors.New("the selection is not the one that the entry names")
	}
	s := new(Selector)
	if err := commit.UnmarshalLine(string(line), selectorFormat, s); err != nil {
		return nil, err
	}
	if again, err := commit.MarshalLine(s); err != nil || !bytes.Equal(again, line) {
		return nil, errors.New("a selection that is not written as it must be")
	}
	if s.Archive != archive || s.Kind != named.Kind {
		return nil, errors.New("the selection is of another archive, or of another kind than the entry says")
	}
	return s, s.check()
}

func (s *Selector) check() error {
	if s.Salt == (commit.Hex32{}) {
		return errors.New("selection without salt")
	}
	if !utf8.ValidString(s.Value) || !utf8.ValidString(s.Reason) || len(s.Reason) > MaxReason {
		return fmt.Errorf("value or reason is no text, or the reason is longer than %d bytes", MaxReason)
	}
	ascending := slices.IsSortedFunc(s.Scopes, func(a, b commit.Hex16) int { return slices.Compare(a[:], b[:]) })
	switch s.Kind {
	case KindTenant, KindSubject, KindSession:
		if s.Value == "" || s.Tag == nil || *s.Tag == (commit.Hex16{}) || s.Scopes != nil {
			return fmt.Errorf("a selection by %s has a value and its tag, and nothing else", s.Kind)
		}
	case KindClass:
		if s.Value == "" || s.Tag != nil || s.Scopes != nil {
			return errors.New("a selection by class has the name of one, and nothing else")
		}
	case KindScopes:
		if len(s.Scopes) == 0 || len(s.Scopes) > MaxScopes || !ascending || s.Value != "" || s.Tag != nil {
			return fmt.Errorf("a selection of scopes has 1 to %d of them, ascending", MaxScopes)
		}
	default:
		return fmt.Errorf("selection by %q", s.Kind)
	}
	return nil
}

// TagOf is the tag of a value of a kind under the archive's pepper, as a selector has it.
func TagOf(pepper *[32]byte, kind, value string) (tag commit.Hex16, err error) {
	switch kind {
	case KindTenant:
		return commit.Hex16(keyscope.MakeTags(pepper, []byte(value), nil, nil).Tenant), nil
	case KindSubject:
		return commit.Hex16(keyscope.MakeTags(pepper, nil, []byte(value), nil).Subject), nil
	case KindSession:
		return commit.Hex16(keyscope.MakeTags(pepper, nil, nil, []byte(value)).Session), nil
	}
	return tag, fmt.Errorf("%s has no tag", kind)
}

// Selected is what a request to erase, or a hold, selects, and who wrote it, if the entry is authentic: in the log, or
// fit to be.
func (s *State) Selected(file string) (sel Selection, by string, err error) {
	e, err := s.open(file)
	if err != nil {
		return sel, "", err
	}
	switch e.Type {
	case TypeRequest:
		var r RequestBody
		if err := e.Into(&r); err != nil {
			return sel, "", err
		}
		if r.Select == nil {
			return sel, "", errors.New("the request selects nothing")
		}
		return *r.Select, e.By, nil
	case TypeHold:
		var h HoldBody
		err := e.Into(&h)
		return h.Selection, e.By, err
	}
	return sel, "", fmt.Errorf("it is a %s entry", e.Type)
}
