package commit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
)

// Times says of what times the records of a commit are. From is after Until if it has none.
type Times struct {
	First, End  uint64 // leaves
	From, Until int64
}

// NoFrom and NoUntil are the times of a commit without records.
const (
	NoFrom  = math.MaxInt64
	NoUntil = math.MinInt64
)

// Chain is the hash of it and all before it in its log.
func (s Times) Chain(before [32]byte) [32]byte {
	b := append([]byte("stele/spans/v1\x00"), before[:]...)
	for _, v := range []uint64{s.First, s.End, uint64(s.From), uint64(s.Until)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return sha256.Sum256(b)
}

// Times are those of the leaves of a commit.
func (c *Commit) Times() Times {
	s := Times{c.Tree.First, c.Tree.Size, NoFrom, NoUntil}
	if c.From != nil && c.Until != nil {
		s.From, s.Until = c.From.UnixNano(), c.Until.UnixNano()
	}
	return s
}

// SpansAfter is what Spans of c must be behind the commit before it in its log, nil for none: nil as long as there are no leaves, and in a log whose earlier
// commits lack it.
func (c *Commit) SpansAfter(before *Commit) *Hex32 {
	var last Hex32
	switch {
	case before == nil:
	case before.Spans != nil:
		last = *before.Spans
	case before.Tree.Size > 0:
		return nil
	}
	if c.Tree.Size == c.Tree.First {
		if before == nil {
			return nil
		}
		return before.Spans
	}
	next := Hex32(c.Times().Chain(last))
	return &next
}

// CheckSpans refuses a commit whose Spans are not those behind the commit before it in its log, nil for none. Archives that are older than the member have none.
func (c *Commit) CheckSpans(before *Commit) error {
	if c.Spans == nil && (before == nil || before.Spans == nil) {
		return nil
	}
	if want := c.SpansAfter(before); want == nil || c.Spans == nil || *c.Spans != *want {
		return errors.New("what it says of the times in its log so far is not what its commits say")
	}
	return nil
}
