package backup

import (
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
)

// revokedSlack is how long after its revocation a key service may still be at work: it reads the control log every minute.
const revokedSlack = time.Hour

// revoked names records that key services made after their keys had been revoked, as their own times say. They are in the
// chain if no other key service had made one yet that was judged by the newer policy; what they did is checked like all else.
func (k *keyCheck) revoked() {
	for _, r := range k.depot.Signed() {
		k.v.a.control.View(func(s *control.State) {
			if at, yes := s.Revoked(r.By); yes && r.Time.After(at.Add(revokedSlack)) {
				k.v.r.notice(erasure, fmt.Sprintf("%s%020d", keydepot.Roots, r.N), "%s made it on %s, and its key was revoked on %s", r.By, stamp(r.Time), stamp(at))
			}
		})
	}
}
