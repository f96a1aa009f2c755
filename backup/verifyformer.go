package backup

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/merkle"
)

// former checks the heads by those whom the policy names no longer: evidence with an older roster rests on them.
func (v *verifier) former() {
	for i := range v.a.former {
		h := &v.a.former[i]
		if err := v.formerHead(h); err != nil {
			v.r.fault(integrity, fmt.Sprintf("%s entry %d", ledger.Prefix, h.Index), "%s, a compactor no longer, signed a head of %s that is not true: %v", h.By, h.Log, err)
		}
	}
}

func (v *verifier) formerHead(h *control.LoggedHead) error {
	i := slices.IndexFunc(v.a.logs, func(l *openLog) bool { return l.chain.Origin == h.Log })
	if i < 0 {
		return errors.New("there is no such log")
	}
	c, err := v.a.logs[i].commitAt(h.Commit)
	if err != nil {
		return fmt.Errorf("commit %d is not in the store", h.Commit)
	}
	return headOfCommit(h, c.Commit, c.hash)
}

// headOfCommit compares a head with the commit of its number, and not who signed it.
func headOfCommit(h *control.LoggedHead, c *commit.Commit, hash commit.Hex32) error {
	var cp merkle.Checkpoint
	text, _, _ := strings.Cut(h.Checkpoint, "\n\n")
	if err := cp.UnmarshalText([]byte(text + "\n")); err != nil {
		return err
	}
	if hash != h.Hash || cp != (merkle.Checkpoint{Origin: c.Log, Size: c.Tree.Size, Root: c.Tree.Root}) {
		return fmt.Errorf("it is not that of commit %d in the store", h.Commit)
	}
	return nil
}
