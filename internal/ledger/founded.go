package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/control"
)

// ErrEmpty says that the control log is empty.
var ErrEmpty = errors.New("the control log is empty")

// Founded reports whether the control log has an access policy that the trust file vouches for. If not, the error says
// what lies there instead, which has to be taken at its word: no key of the trust file signed it. Requires a single caller.
func (c *Log) Founded(ctx context.Context) error {
	if c.Policy() != nil {
		return nil
	}
	trust := c.state.Trust
	for o, err := range c.space.From(ctx, 0) {
		if err != nil {
			return err
		}
		archive, name, ok := control.Peek(o.Data)
		switch {
		case ok && archive != trust.Archive:
			return fmt.Errorf("the trust file is of another archive: it is of %s (%x), and what lies here calls itself %s (%s)",
				trust.Name, trust.Archive, name, archive)
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
