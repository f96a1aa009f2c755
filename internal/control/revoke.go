package control

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/identity"
)

// revokedKey is how it stood when a key was revoked.
type revokedKey struct {
	size uint64    // of the log from which on it is
	at   time.Time // of the log then
}

// vkeyName is the name in a vkey.
func vkeyName(vkey string) string {
	name, _, _ := strings.Cut(vkey, "+")
	return name
}

// noteRevoked takes down how it stands with what a policy that comes into force revokes.
func (s *State) noteRevoked(p *Policy) {
	now := map[string]revokedKey{}
	for _, r := range p.Revoked {
		k, known := s.revoked[r.Key]
		if !known {
			k = revokedKey{s.Size(), s.reckoning.Time}
		}
		now[r.Key] = k
	}
	s.revoked = now
}

// bound is what a policy says of heads under a key name: nil if the key is not revoked, else the last commit of each log.
func (p *Policy) bound(by string) *Revocation {
	if p == nil {
		return nil
	}
	for i := range p.Revoked {
		if vkeyName(p.Revoked[i].Key) == by {
			return &p.Revoked[i]
		}
	}
	return nil
}

// binds reports whether the head of commit n of a log still counts, whose author the policy revokes.
func (r *Revocation) binds(log string, n uint64) bool {
	last, named := r.Last[log]
	return named && n <= last
}

// Binding is the newest head of a log that keeps everybody from going on without its commit; zero if there is none.
func (s *State) Binding(log string) (h Head) {
	p := s.Policy()
	for i := range s.Heads[log] {
		have := &s.Heads[log][i]
		if r := p.bound(have.By); (r == nil || r.binds(log, have.Commit)) && (h.Log == "" || have.Commit >= h.Commit) {
			h = have.Head
		}
	}
	return h
}

// RootsLog is the name under which a revocation says up to which root record the word of a key service binds.
func RootsLog(archive string) string { return archive + "/keys" }

// BindsRoot reports whether nobody may go on without root record n because who has a key name has said that it is there.
func (s *State) BindsRoot(by string, n uint64) bool {
	r := s.Policy().bound(by)
	return r == nil || r.binds(RootsLog(s.Trust.Name), n)
}

// HeadsFrom are the heads of commits from n on of a log, the lowest first.
func (s *State) HeadsFrom(log string, n uint64) (out []LoggedHead) {
	for i := range s.Heads[log] {
		if h := &s.Heads[log][i]; h.Commit >= n {
			out = append(out, *h)
		}
	}
	slices.SortStableFunc(out, func(a, b LoggedHead) int { return cmp.Compare(a.Commit, b.Commit) })
	return out
}

// Revoked reports whether the newest policy revokes the key under a name, and at what time of the log it came to do so.
func (s *State) Revoked(by string) (at time.Time, yes bool) {
	for vkey, k := range s.revoked {
		if vkeyName(vkey) == by {
			return k.at, true
		}
	}
	return at, false
}

// KeepersRevoked is the size of the log at which a key service was last revoked; 0: none was.
func (s *State) KeepersRevoked() (size uint64) {
	prefix := identity.KeyName(s.Trust.Name, RoleKeyService, "")
	for vkey, k := range s.revoked {
		if strings.HasPrefix(vkey, prefix) {
			size = max(size, k.size)
		}
	}
	return size
}

// MayKeep reports whether the newest policy names a key service with this key name.
func (s *State) MayKeep(by string) bool {
	return s.Policy().keyOf(s.Trust.Name, RoleKeyService, by) != ""
}

// Revoke takes a compactor or key service out of a policy, and revokes its key as of now. last are the commits of which the
// heads of a compactor count on.
func (p *Policy) Revoke(role, name string, last map[string]uint64) error {
	list := map[string]*[]Named{RoleCompactor: &p.Compactors, RoleKeyService: &p.KeyServices}[role]
	if list == nil {
		return fmt.Errorf("a %s is not revoked this way", role)
	}
	at := slices.IndexFunc(*list, func(n Named) bool { return n.Name == name })
	if at < 0 {
		return fmt.Errorf("the access policy names no %s %s", role, name)
	}
	if len(*list) == 1 {
		return fmt.Errorf("%s is the only %s: add another one first, the archive cannot go on without", name, role)
	}
	r := Revocation{Key: (*list)[at].Key, Last: last}
	*list = slices.Delete(slices.Clone(*list), at, at+1)
	p.Revoked = append(slices.Clone(p.Revoked), r)
	return nil
}

// checkRevoked refuses a name that went from a revoked key to another one: commits and records are told apart by names.
func (p *Policy) checkRevoked(archive string) error {
	for _, r := range p.Revoked {
		if _, err := publicKey(r.Key); err != nil {
			return fmt.Errorf("revoked key %q: %w", r.Key, err)
		}
		for _, role := range []string{RoleCompactor, RoleKeyService} {
			if key := p.keyOf(archive, role, vkeyName(r.Key)); key != "" && key != r.Key {
				return errors.New("a key under the name " + vkeyName(r.Key) + " was revoked; use another name")
			}
		}
	}
	return nil
}
