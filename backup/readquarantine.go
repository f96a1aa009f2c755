package backup

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/segment"
)

// maxQuarantine bounds the bytes of a quarantine object that is read: an honest compactor makes none of a quarter of it.
const maxQuarantine = 64 << 20

// SetAside is a message that a compactor put into quarantine: no valid frame of an authentic stream.
type SetAside struct {
	Log     string    `json:"log"`
	Commit  uint64    `json:"commit"`
	Lane    string    `json:"lane"`   // of the transport
	Offset  int64     `json:"offset"` // there
	Time    time.Time `json:"time"`   // of its arrival, by the transport
	Reason  string    `json:"reason"` // may hold what the sender of the message wrote
	Length  int       `json:"length"` // bytes
	SHA256  string    `json:"sha256"` // hex
	Message []byte    `json:"-"`      // nil if only its line was kept: it was past the quota of its segment
}

// Quarantine gives what was set aside and has not expired, in the order of the logs, opened with the read keys: it asks no key service.
// What it gives beside an error is what is known of a message that does not open. It goes on behind an error.
func (r *Reader) Quarantine(ctx context.Context) iter.Seq2[SetAside, error] {
	return func(yield func(SetAside, error) bool) {
		for _, l := range r.a.logs {
			for i := range l.commits {
				c := l.commits[i].Commit
				lines, err := r.a.setAside(ctx, c)
				if err != nil && !yield(SetAside{Log: c.Log, Commit: c.N}, fmt.Errorf("quarantine of commit %d of %s: %w", c.N, c.Log, err)) {
					return
				}
				for k := range lines {
					if !yield(r.openSetAside(c, &lines[k])) {
						return
					}
				}
			}
		}
	}
}

// setAside reads the quarantine object of a commit, if there is one.
func (a *Archive) setAside(ctx context.Context, c *commit.Commit) ([]segment.SetAside, error) {
	obj := c.Object(commit.KindQuarantine, "")
	if obj == nil {
		return nil, nil
	}
	if obj.Size > maxQuarantine {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", obj.Key, obj.Size, maxQuarantine)
	}
	data, _, err := datalog.Fetch(ctx, a.store, obj)
	if err != nil {
		if gone, unread := a.expiredMeanwhile(ctx, c, obj); gone && datalog.Faulty(err) {
			return nil, nil
		} else if unread != nil {
			return nil, unread
		}
		return nil, err
	}
	return segment.ParseSetAside(data)
}

// openSetAside opens a message with the newest read key that does.
func (r *Reader) openSetAside(c *commit.Commit, s *segment.SetAside) (q SetAside, err error) {
	q = SetAside{Log: c.Log, Commit: c.N, Lane: s.Lane, Offset: s.Offset, Time: s.Time, Reason: s.Reason, Length: s.Length, SHA256: s.SHA256.String()}
	if s.Sealed == nil {
		return q, nil
	}
	err = errors.New("there is no read key")
	for _, year := range slices.Backward(slices.Sorted(maps.Keys(r.years))) {
		if q.Message, err = keyscope.OpenQuarantine(r.years[year], r.id.Archive, s.SHA256, s.Sealed); err == nil {
			if q.Message == nil {
				q.Message = []byte{} // an empty one
			}
			return q, nil
		}
	}
	return q, fmt.Errorf("message at %d of lane %s, commit %d of %s: %w", s.Offset, s.Lane, c.N, c.Log, err)
}
