package rangeproof

import (
	"encoding/binary"
	"errors"
	"sort"

	"github.com/stelelog/stele/internal/commit"
)

// Times says of what times the leaves of a commit are.
type Times = commit.Times

// MarshalTimes writes of what times the commits of a log are: file is a commit, all those of all up to it that have leaves, in order.
func MarshalTimes(file []byte, all []Times) []byte {
	data := append(binary.AppendUvarint(nil, uint64(len(file))), file...)
	last := int64(0)
	for _, t := range all {
		data = binary.AppendUvarint(data, t.End-t.First)
		if t.From > t.Until {
			data = append(data, 0)
			continue
		}
		diff := t.From - last
		data = binary.AppendUvarint(append(data, 1), uint64(diff)<<1^uint64(diff>>63))
		data = binary.AppendUvarint(data, uint64(t.Until)-uint64(t.From))
		last = t.Until
	}
	return data
}

var errTimes = errors.New("answer: times of commits that are not written as they must be")

// Open are leaves that may match a query, by what their commits say: from the first one to before the end.
type Open struct{ First, End uint64 }

// ParseTimes reads what MarshalTimes writes, and the hash over it, and keeps which leaves may match a query, in order, and how many there are in all. Whose
// commit it is, and whether its hash is that, is for the caller to ask.
func ParseTimes(data []byte, q *Query) (file []byte, open []Open, size uint64, spans [32]byte, err error) {
	c := cursor{b: data}
	file = c.bv()
	last := int64(0)
	if c.broken || len(c.b) == 0 {
		return nil, nil, 0, spans, errTimes
	}
	for len(c.b) > 0 {
		t, ok := c.times(size, &last)
		if !ok {
			return nil, nil, 0, spans, errTimes
		}
		if size, spans = t.End, t.Chain(spans); !q.selects(&t) {
			continue
		}
		if n := len(open) - 1; n >= 0 && open[n].End == t.First {
			open[n].End = t.End
		} else {
			open = append(open, Open{t.First, t.End})
		}
	}
	return file, open, size, spans, nil
}

// times reads those of one commit, whose first leaf is the next one.
func (c *cursor) times(next uint64, last *int64) (t Times, ok bool) {
	leaves := c.uv()
	t = Times{First: next, End: next + leaves, From: commit.NoFrom, Until: commit.NoUntil}
	switch c.u8() {
	case 0:
	case 1:
		z := c.uv()
		t.From = *last + (int64(z>>1) ^ -int64(z&1))
		t.Until = int64(uint64(t.From) + c.uv())
		*last = t.Until
		c.broken = c.broken || t.From > t.Until
	default:
		c.broken = true
	}
	return t, !c.broken && leaves > 0 && leaves <= 1<<62 && t.End <= 1<<62
}

// selects reports whether a record of a commit can match, by what it says.
func (q *Query) selects(t *Times) bool {
	return t.From <= t.Until && (q.Since.IsZero() || t.Until >= q.Since.UnixNano()) && (q.Until.IsZero() || t.From < q.Until.UnixNano())
}

// Closed reports whether none of the leaves from first to before end is open. Those that are ascend.
func Closed(open []Open, first, end uint64) bool {
	i := sort.Search(len(open), func(i int) bool { return open[i].End > first })
	return i == len(open) || open[i].First >= end
}

// Outside reports whether no record of these commits, which ascend, that has a leaf from first to before end can match, by what they say.
func (q *Query) Outside(all []Times, first, end uint64) bool {
	from := sort.Search(len(all), func(i int) bool { return all[i].End > first })
	for _, t := range all[from:] {
		if t.First >= end {
			break
		}
		if q.selects(&t) {
			return false
		}
	}
	return true
}
