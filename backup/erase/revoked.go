package erase

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
)

// Revocation is what keeps a writer from opening streams.
type Revocation struct {
	Writer string    // its name
	Time   time.Time // when it was revoked, by the clock of who did it
	Entry  uint64    // of the control log, from which on it holds
}

// Revoked reads on in the control log and says by what the writer of a credential was revoked; nil if it may write. What a revoked
// writer sends in a stream that the archive does not know is set aside, whenever it was captured.
func (d *Desk) Revoked(ctx context.Context, credential []byte) (*Revocation, error) {
	w, err := identity.ParseWriter(credential)
	if err != nil {
		return nil, fmt.Errorf("writer credential: %w", err)
	}
	if w.Archive != identity.ID(d.trust.Archive) {
		return nil, &identity.ForeignError{Why: "writer credential and trust file are of different archives"}
	}
	if err := d.log.Refresh(ctx); err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(w.Key).Public().(ed25519.PublicKey)
	var out *Revocation
	d.log.View(func(s *control.State) {
		for _, p := range s.Policies {
			for _, w := range p.Writers {
				if w.Revoked != nil && bytes.Equal(w.Key, key) && out == nil {
					out = &Revocation{w.Name, *w.Revoked, p.Size - 1}
				}
			}
		}
	})
	return out, nil
}
