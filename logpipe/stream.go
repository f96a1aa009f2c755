package logpipe

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/sealhook"
)

// software names the writer in stream certificates.
const software = "stele logpipe/1"

// stream is one incarnation of the writer: its shards, the goroutine that seals what they hold, and what was sealed.
type stream struct {
	id       [16]byte
	set      *settings
	log      *slog.Logger
	memory   *memory
	shards   []*shard
	inbox    *inbox
	losses   losses
	sampled  sampled
	out      *outbox
	sealer   *sealer
	slot     *slot
	requests chan *request
	done     chan struct{}        // closed when the sealing goroutine has ended
	sealed   atomic.Uint64        // captured records in frames
	next     atomic.Uint64        // seq of the next leaf
	dropped  atomic.Uint64        // records declared as lost without having been taken
	waiting  func() record.Reason // why there is no room, as the transport sees it

	// Of the sealing goroutine.
	pending []*arena   // taken from the inbox, in order
	held    []*arena   // whole in the sealer, whose frames were not made yet
	since   time.Time  // when the oldest captured record was noticed; zero if there is none
	answers []*request // to be answered when pending is empty
	beatAt  time.Time
	countAt time.Time // of the next sampled leaf
	fault   error     // why records of held could not be sealed
}

// request asks the sealing goroutine to seal everything captured so far.
type request struct {
	ticket  *ticket
	end     *keyscope.Tags  // besides, that a session has ended
	name    *Session        //
	gone    <-chan struct{} // nobody waits any more
	expired <-chan struct{} // besides, to close the stream, and from then on not to wait for room
}

func newRequest() *request { return &request{ticket: &ticket{done: make(chan struct{})}} }

// newStream makes a stream and its first frame. Nothing runs yet.
func newStream(set *settings, m *memory, shards int, aead sealhook.AEAD) (*stream, error) {
	s := &stream{set: set, memory: m, inbox: newInbox(), out: newOutbox(m), requests: make(chan *request), done: make(chan struct{}),
		waiting: func() record.Reason { return record.MemoryFull }}
	rand.Read(s.id[:])
	s.log = set.Logger.With("stream", fmt.Sprintf("%x", s.id))
	for range shards {
		s.shards = append(s.shards, newShard(s))
	}
	now := time.Now()
	s.beatAt, s.countAt = now, now.Add(sampledEvery)
	if set.StateDir != "" {
		var err error
		if s.slot, err = openSlot(set.StateDir, set.writer.Archive); err != nil {
			return nil, &OpError{"open", "state directory", err}
		}
	}
	if err := s.makeSealer(aead, now); err != nil {
		s.slot.close()
		return nil, &OpError{"open", "stream", err}
	}
	return s, nil
}

func (s *stream) makeSealer(aead sealhook.AEAD, now time.Time) error {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	w := s.set.writer
	cert := keyscope.Cert{Archive: w.Archive, Partition: uint32(le.Uint64(s.id[:]) % uint64(w.Partitions)), Stream: s.id,
		StreamKey: [32]byte(public), Time: now.UnixNano(), BeatEvery: uint32(s.set.Beat.Milliseconds()),
		Durability: s.set.weakest(), Service: w.Service, Software: software}
	if s.slot != nil && s.slot.have {
		t := &s.slot.last
		cert.Prev = keyscope.Link{Stream: t.stream, Seq: t.seq, Head: t.head}
	}
	signed, err := keyscope.SignCert(cert, w.SigningKey())
	if err != nil {
		return err
	}
	at := seal.Place{Archive: w.Archive, Partition: cert.Partition, Stream: s.id}
	s.sealer = &sealer{at: at, key: key, cert: signed, packing: seal.PackZstd, codec: seal.NewCodec(seal.Options{AEAD: aead, Thorough: true}),
		scopes: newScopes(w, at, s.log), redact: s.set.Redact, now: time.Now,
		emit: s.send, lost: s.lose, undo: s.undo, flushed: s.release}
	if s.set.Compression == "fast" {
		s.sealer.packing = seal.PackS2
	}
	s.sealer.init()
	return s.sealer.scopes.renewWrap(now)
}

