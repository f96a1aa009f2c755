package answer

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

// ParseTimes reads what MarshalTimes writes, and the hash over them. Whose commit it is, and whether its hash is that, is for the caller to ask.
func ParseTimes(data []byte) (file []byte, all []Times, spans [32]byte, err error) {
	c := cursor{b: data}
	file = c.bv()
	next, last := uint64(0), int64(0)
	for len(c.b) > 0 {
		t := Times{First: next, From: commit.NoFrom, Until: commit.NoUntil}
		leaves := c.uv()
		next += leaves
		t.End = next
		switch c.u8() {
		case 0:
		case 1:
			z := c.uv()
			t.From = last + (int64(z>>1) ^ -int64(z&1))
			t.Until = int64(uint64(t.From) + c.uv())
			last = t.Until
			c.broken = c.broken || t.From > t.Until
		default:
			c.broken = true
		}
		if c.broken || leaves == 0 || leaves > 1<<62 || next > 1<<62 {
			return nil, nil, spans, errTimes
		}
		all, spans = append(all, t), t.Chain(spans)
	}
	if c.broken || len(all) == 0 {
		return nil, nil, spans, errTimes
	}
	return file, all, spans, nil
}

// Outside reports whether no record of these commits, which ascend, that has a leaf from first to before end can match, by what they say.
func (q *Query) Outside(all []Times, first, end uint64) bool {
	from := sort.Search(len(all), func(i int) bool { return all[i].End > first })
	for _, t := range all[from:] {
		if t.First >= end {
			break
		}
		if t.From > t.Until {
			continue
		}
		if (q.Since.IsZero() || t.Until >= q.Since.UnixNano()) && (q.Until.IsZero() || t.From < q.Until.UnixNano()) {
			return false
		}
	}
	return true
}
