package control

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyscope"
)

// What requests are for.
const (
	WhatErase    = "erase"
	WhatPolicy   = "policy"
	WhatRelease  = "release"
	WhatRecovery = "recovery"
)

// Kinds of what requests and holds select.
const (
	KindTenant  = "tenant"
	KindSubject = "subject"
	KindSession = "session"
	KindClass   = "class"
	KindScopes  = "scopes"
)

const (
	// Horizon is how long after the end of its week an intake key is kept.
	Horizon = 14 * 24 * time.Hour
	// maxOpen bounds how long a request may wait for approvals.
	maxOpen = 90 * 24 * time.Hour
	// maxAhead is how far an author's clock may be ahead of that of the log.
	maxAhead = 5 * time.Minute
)

// Selection is what an entry selects, without saying it: a salted hash, and the sealed object that the key service opens.
type Selection struct {
	Kind   string       `json:"kind"`
	Salted commit.Hex32 `json:"salted"`
	Week   uint16       `json:"week"` // of the intake key
	Sealed commit.Hex32 `json:"sealed"`
}

// RequestBody asks for something that two approvers decide. It has the members that its What names, and no other.
type RequestBody struct {
	What     string        `json:"what"`
	Until    time.Time     `json:"until"`              // no approval counts later
	Urgent   bool          `json:"urgent,omitempty"`   // erase
	Select   *Selection    `json:"select,omitempty"`   // erase
	Hold     *commit.Hex32 `json:"hold,omitempty"`     // release
	Base     *commit.Hex32 `json:"base,omitempty"`     // policy: Governed of the one that it was made from
	Policy   *Policy       `json:"policy,omitempty"`   // policy: without version, writers and intake keys, which stay as they are
	ReadKeys []ReadKey     `json:"readkeys,omitempty"` // policy: new read keys, or more wraps of those that there are
	Recovery *Recovery     `json:"recovery,omitempty"` // recovery
}

// Recovery says what was lost of the key store, and which root record stands in.
type Recovery struct {
	RootRef                   // the record that stands in
	Generation uint64         `json:"generation"`
	Lost       []RootRef      `json:"lost"`    // records that the log knows, ascending
	Packs      []commit.Hex32 `json:"packs"`   // that the newest record names, ascending
	Missing    uint64         `json:"missing"` // scopes that the newest record which is known had more
}

// RootRef names a root record.
type RootRef struct {
	N    uint64       `json:"n"`
	Hash commit.Hex32 `json:"hash"`
}

// Decision approves or rejects a request, named by the SHA-256 of its entry.
type Decision struct {
	Request commit.Hex32 `json:"request"`
}

// check reports what is wrong with a request by itself.
func (r *RequestBody) check(made time.Time) error {
	has := map[string]bool{
		WhatErase: r.Select != nil, WhatPolicy: r.Policy != nil && r.Base != nil, WhatRelease: r.Hold != nil, WhatRecovery: r.Recovery != nil,
	}
	n := 0
	for _, yes := range has {
		if yes {
			n++
		}
	}
	switch {
	case !has[r.What] || n != 1 || r.What != WhatPolicy && (r.ReadKeys != nil || r.Base != nil || r.Policy != nil) || r.What != WhatErase && r.Urgent:
		return fmt.Errorf("a request for %q has the members of another, or lacks its own", r.What)
	case !r.Until.After(made):
		return errors.New("it ends before it was made")
	case r.Until.Sub(made) > maxOpen:
		return fmt.Errorf("it is open for more than %d days", maxOpen/(24*time.Hour))
	}
	if r.Policy != nil && (r.Policy.Version != 0 || r.Policy.Writers != nil || r.Policy.Intake != nil) {
		return errors.New("a proposed policy has no version, no writers and no intake keys: they stay as they are")
	}
	if r.Recovery != nil {
		return r.Recovery.check()
	}
	if r.Select == nil {
		return nil
	}
	switch r.Select.Kind {
	case KindTenant, KindSubject, KindSession, KindClass, KindScopes:
	default:
		return fmt.Errorf("it selects by %q", r.Select.Kind)
	}
	if r.Until.After(r.Select.Dies()) {
		return fmt.Errorf("it is open beyond %s, when the key to what it selects is erased", r.Select.Dies().Format(time.RFC3339))
	}
	return r.Select.check(made)
}

// maxLost bounds what a recovery may say is lost, of records and of packs.
const maxLost = 4096