// open seals the first frame: the certificate, and where the stream before ended if that one could not say so itself.
func (s *stream) open(recovered *record.RecoveredDetail) error {
	err := s.sealer.own(record.Open, defaultClass, s.sealer.cert.Bytes())
	if err == nil && recovered != nil {
		err = s.sealer.own(record.Recovered, defaultClass, recovered.Append(nil))
	}
	s.sealer.flush()
	if err == nil && s.sealer.next == 0 {
		err = s.fault
	}
	return err
}

// send takes a sealed message.
func (s *stream) send(it *item) {
	s.sealed.Add(uint64(it.records)) // before the transport has it, which may let one item stand for several
	s.out.push(it)
	s.next.Store(s.sealer.next)
}

func (s *stream) lose(class string, when int64, err error) {
	s.fault = err
	s.losses.add(class, record.SealFailed, 1, when)
	s.log.Error("a record could not be sealed", "class", class, "error", err)
}

// undo puts back what a leaf would have declared.
func (s *stream) undo(u *unit) {
	s.fault = errFrameLost
	switch u.leaf.Type {
	case record.Loss:
		if d, err := record.ParseLoss(u.leaf.Detail); err == nil {
			s.losses.giveBack(declared{lossKey{u.leaf.Class, d.Reason}, lossSum{d.Count, d.From, d.Until}})
		}
	case record.Sampled:
		if d, err := record.ParseSampled(u.leaf.Detail); err == nil {
			s.sampled.giveBack(d)
		}
	}
}

// release gives back the arenas whose records are in frames, and binds who waits for them to the last frame.
func (s *stream) release() {
	for _, a := range s.held {
		for level, t := range a.tickets {
			switch {
			case t == nil:
			case s.fault != nil:
				t.close(&OpError{"capture", "", s.fault})
			default:
				s.out.attach(level, t)
			}
		}
		s.memory.recycle(a)
	}
	clear(s.held)
	s.held, s.fault = s.held[:0], nil
}

// run seals until a request closes the stream.
func (s *stream) run() {
	defer close(s.done)
	defer s.sealer.codec.Close()
	timer := time.NewTimer(0) // the first beat follows the first frame
	defer timer.Stop()
	for {
		var closing *request
		select {
		case <-s.inbox.wake:
		case <-s.out.freed:
		case <-timer.C:
		case r := <-s.requests:
			if r.expired != nil {
				closing = r
			} else {
				s.answers = append(s.answers, r)
				s.collect()
			}
		}
		if closing != nil {
			s.close(closing)
			return
		}
		timer.Reset(s.step(time.Now()))
	}
}

// step does what is due and returns how long there is nothing to do.
func (s *stream) step(now time.Time) time.Duration {
	if s.since.IsZero() && s.inbox.dirty.Load() {
		s.since = now
	}
	linger := s.inbox.linger(s.set.Linger)
	if !s.since.IsZero() && !now.Before(s.since.Add(linger)) && len(s.pending) == 0 {
		s.collect()
	} else if s.inbox.waiting() >= manyArenas {
		s.pending = s.inbox.takeAll(s.pending)
	}
	s.seal(now)
	if !now.Before(s.beatAt) {
		s.beat(now)
		s.beatAt = now.Add(s.set.Beat)
	}
	wait := s.beatAt.Sub(now)
	if !s.since.IsZero() && len(s.pending) == 0 {
		wait = min(wait, s.since.Add(linger).Sub(now))
	}
	return max(wait, 0)
}

// collect takes everything that was captured.
func (s *stream) collect() {
	s.inbox.dirty.Store(false)
	s.inbox.urgent.Store(false)
	s.since = time.Time{}
	for _, sh := range s.shards {
		sh.take(false)
	}
	s.pending = s.inbox.takeAll(s.pending)
}

// seal seals what is pending, as far as there is room for frames, and answers requests when nothing is left.
func (s *stream) seal(now time.Time) {
	for len(s.pending) > 0 && s.room() {
		s.sealArena()
	}
	if len(s.pending) > 0 {
		s.sealer.flush()
		return
	}
	if s.room() {
		s.declare(now, false)
	}
	s.sealer.flush()
	s.answers = slices.DeleteFunc(s.answers, s.answered)
}

// answered answers a request, if it can, and says that it can be forgotten. The end of a session is a message that takes
// room; while there is none, only those wait whose callers do.
func (s *stream) answered(r *request) bool {
	if r.end != nil && !s.room() {
		return expired(r.gone)
	}
	s.answer(r)
	return true
}

