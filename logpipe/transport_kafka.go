package logpipe

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/stelelog/stele/internal/spool"
)

// patience is how long brokers may keep a stream waiting before its messages go to the spool.
const patience = time.Second

// faultPause is the pause after an error that trying again at once does not mend.
const faultPause = 2 * time.Second

// kafkaTransport sends the messages of a stream to its partition. With a spool directory, an outage makes it append them
// to a lane, from which they are sent in order before anything that came later; without one they wait in the outbox.
type kafkaTransport struct {
	laneWriter
	brokers   *brokers
	partition int
	always    bool // through the lane: a class wants to be on the local disk

	drained chan struct{} // one token: there is something to drain
	stop    context.CancelFunc
	ended   chan struct{}

	mu    sync.Mutex
	lanes []*drain // to be sent, in order
	own   *drain   // of the stream's newest lane; not among lanes while nothing is left in it
	acks  awaited  // items in the stream's lanes that the brokers have not acknowledged

	spoilt *drain // what cannot be read: to be given up if it is own
}

// awaiting is an item in a lane, and stands for those of its log before it that nobody waits for: in a long outage there
// are more of them than memory for each.
type awaiting struct {
	lane  [16]byte
	place lanePlace
	item  *item
}

// awaited are in the order of their lanes, those of one log in the order of their places.
type awaited []*awaiting

func (as *awaited) add(a *awaiting) {
	for i, n := len(*as)-1, len(*as); i >= max(0, n-2); i-- { // two, because frames and grants may take turns
		if last := (*as)[i]; last.lane == a.lane && last.place.kind == a.place.kind {
			if !last.item.urgent() {
				a.item.records += last.item.records
				*as = slices.Delete(*as, i, i+1)
			}
			break
		}
	}
	*as = append(*as, a)
}

func newKafkaTransport(s *stream, b *brokers, dir *spool.Dir, adopted []*drain) *kafkaTransport {
	t := &kafkaTransport{laneWriter: laneWriter{s: s, dir: dir}, brokers: b, partition: int(s.sealer.at.Partition),
		always: s.set.anySpooled(), drained: make(chan struct{}, 1), ended: make(chan struct{}), lanes: adopted}
	t.taken = t.parked
	s.waiting = t.why
	return t
}

// anySpooled says whether a class wants its records on the local disk.
func (s *settings) anySpooled() bool {
	for _, c := range s.Classes {
		if c.Durability == Spooled {
			return true
		}
	}
	return s.Default.Durability == Spooled
}

func (t *kafkaTransport) abort() {
	for _, d := range t.lanes {
		d.finish(false)
	}
}

// run sends until everything has arrived after the outbox was closed, or ctx ends.
func (t *kafkaTransport) run(ctx context.Context) {
	draining, stop := context.WithCancel(ctx)
	t.stop = stop
	go t.drain(draining)
	for ctx.Err() == nil {
		t.renew()
		items, urgent, closed := t.s.out.from(len(t.places))
		var err error
		if t.live() && !t.overflowing() {
			err = t.sendLive(ctx, items)
		} else {
			err = t.spill(ctx, items, urgent || closed || t.s.pressed())
		}
		switch {
		case err != nil:
		case closed && t.s.out.empty() && t.live():
			t.end()
			return
		case len(items) == 0:
			t.wait(ctx)
		}
	}
	t.end()
}

// live says whether messages may go straight to the brokers: no lane holds anything earlier.
func (t *kafkaTransport) live() bool {
	if t.dir == nil {
		return true
	}
	if len(t.places) > 0 || t.always && !t.s.out.empty() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.lanes) == 0 && len(t.acks) == 0
}

// overflowing says whether the brokers are so slow that the spool has to help.
func (t *kafkaTransport) overflowing() bool {
	return t.dir != nil && int64(t.s.out.size()) > t.s.set.Memory/int64(4*t.s.set.Streams)
}

// wait waits until there is something to do.
func (t *kafkaTransport) wait(ctx context.Context) {
	due, stop := t.due()
	defer stop()
	select {
	case <-t.s.out.wake:
	case <-due:
	case <-ctx.Done():
	}
}

// sendLive sends the first items of one kind that fit into a batch.
func (t *kafkaTransport) sendLive(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	kind, n, bytes := logOf(items[0]), 0, 0
	var messages [][]byte
	for n < len(items) && logOf(items[n]) == kind && (n == 0 || bytes+len(items[n].data) <= maxBatch) {
		bytes += len(items[n].data)
		messages = append(messages, items[n].data)
		n++
	}
	t.s.note(items[:n])
	if err := t.produce(ctx, kind, messages); err != nil {
		t.outage(ctx, err)
		return err
	}
	t.s.out.accept(n, true)
	return nil
}

func (t *kafkaTransport) produce(ctx context.Context, kind spool.Kind, messages [][]byte) error {
	if t.dir != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	if kind == spool.Grants {
		return t.brokers.sendGrants(ctx, messages)
	}
	return t.brokers.sendFrames(ctx, t.partition, messages)
}

// outage decides how to go on when the brokers have not taken messages: through the lane if there is a spool, else again.
func (t *kafkaTransport) outage(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	final := !errors.Is(err, context.DeadlineExceeded)
	if final {
		t.s.log.Error("the brokers refuse messages; they are kept and tried again", "error", err)
		t.s.out.refuse(&OpError{"capture", "destination", err})
	}
	if t.dir == nil {
		sleep(ctx, faultPause)
		return
	}
	t.s.log.Warn("the brokers do not answer; messages go to the spool", "error", err)
	if err := t.startLane(); err != nil {
		t.s.log.Error("no lane in the spool", "error", err)
		sleep(ctx, firstPause)
	}
}

// startLane makes the stream's lane one of those to be sent, which turns live off.
func (t *kafkaTransport) startLane() error {
	if t.lane == nil {
		if err := t.begin(); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.own == nil || t.own.lane != t.id {
		if t.own != nil {
			t.own.retired = true
		}
		t.own = newDrain(t.dir, t.id, nil, t.brokers)
	}
	t.enlist()
	return nil
}

// enlist makes the stream's lane one of those to be sent. Requires mu.
func (t *kafkaTransport) enlist() {
	if !slices.Contains(t.lanes, t.own) {
		t.lanes = append(t.lanes, t.own)
	}
}

// spill appends items to the lane.
func (t *kafkaTransport) spill(ctx context.Context, items []*item, now bool) error {
	if len(items) == 0 && len(t.places) == 0 {
		return nil
	}
	err := t.startLane()
	if err == nil {
		err = t.carry(ctx, items, now)
	}
	if err != nil {
		t.fault(ctx, err)
		sleep(ctx, firstPause)
	}
	return err
}

// parked takes items off the outbox that are synced in the lane.
func (t *kafkaTransport) parked(places []lanePlace) {
	items := t.s.out.accept(len(places), false)
	t.mu.Lock()
	for i, it := range items {
		t.acks.add(&awaiting{t.id, places[i], it})
	}
	t.enlist() // the lane may have been found empty before these were synced
	t.mu.Unlock()
	token(t.drained)
}

func (t *kafkaTransport) spooled() (bytes int64) {
	t.mu.Lock()
	held := map[[16]byte]bool{}
	for _, d := range t.lanes {
		held[d.lane] = true
	}
	t.mu.Unlock()
	for id := range held {
		n, _ := t.dir.Bytes(id) // one that was sent meanwhile has none
		bytes += n
	}
	return bytes
}
