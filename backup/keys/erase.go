package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
)

// Erasure says what to erase. Selectors add up; what is held stays.
type Erasure struct {
	// Requests are the hashes of the control entries that ask for this. An erasure whose requests are in the key store
	// already is finished, not repeated.
	Requests [][32]byte
	Tags     [][16]byte // of tenants, subjects, sessions: grant.md
	Scopes   [][16]byte // ids
	Classes  []string
	// Cutoff is the time of the request: what carries one of Tags and started by then is destroyed also if its grant comes
	// later. Now if zero.
	Cutoff time.Time
}

// Erased says what an erasure did, as certificates need it.
type Erased struct {
	Before, After  Root   // the records of the generation that is destroyed, and of the new one; equal if nothing was there to erase
	Scopes         uint64 // keys that are gone
	Removed, Spent uint64 // paths that are gone, and that were added
	Held           uint64 // keys that a hold keeps; they are denied to readers
	Retained       uint64 // keys that minimum retention keeps, the last of them until Until
	Until          time.Time
	Parts          []Part    // by request
	Left           uint64    // keys that there was no room for in this generation: they go in the next ones
	List           [32]byte  // SHA-256 of the list of what is gone, under keys/erased/
	ListSize       int64     // bytes
	ListRoot       [32]byte  // RFC 6962 root over it
	Denied         time.Time // from when on readers got no answer
	Switched       time.Time // when the new generation was read back
	Folded         map[string]int64
	// Generations are those that the erasure needed dead, newest first: the one before, and older ones that were not yet.
	Generations []Generation
	// Watermark is the least generation that can still be opened, as custodians say.
	Watermark uint64

	control uint64 // size of the control log by which it was judged
	cause   control.Cause
	replica bool // the destruction waits for the replica
}

// Part is how it stands with one request of a batch. A scope that several select counts for each.
type Part struct {
	Request                [32]byte
	Scopes, Held, Retained uint64
	Until                  time.Time // of what is retained
	Left                   uint64    // as in Erased, as they were counted when the first of them went

	whole bool
}

// Root names a root record.
type Root struct {
	N          uint64
	Hash       [32]byte
	Generation uint64
}

// batch is what one generation leaves out.
type batch struct {
	cause control.Cause
	asks  []*ask
	days  []uint16 // path days whose classes have expired
	weeks []uint16 // of intake keys that are over
	spent bool     // there are spent paths that no intake key is left for
	ends  []ended  // of sessions

	more bool   // there was no room for all days and ends
	rest []*ask // that there was no room for
}

// Erase erases keys: it folds what was granted before the request, makes a generation without them, compares, switches,
// and has the old generation destroyed. It may be repeated after any failure, and goes on where it stood; when it returns
// nil, a blocking set of custodians has destroyed every generation that had the keys. Of a great many keys it erases some,
// in a generation of their own, and says how many are Left: repeat it until none is. An error that comes after the switch
// is one about destruction, which [Service.Run] repeats.
func (s *Service) Erase(ctx context.Context, e Erasure) (*Erased, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signer == nil {
		return nil, errReadOnly
	}
	if e.Cutoff.IsZero() {
		e.Cutoff = s.now()
	}
	if err := s.sync(ctx); err != nil {
		return nil, err
	}
	out := s.done(e.Requests)
	if out == nil {
		var err error
		if out, err = s.erase(ctx, &batch{cause: control.CauseRequest, asks: e.asks()}); err != nil {
			return nil, err
		}
	}
	return out, s.destroy(ctx, out)
}

// gateSample is how many keys that stay are tried before anything is destroyed.
const gateSample = 32

// erase does all but destroying. It is nil if nothing of the batch is left to do. Requires mu.
func (s *Service) erase(ctx context.Context, b *batch) (*Erased, error) {
	denied := s.now()
	for {
		// What is erased may have come from where nothing comes any more.
		if err := s.foldAll(ctx); err != nil && !errors.Is(err, errOther) {
			return nil, err
		}
		marks, err := s.denials(ctx, b)
		if err == nil {
			err = s.markAll(ctx, marks)
		}
		if err != nil {
			return nil, err
		}
		if err := s.step("denied"); err != nil {
			return nil, err
		}
		if out := s.done(b.requests()); out != nil {
			return out, nil
		}
		judged, err := s.judge(ctx)
		if err != nil {
			return nil, err
		}
		if !s.stands(b) {
			return nil, nil
		}
		out, again, err := s.leaveOut(ctx, b, judged)
		if err != nil {
			return nil, err
		}
		if !again {
			out.Denied = denied
			return out, s.settle(ctx)
		}
	}
}

