package control

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/note"
)

// former hears what a compactor says that the policy names no longer. It has no effect here; but whoever has an older roster and no newer policy believes
// it, so it must be true all the same. err is why the entry has no effect, and is returned, with more if it is not.
func (s *State) former(file string, l *Listed, err error) error {
	if s.known[sha256.Sum256([]byte(file))] || !s.wasCompactor(file, l.By) {
		return err
	}
	switch l.Type {
	case TypeLogs:
		var list Logs
		if l.Into(&list) == nil && s.falseLogs(&list) {
			return refuse(whyRole, "%w, and %w", err, &FalseLogs{l.By})
		}
	case TypeHeads:
		var heads Heads
		if l.Into(&heads) != nil {
			return err
		}
		for _, h := range heads.Heads {
			s.Former = append(s.Former, LoggedHead{h, l.Index, l.By})
		}
		if wrong := s.checkNamed(l.By)(&heads); wrong != nil {
			return refuse(whyRole, "%w, and %w", err, wrong)
		}
	}
	return err
}

// wasCompactor reports whether a file is signed with a key that some policy so far had for a compactor of that name.
func (s *State) wasCompactor(file, by string) bool {
	tried := map[string]bool{"": true}
	for i := range s.Policies {
		key := s.Policies[i].keyOf(s.Trust.Name, RoleCompactor, by)
		if tried[key] {
			continue
		}
		tried[key] = true
		v, err := note.NewVerifier(key)
		if err != nil {
			continue
		}
		if _, err := note.Open([]byte(file), note.VerifierList(v)); err == nil {
			return true
		}
	}
	return false
}
