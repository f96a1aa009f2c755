package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/identity"
)

// revokedKey is how it stood when a key was revoked.
type revokedKey struct {
	size  uint64            // of the log from which on it is
	at    time.Time         // of the log then
	heads map[string]uint64 // newest commit of each log
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
			k = revokedKey{s.Size(), s.reckoning.Time, map[string]uint64{}}
			for log, heads := range s.Heads {
				for _, h := range heads {
					k.heads[log] = max(k.heads[log], h.Commit)
				}
			}
		}
		now[r.Key] = k
	}
	s.revoked = now
}

// Accepts reports whether commit n of log, signed under the key name by, stands by what the newest policy revokes.
func (s *State) Accepts(by, log string, n uint64) bool {
	for _, r := range s.Policy().Revoked {
		if vkeyName(r.Key) != by {
			continue
		}
		last, named := r.Last[log]
		head, logged := s.revoked[r.Key].heads[log]
		if !(named && n <= last) && !(logged && n <= head) {
			return false
		}
	}
	return true
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

// Revoke takes a compactor or key service out of a policy, and revokes its key as of now.
func (s *State) Revoke(p *Policy, role, name string) error {
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
	r := Revocation{Key: (*list)[at].Key, Last: map[string]uint64{}}
	for log, heads := range s.Heads {
		for _, h := range heads {
			if role == RoleCompactor {
				r.Last[log] = max(r.Last[log], h.Commit)
			}
		}
	}
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