// denials are tombstones that are set at once: of requests that the control log does not have, by which readers get no
// answer otherwise.
func (s *Service) denials(ctx context.Context, b *batch) (marks keyring.Batch, err error) {
	have, _, err := s.version.ring.Marks(ctx)
	for _, a := range b.asks {
		for _, tag := range a.tags {
			stone := keyring.Tombstone{Tag: tag, Cutoff: a.cutoff, Request: a.request}
			if !a.logged && !slices.Contains(have, stone) {
				have, marks.Tombstones = append(have, stone), append(marks.Tombstones, stone)
			}
		}
	}
	return marks, err
}

// requests are those that are not of the control log: whoever asks keeps track of them.
func (b *batch) requests() (out [][32]byte) {
	for _, a := range b.asks {
		if !a.logged && a.request != (commit.Hex32{}) {
			out = append(out, a.request)
		}
	}
	return out
}

// stands leaves out requests that are not approved any more, or that another service has carried out, and reports whether
// anything is left to do. Requires mu.
func (s *Service) stands(b *batch) bool {
	if b.cause != control.CauseRequest {
		return true
	}
	busy := s.unlogged()
	b.asks = slices.DeleteFunc(b.asks, func(a *ask) bool { return a.logged && (busy[a.request] || !s.standing(a.request)) })
	return len(b.asks) > 0
}

// standing reports whether a request is approved now.
func (s *Service) standing(request commit.Hex32) (ok bool) {
	s.control.View(func(c *control.State) {
		r := c.Request(request)
		ok = r != nil && r.Standing == control.Approved
	})
	return ok
}

// leaveOut makes the next generation and switches to it. again says that what was made ready does not count: another record
// won, a hold was placed, or an approval taken back. Requires mu.
func (s *Service) leaveOut(ctx context.Context, b *batch, j *judgement) (out *Erased, again bool, err error) {
	before := s.version
	out = &Erased{Before: rootOf(&before), After: rootOf(&before), Switched: before.Time, Folded: positions(before.Folded), control: j.control, cause: b.cause}
	ring := before.ring.Cached(keyring.EraseCache)
	what, err := s.choose(ctx, ring, b, j, out)
	if err != nil {
		return nil, false, err
	}
	if len(what.Scopes)+len(what.Days)+len(what.Weeks)+what.Forget == 0 {
		if again, err = s.overtaken(ctx, b, j.control); err == nil && !again {
			again, err = s.mark(ctx, keyring.Batch{Tombstones: what.Tombstones, Deferred: what.Defer})
		}
		return out, again, err
	}
	s.spoil("chosen", what)
	if err := b.justifies(what, j, s.endsIn); err != nil {
		return nil, false, err
	}
	file, top, err := s.without(ctx, ring, what, out)
	if err != nil {
		return nil, false, err
	}
	if late, err := s.overtaken(ctx, b, j.control); err != nil || late {
		return nil, late, err
	}
	if lost, err := s.put(ctx, file, top); err != nil || lost {
		return nil, lost, err
	}
	if err := s.step("switched"); err != nil {
		return nil, false, err
	}
	out.After, out.Switched = rootOf(&s.version), s.version.Time
	out.fill(s.version.Erased)
	s.countErased(out)
	s.log.Info("keys erased", "requests", len(b.asks), "scopes", out.Scopes, "held", out.Held, "retained", out.Retained, "generation", s.version.Generation)
	return out, false, nil
}

// without makes the record without what was chosen, and checks it. Nothing counts yet.
func (s *Service) without(ctx context.Context, ring *keyring.Ring, what *keyring.Erasure, out *Erased) (file []byte, top *keyroot.Top, err error) {
	before := s.version
	// Replica and custodians come first: while one is away nothing is written that would be garbage.
	if err := s.askReplica(ctx); err != nil {
		return nil, nil, err
	}
	top, custody, err := s.custody.found(ctx, before.Generation+1, before.Custody.Sets, s.random)
	if err == nil {
		err = s.step("custodians")
	}
	if err != nil {
		return nil, nil, err
	}
	w := s.depot.Writer(ctx, before.Record, keydepot.ErasePack, s.random)
	made := *what
	s.spoil("made", &made)
	after, list, err := ring.Erase(ctx, w.Writer, made)
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = s.step("packs")
	}
	if err != nil {
		return nil, nil, err
	}
	sum, length, err := s.depot.PutList(ctx, list)
	if err == nil {
		err = s.step("list")
	}
	if err != nil {
		return nil, nil, err
	}
	next := keyroot.Next{Ring: after, Top: top, Packs: w.Named(before.Record, after), NextPack: w.Next(), Folded: before.Folded,
		Live: before.Live - list.Scopes(), Control: out.control, Time: s.now(), Custody: custody,
		Erased: &keyroot.Erased{Cause: string(out.cause), Requests: out.outcomes(), Scopes: list.Scopes(), Removed: list.Paths(),
			Spent: uint64(len(list.Spent)), Root: list.Root(), List: sum, Size: length}}
	if file, err = s.depot.State().Build(s.depot.Tail(), next, s.random, s.signer); err != nil {
		return nil, nil, err
	}
	if err := s.gate(ctx, ring, file, what, list); err != nil {
		return nil, nil, err
	}
	return file, top, s.step("gate")
}