// room says whether frames may be made: what waits for the transport has half of the memory at most, so that captured
// records always find some room when the transport goes on.
func (s *stream) room() bool {
	return int64(s.out.size()) < s.set.Memory/int64(2*s.set.Streams)
}

func (s *stream) sealArena() {
	a := s.pending[0]
	s.pending[0] = nil
	s.pending = s.pending[1:]
	for b := a.buf; len(b) > 0; {
		b = s.sealer.record(b)
	}
	s.held = append(s.held, a)
}

// declare adds what the stream has to say about records that it does not hold.
func (s *stream) declare(now time.Time, closing bool) {
	for _, d := range s.losses.take() {
		after := s.sealer.seq() - 1 // record.None before the first leaf
		detail := record.LossDetail{Count: d.count, Reason: d.reason, After: after, From: d.from, Until: d.until}
		if s.sealer.own(record.Loss, d.class, detail.Append(nil)) != nil {
			s.losses.giveBack(d)
		}
	}
	if closing || !now.Before(s.countAt) {
		s.countAt = now.Add(sampledEvery)
		if d, ok := s.sampled.take(); ok && s.sealer.own(record.Sampled, defaultClass, d.Append(nil)) != nil {
			s.sampled.giveBack(d)
		}
	}
}

func (s *stream) answer(r *request) {
	if r.end != nil {
		m := keyscope.SessionEnd{Cert: s.sealer.cert, Time: s.sealer.now().UnixNano(), Tags: *r.end}
		data, err := m.Sign(s.sealer.key)
		if err != nil {
			r.ticket.close(err)
			return
		}
		s.sealer.scopes.endSession(r.name)
		s.out.push(&item{kind: itemGrants, data: fit(data)})
	}
	s.out.attach(onSpooled, r.ticket)
}

func (s *stream) beat(now time.Time) {
	b := frame.Beat{Archive: s.sealer.at.Archive, Partition: s.sealer.at.Partition, Stream: s.id,
		Seq: s.sealer.next - 1, Head: s.sealer.head, Time: now.UnixNano()}
	s.out.pushBeat(&item{kind: itemBeat, data: b.Append(nil, s.sealer.key)})
}

// close seals what is left, as far as there is room in time, declares the rest, and says that the stream ends.
func (s *stream) close(r *request) {
	for _, sh := range s.shards {
		sh.take(true)
	}
	s.pending = s.inbox.takeAll(s.pending)
	reason := closeClean
	for len(s.pending) > 0 {
		if expired(r.expired) || !s.room() && !s.waitRoom(r.expired) {
			reason = closeDeadline
			s.forget()
			break
		}
		s.sealArena()
	}
	s.declare(s.sealer.now(), true)
	s.sealer.flush()
	for _, a := range s.answers {
		s.answer(a)
	}
	s.declare(s.sealer.now(), true) // what the flush could not seal
	detail := record.CloseDetail{Reason: reason, Captured: s.sealed.Load() + s.losses.sum(nil), Lost: s.losses.sum(nil)}
	if err := s.sealer.own(record.Close, defaultClass, detail.Append(nil)); err != nil {
		s.log.Error("the stream could not be closed", "error", err)
	}
	s.sealer.flush()
	s.out.attach(onAcked, r.ticket)
	s.out.close()
}

// Reasons of a close leaf.
const (
	closeClean    record.Reason = 1
	closeDeadline record.Reason = 3
)

func expired(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// waitRoom waits until the transport has accepted something.
func (s *stream) waitRoom(expired <-chan struct{}) bool {
	s.sealer.flush()
	for !s.room() {
		select {
		case <-s.out.freed:
		case <-expired:
			return false
		}
	}
	return true
}

// forget declares pending records as lost at the deadline.
func (s *stream) forget() {
	var e entry
	for _, a := range s.pending {
		for b := a.buf; len(b) > 0; {
			b = e.decode(b)
			s.losses.add(string(e.class), record.Deadline, 1, e.time)
		}
		for _, t := range a.tickets {
			if t != nil {
				t.close(&OpError{"capture", "", ErrClosed})
			}
		}
		s.memory.recycle(a)
	}
	s.pending = nil
}
