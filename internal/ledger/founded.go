package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
)

// ErrEmpty says that the control log is empty.
var ErrEmpty = errors.New("the control log is empty")

// Founded reports whether the control log has an access policy that the trust file vouches for. If not, the error says
// what lies there instead, which has to be taken at its word: no key of the trust file signed it. It is an
// [identity.ForeignError] if that is another archive, or is signed by another key. Requires a single caller.
func (c *Log) Founded(ctx context.Context) error {
	if c.Policy() != nil {
		return nil
	}
	trust := c.state.Trust
	own, err := trust.LogVerifier()
	if err != nil {
		return err
	}
	ownKey := control.KeyName(own.Name(), own.KeyHash())
	for o, err := range c.space.From(ctx, 0) {
		if err != nil {
			return err
		}
		archive, name, key, ok := control.Peek(o.Data)
		switch {
		case ok && archive != trust.Archive:
			return &identity.ForeignError{Why: fmt.Sprintf("the trust file is of another archive: it is of %s (%x), whose log %s signs, and what lies here calls itself %s (%s) and is signed by %s",
				trust.Name, trust.Archive, ownKey, name, archive, key)}
		case ok && key != ownKey:
			return &identity.ForeignError{Why: fmt.Sprintf("%s calls itself the archive %s and is signed by %s, and the trust file names %s: one of them was exchanged",
				o.Key, name, key, ownKey)}
		case ok:
			return fmt.Errorf("%s calls itself the archive %s, but the key in the trust file has not signed it: 'stele verify' says what is wrong",
				o.Key, name)
		}
	}
	if list := c.findings.List; len(list) > 0 {
		return fmt.Errorf("nothing in the control log can be read, the first is %w: 'stele verify' says what is wrong", list[0])
	}
	return ErrEmpty
}
