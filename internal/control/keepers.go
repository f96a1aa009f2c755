package control

import (
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// Keepers verifies root records of the key store made when the control log had the given size.
func (s *State) Keepers(size uint64) (note.Verifiers, error) {
	p := s.PolicyAt(size)
	if p == nil || size > s.Size() {
		return nil, fmt.Errorf("control: no policy at size %d", size)
	}
	var vs []note.Verifier
	for _, k := range p.KeyServices {
		v, err := note.NewVerifier(k.Key)
		if err != nil {
			return nil, fmt.Errorf("control: key of key service %s: %w", k.Name, err)
		}
		vs = append(vs, v)
	}
	return note.VerifierList(vs...), nil
}
