package backup

import (
	"context"
	"time"

	"github.com/stelelog/stele/backup/counts"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
)

// declaredWithin is how long after the records that it is about a writer may declare a loss and still be heard when only
// some hours are counted.
const declaredWithin = 24 * time.Hour

// Count counts what the archive holds, by the hours of the times in the records, which writers give: those from the hour
// of from on, before until; zero times are no bounds. It reads the rows of all segments that can hold such records. What it
// reads is what the commits name; that they tell the truth is for Verify to say.
func (a *Archive) Count(ctx context.Context, from, until time.Time) (*counts.Inventory, error) {
	if a.unfounded != nil {
		return nil, a.unfounded
	}
	k := counter{a: a, from: from, until: until, held: map[heldKey]*counts.Held{}, services: map[uint32]map[commit.Hex16]string{}}
	for _, said := range a.tips() {
		of := k.services[said.partition]
		if of == nil {
			of = map[commit.Hex16]string{}
			k.services[said.partition] = of
		}
		for id, tip := range said.tips {
			of[id] = tip.Service
		}
	}
	for _, l := range a.logs {
		for i := range l.commits {
			c := &l.commits[i]
			if c.SourceTime.After(k.out.Newest) {
				k.out.Newest = c.SourceTime
			}
			if err := k.segment(ctx, l, c); err != nil {
				return nil, err
			}
		}
	}
	for _, h := range k.held {
		k.out.Held = append(k.out.Held, *h)
	}
	return &k.out, nil
}

// Acknowledged are the differences to counts from outside that somebody took note of.
func (a *Archive) Acknowledged() (out []counts.Acknowledged) {
	a.control.View(func(s *control.State) {
		for _, k := range s.Acks {
			if k.Service != "" {
				out = append(out, counts.Acknowledged{Service: k.Service, Hour: k.Hour, What: k.What, Missing: k.Missing, Reason: k.Reason})
			}
		}
	})
	return out
}

// counter is one count.
type counter struct {
	a           *Archive
	from, until time.Time
	services    map[uint32]map[commit.Hex16]string // of the streams of a partition
	held        map[heldKey]*counts.Held
	out         counts.Inventory
}

type heldKey struct {
	service string
	hour    int64
}

// segment counts the rows of a commit, if any can be wanted.
func (k *counter) segment(ctx context.Context, l *openLog, c *logCommit) error {
	if c.Index == nil || !k.mayHold(c.Commit) {
		return nil
	}
	err := k.rows(ctx, l, c)
	if datalog.Faulty(err) {
		gone, unread := k.a.expiredMeanwhile(ctx, c.Commit, c.Object(commit.KindIndex, ""))
		if unread != nil {
			return unread
		}
		if gone {
			if c.From != nil && c.Until != nil {
				k.out.Expired = append(k.out.Expired, counts.Span{From: *c.From, Until: *c.Until, Records: c.Records})
			}
			return nil
		}
	}
	k.out.Segments++
	return err
}

// rows counts the rows of a commit.
func (k *counter) rows(ctx context.Context, l *openLog, c *logCommit) error {
	var leaf record.Leaf
	for b, err := range k.a.batches(ctx, c) {
		if err != nil {
			return err
		}
		for i := range b.Len() {
			switch b.Type(i) {
			case record.Plain:
				k.hold(l, b.Batch, i)
			case record.Loss, record.Sampled:
				b.Leaf(i, &leaf)
				if err := k.declared(l, &leaf); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// mayHold reports whether a commit can hold wanted records, or say what became of them.
func (k *counter) mayHold(c *commit.Commit) bool {
	first, last := c.From, c.Until
	if first == nil || last == nil {
		first, last = &c.SourceTime, &c.SourceTime
	}
	return (k.from.IsZero() || !last.Before(k.from)) && (k.until.IsZero() || first.Before(k.until.Add(declaredWithin)))
}

func (k *counter) hold(l *openLog, b *segment.Batch, i int) {
	at := time.Unix(0, b.Time(i)).UTC()
	if !k.from.IsZero() && at.Before(k.from) || !k.until.IsZero() && !at.Before(k.until) {
		return
	}
	hour := counts.Hour(at)
	key := heldKey{k.services[l.partition][b.Stream(i)], hour.Unix()}
	h := k.held[key]
	if h == nil {
		h = &counts.Held{Service: key.service, Hour: hour}
		k.held[key] = h
	}
	h.Records++
	if b.Flags(i)&record.ClosesCall != 0 {
		h.Calls++
	}
}

// declared takes what a writer says that is not there.
func (k *counter) declared(l *openLog, leaf *record.Leaf) error {
	span := counts.Span{Service: k.services[l.partition][leaf.Stream]}
	to := &k.out.Lost
	var from, until int64
	if leaf.Type == record.Loss {
		d, err := record.ParseLoss(leaf.Detail)
		if err != nil {
			return err
		}
		span.Records, from, until = d.Count, d.From, d.Until
	} else {
		d, err := record.ParseSampled(leaf.Detail)
		if err != nil {
			return err
		}
		span.Records, span.Calls, from, until = d.Records, d.Calls, d.From, d.Until
		to = &k.out.Sampled
	}
	span.From, span.Until = time.Unix(0, from).UTC(), time.Unix(0, until).UTC()
	if !k.from.IsZero() && span.Until.Before(k.from) || !k.until.IsZero() && !span.From.Before(k.until) {
		return nil
	}
	*to = append(*to, span)
	return nil
}