// gate looks at the next version from all sides before anything is destroyed for it: what its custodians give opens the
// record that is about to be written, and what that leads to is all that it must be.
func (s *Service) gate(ctx context.Context, before *keyring.Ring, file []byte, what *keyring.Erasure, list *keyring.Erased) error {
	r, err := keyroot.Peek(file)
	if err != nil {
		return err
	}
	tops, failed := s.custody.tops(ctx, r)
	if len(tops) == 0 {
		return fmt.Errorf("no authorised set of custodians gives the new top key: %w", failed)
	}
	var after *keyring.Ring
	for n, top := range tops {
		if after, err = r.Open(&top, s.depot.Source(r.Packs)); err != nil {
			return fmt.Errorf("custodians %q: %w", r.Custody.Sets[n], err)
		}
	}
	// Shapes are public, and the gate reads them by the commitments in the record: what it finds is what an audit finds.
	if err := keyring.Gate(ctx, before, after, what, list, gateSample, s.random); err != nil {
		return err
	}
	for _, top := range tops { // any of them: they are the same
		return s.gateReplica(ctx, r, &top, s.random)
	}
	return nil
}

// done is the erasure that has these requests and left nothing of them, if there is one already.
func (s *Service) done(requests [][32]byte) *Erased {
	if len(requests) == 0 {
		return nil
	}
	want := slices.Clone(requests)
	slices.SortFunc(want, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, d := range s.depot.Erasures() {
		if slices.EqualFunc(d.Requests, want, func(o keyroot.Outcome, id [32]byte) bool { return o.Request == id && o.Left == 0 }) {
			return s.recorded(&d)
		}
	}
	return nil
}

// recorded is an erasure as the key store remembers it.
func (s *Service) recorded(d *keydepot.Erasure) *Erased {
	out := &Erased{Before: Root{d.Before, d.Prev, d.Generation - 1}, After: Root{d.N, d.Hash, d.Generation}, Switched: d.Time,
		Denied: d.Time, Folded: positions(s.version.Folded), control: d.Control, cause: control.Cause(d.Cause)}
	for _, o := range d.Requests {
		p := Part{Request: o.Request, Scopes: o.Erased, Held: o.Held, Retained: o.Retained, Left: o.Left, whole: o.Whole > 0}
		if o.Until != nil {
			p.Until = *o.Until
		}
		out.Parts = append(out.Parts, p)
		out.Held, out.Retained, out.Left = out.Held+p.Held, out.Retained+p.Retained, out.Left+p.Left
		if p.Until.After(out.Until) {
			out.Until = p.Until
		}
	}
	out.fill(&d.Erased)
	return out
}

func (e *Erased) fill(r *keyroot.Erased) {
	e.Scopes, e.Removed, e.Spent, e.List, e.ListSize, e.ListRoot = r.Scopes, r.Removed, r.Spent, r.List, r.Size, r.Root
}

// outcomes are what the root record says of requests: those of which something went.
func (e *Erased) outcomes() []keyroot.Outcome {
	out := []keyroot.Outcome{}
	for i := range e.Parts {
		p := &e.Parts[i]
		if p.Scopes == 0 || p.Request == [32]byte{} {
			continue
		}
		o := keyroot.Outcome{Request: p.Request, Erased: p.Scopes, Held: p.Held, Retained: p.Retained, Until: moment(p.Until), Left: p.Left}
		if p.whole {
			o.Whole = p.Scopes
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b keyroot.Outcome) int { return bytes.Compare(a.Request[:], b.Request[:]) })
	return out
}

func rootOf(v *version) Root { return Root{v.N, v.hash, v.Generation} }

func positions(s commit.Source) map[string]int64 {
	out := map[string]int64{}
	for lane, at := range s.Lanes {
		out[lane] = at.Next
	}
	return out
}
