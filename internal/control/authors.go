package control

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// Why an entry has no effect, as refusals say it.
const (
	whyRole     = "role"     // the author may not write this type, or nobody here has that name
	whyArchive  = "archive"  // it is of another archive
	whyAltered  = "altered"  // the signature is not the author's, or not written as it must be
	whyInvalid  = "invalid"  // what it says cannot be
	whyUnknown  = "unknown"  // it names a request or hold that is not in the log before it
	whyTwice    = "twice"    // the same person, or the same key, said so already
	whyLate     = "late"     // the time of the request is over
	whyAhead    = "ahead"    // it is dated later than the object that holds it
	whyClosed   = "closed"   // the request is done, rejected or superseded; the hold is released
	whyReplayed = "replayed" // it is in the log already
)

// Refused is why an entry has no effect.
type Refused struct {
	Why string // one word
	Err error
}

func (r *Refused) Error() string { return "control: " + r.Err.Error() }

func (r *Refused) Unwrap() error { return r.Err }

func refuse(why, format string, args ...any) error { return &Refused{why, fmt.Errorf(format, args...)} }

// authors are the roles that may write entries of a type; nil: no such type is known. Of the policy root more is asked
// in rootMay.
func authors(kind string) []string {
	switch kind {
	case TypePolicy, TypeReadKey, TypeRoster:
		return []string{roleRoot}
	case TypeProbe, TypeRefusal, TypeExpired:
		return []string{roleRoot, RoleCompactor}
	case TypeHeads, TypeLogs, TypeQuarantine, TypeDivergence:
		return []string{RoleCompactor}
	case TypeAck:
		return []string{roleRoot, RoleReader}
	case TypeDisclosure:
		return []string{RoleReader}
	case TypeRequest, TypeReject:
		return []string{roleRoot, RoleApprover, RoleHolder, RoleReader}
	case TypeApprove:
		return []string{roleRoot, RoleApprover}
	case TypeHold:
		return []string{roleRoot, RoleApprover, RoleHolder}
	case TypeDrill:
		return []string{roleRoot, RoleApprover, RoleReader, RoleKeyService}
	case TypeIntake, TypeKeyRoot, TypeOutcome, TypeErased, TypeDestroyed, TypeSupplement:
		return []string{RoleKeyService}
	}
	return nil
}

// rootMay reports whether the policy root may write entries of a type alone.
func (p *Policy) rootMay(kind string) bool {
	switch kind {
	case TypeReadKey, TypeApprove, TypeHold:
		return !p.Dual()
	}
	return true
}

// verifier is the key that may write e: the one of its signer, if the policy lets it.
func (s *State) verifier(e *Entry) (note.Verifier, error) {
	roles := authors(e.Type)
	if roles == nil {
		return nil, refuse(whyInvalid, "entries of type %q are not known here; a newer stele may know them", e.Type)
	}
	if e.By == s.root.Name() && slices.Contains(roles, roleRoot) {
		if !s.Policy().rootMay(e.Type) {
			return nil, refuse(whyRole, "the policy root may not write %s entries alone since there are two approvers", e.Type)
		}
		return s.root, nil
	}
	for _, role := range roles {
		if key := s.Policy().keyOf(s.Trust.Name, role, e.By); key != "" {
			return note.NewVerifier(key)
		}
	}
	return nil, refuse(whyRole, "%s may not write %s entries", e.By, e.Type)
}

// signedBy reports whether a file is signed by the holder of any role that it names as its author.
func (s *State) signedBy(file string, e *Entry) bool {
	v := s.root
	if e.By != s.root.Name() {
		key := ""
		for _, role := range []string{RoleApprover, RoleHolder, RoleReader, RoleCompactor, RoleKeyService} {
			if key == "" {
				key = s.Policy().keyOf(s.Trust.Name, role, e.By)
			}
		}
		var err error
		if v, err = note.NewVerifier(key); err != nil {
			return false
		}
	}
	_, err := note.Open([]byte(file), note.VerifierList(v))
	return err == nil && canonical([]byte(file))
}

// whyOf is the word for an error.
func whyOf(err error) string {
	r := new(Refused)
	if errors.As(err, &r) {
		return r.Why
	}
	return whyInvalid
}

// Early reports whether the entry may have an effect once what it names is in the log.
func (r *Refused) Early() bool { return r.Why == whyUnknown }
