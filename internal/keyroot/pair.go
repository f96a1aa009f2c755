package keyroot

import "fmt"

// Succeeds reports why r cannot be the record behind parent, whose file is given: what can be checked in the two alone.
func (r *Record) Succeeds(parent *Record, file []byte) error {
	if hash := Hash(file); r.Prev != hash {
		return fmt.Errorf("keyroot: record %d names the parent %s, not %s", r.N, r.Prev, hash)
	}
	if err := r.follows(parent); err != nil {
		return fmt.Errorf("%w: record %d: %w", ErrRule, r.N, err)
	}
	return nil
}
