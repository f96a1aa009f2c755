package control

import (
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/merkle"
)

// TypeRoster is the type of entries that commit to the names of the access policy, so that one of them can be shown
// without the policy, which is long.
const TypeRoster = "roster"

// Roster commits to the names and keys of the policy in force.
type Roster struct {
	Version uint64      `json:"version"` // of the policy
	Names   uint64      `json:"names"`
	Root    merkle.Hash `json:"root"` // RFC 6962, over the lines of Policy.Names
}

// NewRoster is the roster of a policy.
func NewRoster(p *Policy) Roster {
	lines := p.Names()
	hashes := make([]merkle.Hash, len(lines))
	for i, line := range lines {
		hashes[i] = merkle.LeafHash([]byte(line))
	}
	return Roster{p.Version, uint64(len(lines)), merkle.Root(hashes)}
}

// Names lists who the policy names, each as one line of a roster.
func (p *Policy) Names() (lines []string) {
	for _, role := range []string{RoleApprover, RoleHolder, RoleCompactor, RoleKeyService, RoleReader} {
		for _, n := range p.named(role) {
			lines = append(lines, role+" "+n.Key)
		}
	}
	for _, w := range p.Writers {
		line := "writer " + w.Name + " " + base64.StdEncoding.EncodeToString(w.Key)
		if w.Revoked != nil {
			line += " revoked " + w.Revoked.UTC().Format(time.RFC3339Nano)
		}
		lines = append(lines, line)
	}
	return lines
}

// checkRoster accepts the roster of the policy in force, and no other.
func (s *State) checkRoster(r *Roster) error {
	if p := s.Policy(); p == nil || *r != NewRoster(p) {
		return refuse(whyInvalid, "the roster of policy version %d is not that of the policy in force", r.Version)
	}
	return nil
}

// Roster is the newest roster, by the SHA-256 of its entry; zero if there is none.
func (s *State) Roster() (entry commit.Hex32) {
	if n := len(s.rosters); n > 0 {
		entry = s.rosters[n-1]
	}
	return entry
}

// FalseRoster is why heads have no effect whose compactor names a roster that the log did not have.
type FalseRoster struct{ By string }

func (e *FalseRoster) Error() string {
	return fmt.Sprintf("%s signed heads under a roster that is not in the control log before them", e.By)
}

// checkNamed accepts heads under a roster that had an effect before them, or under none: not the newest, because another may
// have come while they were on their way.
func (s *State) checkNamed(by string) func(*Heads) error {
	return func(h *Heads) error {
		if h.Roster != (commit.Hex32{}) && !slices.Contains(s.rosters, h.Roster) {
			return refuse(whyInvalid, "%w", &FalseRoster{by})
		}
		return nil
	}
}

// ParseEntry reads an entry without looking at its signature. It refuses one that is not written in the one way in which
// a note with one signature can be.
func ParseEntry(file string) (*Entry, error) {
	if !canonical([]byte(file)) {
		return nil, fmt.Errorf("control: the note is not written as it must be")
	}
	return peek(file)
}

// Canonical reports whether a note has one signature, in the one way in which base64 writes its bytes.
func Canonical(file []byte) bool { return canonical(file) }
