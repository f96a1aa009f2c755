package erase

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

// lasting reports what in a proposed policy would stop the archive for good, though two approvers may write it: no entry could
// come into the control log any more that takes it back, or records would wait where no compactor looks.
func lasting(now, next *control.Policy) error {
	if next.Partitions != now.Partitions && now.Partitions > 0 { // none can be mended: it is an earlier mistake
		return fmt.Errorf("partitions: an archive has as many as it was made with, %d, because streams are bound to them; make another archive", now.Partitions)
	}
	if next.Period != now.Period && !slices.Contains(commit.Periods(), next.Period) {
		return fmt.Errorf("period: %q is none of %s", next.Period, strings.Join(commit.Periods(), ", "))
	}
	modes := []string{string(worm.LockNone), string(worm.LockGovernance), string(worm.LockCompliance)}
	if next.Lock.Mode != now.Lock.Mode && !slices.Contains(modes, next.Lock.Mode) {
		return fmt.Errorf("lock: a store cannot be asked for the mode %q; it is one of %s", next.Lock.Mode, strings.Join(modes, ", "))
	}
	for _, role := range []struct {
		name string
		had  bool
		has  bool
	}{
		{"compactors", len(now.Compactors) > 0, len(next.Compactors) > 0},
		{"keyservices", len(now.KeyServices) > 0, len(next.KeyServices) > 0},
		{"readers", len(now.Readers) > 0, len(next.Readers) > 0},
	} {
		if role.had && !role.has {
			return fmt.Errorf("%s: the last one can be replaced, with another beside it, but not left out", role.name)
		}
	}
	return nil
}
