package logpipe

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/stelelog/stele/internal/spool"
)

// drain sends the lanes in order until ctx ends.
func (t *kafkaTransport) drain(ctx context.Context) {
	defer close(t.ended)
	for ctx.Err() == nil {
		d := t.first()
		if d == nil {
			select {
			case <-t.drained:
			case <-ctx.Done():
			}
			continue
		}
		sent, err := d.step(ctx)
		t.arrived(d)
		switch {
		case ctx.Err() != nil:
		case (errors.Is(err, spool.ErrDamaged) || errors.Is(err, fs.ErrNotExist)) && t.leave(d, err):
		case err != nil:
			t.s.log.Error("the spool could not be sent; it is tried again", "error", err)
			sleep(ctx, faultPause)
		case sent == 0 && !t.pop(d):
			select {
			case <-t.drained:
			case <-ctx.Done():
			}
		}
		token(t.s.out.wake)
	}
}

func (t *kafkaTransport) first() *drain {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lanes) == 0 {
		return nil
	}
	return t.lanes[0]
}

// arrived answers for the items that d has sent.
func (t *kafkaTransport) arrived(d *drain) {
	var items []*item
	t.mu.Lock()
	rest := t.acks[:0]
	for _, a := range t.acks {
		next := d.frames.next
		if a.place.kind == spool.Grants {
			next = d.grants.next
		}
		if a.lane == d.lane && a.place.pos < next {
			items = append(items, a.item)
		} else {
			rest = append(rest, a)
		}
	}
	clear(t.acks[len(rest):])
	t.acks = rest
	t.mu.Unlock()
	t.s.out.arrived(items)
}

// pop takes d, of which nothing is left to send, off the lanes. It reports false if something was appended meanwhile.
func (t *kafkaTransport) pop(d *drain) bool {
	t.mu.Lock()
	for _, a := range t.acks {
		if a.lane == d.lane {
			t.mu.Unlock()
			return false
		}
	}
	t.lanes = t.lanes[1:]
	gone := d.hold != nil || d.retired
	t.mu.Unlock()
	if gone {
		t.remove(d)
	}
	return true
}

// leave gives up a lane that is damaged, or that somebody has removed, with what lies behind the damage: what comes after it
// must not wait for somebody who mends it. It stays where it is. The stream's own goes later, when nothing is appended to it any more.
func (t *kafkaTransport) leave(d *drain, why error) bool {
	t.mu.Lock()
	if d == t.own {
		t.spoilt = d
		t.mu.Unlock()
		return false
	}
	t.lanes = t.lanes[1:]
	var lost []*item
	t.acks = slices.DeleteFunc(t.acks, func(a *awaiting) bool {
		if a.lane == d.lane {
			lost = append(lost, a.item)
		}
		return a.lane == d.lane
	})
	t.mu.Unlock()
	t.s.log.Error("a lane in the spool is damaged, or gone; what could not be sent is left there", "error", errors.Join(why, d.finish(false)))
	t.s.out.fail(lost, &OpError{"capture", "spool", why})
	return true
}

// renew makes an end of the stream's own lane where what it holds cannot be read: what comes from now on goes elsewhere.
func (t *kafkaTransport) renew() {
	t.mu.Lock()
	spoilt := t.spoilt != nil && t.spoilt == t.own
	if spoilt {
		t.own.retired = true
		t.own = nil
	}
	t.spoilt = nil
	t.mu.Unlock()
	if spoilt {
		t.giveUp()
	}
}

// remove deletes a lane that has no writer and of which everything was sent.
func (t *kafkaTransport) remove(d *drain) {
	var err error
	if d.hold == nil {
		d.hold, err = t.dir.OpenLane(d.lane)
	}
	if err = errors.Join(err, d.finish(err == nil)); err != nil {
		t.s.log.Warn("a lane that was sent could not be removed", "error", err)
	}
}

// end puts away what has not arrived and ends the lane.
func (t *kafkaTransport) end() {
	t.stop()
	<-t.ended
	items, _, _ := t.s.out.from(len(t.places))
	if len(items) > 0 && t.dir != nil {
		if err := t.startLane(); err != nil {
			t.s.log.Error("no lane in the spool for what is left", "error", err)
		}
	}
	if err := t.finish(items); err != nil {
		t.s.log.Error("the lane of the stream could not be ended", "error", err)
	}
	for _, d := range t.lanes {
		d.finish(false)
	}
	if t.own != nil && len(t.lanes) == 0 {
		t.remove(t.own)
	}
}