func (r *Recovery) check() error {
	switch {
	case r.N == 0 || r.Generation == 0 || r.Lost == nil || r.Packs == nil:
		return errors.New("it names no record that stands in, or a member is missing")
	case len(r.Lost)+len(r.Packs) == 0 || len(r.Lost) > maxLost || len(r.Packs) > maxLost:
		return fmt.Errorf("%d records and %d packs are lost: it is at least one, and at most %d of each", len(r.Lost), len(r.Packs), maxLost)
	}
	for i := 1; i < len(r.Lost); i++ {
		if r.Lost[i-1].Compare(r.Lost[i]) >= 0 {
			return errors.New("lost records do not ascend")
		}
	}
	for i := 1; i < len(r.Packs); i++ {
		if bytes.Compare(r.Packs[i-1][:], r.Packs[i][:]) >= 0 {
			return errors.New("lost packs do not ascend")
		}
	}
	return nil
}

// Compare orders root records by number, then by hash.
func (r RootRef) Compare(b RootRef) int {
	return cmp.Or(cmp.Compare(r.N, b.N), bytes.Compare(r.Hash[:], b.Hash[:]))
}

// Dies is when the intake key, and with it the sealed object, is erased.
func (s *Selection) Dies() time.Time { return keyscope.WeekStart(s.Week).Add(7*24*time.Hour + Horizon) }

func (s *Selection) check(made time.Time) error {
	switch {
	case s.Week > keyscope.Week(made):
		return errors.New("it is sealed to the key of a week to come, which lives too long")
	case s.Salted == commit.Hex32{} || s.Sealed == commit.Hex32{}:
		return errors.New("it has no salted hash or no sealed selection")
	}
	return nil
}

// Standing says where a request stands.
type Standing string

// Where a request stands. One that is pending and whose time is over stays so for ever: see Request.Expired.
const (
	Pending    Standing = "pending"
	Approved   Standing = "approved" // and not yet done
	Done       Standing = "done"
	Rejected   Standing = "rejected"
	Superseded Standing = "superseded" // the policy that it was made from is no longer in force
)

// Request is a request of the log with what became of it.
type Request struct {
	RequestBody
	ID       commit.Hex32 // SHA-256 of its entry
	Index    uint64
	By       string
	Time     time.Time
	Standing Standing
	Yes, No  []Voice   // of approvers, each person once
	Effect   uint64    // size of the log from which on it is approved; 0: it is not
	At       time.Time // of the object that holds the approval which decided
	Single   bool      // decided by fewer than two approvers with keys that init did not make
	Outcomes []Outcome // what key services said, oldest first

	lapsed []approval // approvals that were taken back
	done   uint64     // size of the log from which on it is carried out; 0: it is not
}

// approval is from one size of the log on, up to before another.
type approval struct {
	from, to uint64
	single   bool
}

// ApprovedAt reports whether the request was approved and not yet carried out when the log had a size, and whether that was
// single control.
func (r *Request) ApprovedAt(size uint64) (single, ok bool) {
	if r.done > 0 && r.done <= size {
		return false, false
	}
	if r.Effect > 0 && r.Effect <= size {
		return r.Single, true
	}
	for _, a := range r.lapsed {
		if a.from <= size && size < a.to {
			return a.single, true
		}
	}
	return false, false
}

// WasApproved reports whether the request is, or ever was, approved.
func (r *Request) WasApproved() bool { return r.Effect > 0 || len(r.lapsed) > 0 }

// lapse takes the approval back in the entry that makes the log as long as size.
func (r *Request) lapse(standing Standing, size uint64) {
	if r.Effect > 0 {
		r.lapsed = append(r.lapsed, approval{r.Effect, size, r.Single})
	}
	r.Standing, r.Effect, r.At = standing, 0, time.Time{}
}

// Voice is what one approver said.
type Voice struct {
	By    string // key name
	Entry commit.Hex32
	Time  time.Time
	key   string
}

// Expired reports whether a request can no longer be approved.
func (r *Request) Expired(now time.Time) bool { return r.Standing == Pending && now.After(r.Until) }

// HoldBody is what nobody may erase until two approvers release it.
type HoldBody struct {
	Selection
}

// Hold is a hold of the log. Its id in the key trie is the first half of Entry.
type Hold struct {
	HoldBody
	Entry    commit.Hex32
	Index    uint64
	By       string
	Time     time.Time
	Released uint64 // size of the log from which on it is released; 0: it stands

	releasedAt time.Time // of the object that holds the approval of that
}

// StandsAt reports whether the hold stood when the log had the given size.
func (h *Hold) StandsAt(size uint64) bool {
	return h.Index < size && (h.Released == 0 || h.Released > size)
}
