package compact

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/objstore"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/internal/tips"
)

// worker turns the messages of one partition into commits of one log. It belongs to one goroutine.
type worker struct {
	c         *Compactor
	partition uint32
	period    string
	src       source
	renewed   bool // the control log was read since the last messages came
	patient   bool // waits until somebody has mended the store
	log       *slog.Logger

	space objstore.Numbered
	chain *datalog.Chain
	table *tips.Table
	seg   *segment.Writer
	frame frame.Frame

	batch batch
	last  struct { // what advance saw last, if hashLast was not called since
		lane string
		data []byte
	}
	repeats struct { // frame headers of the commit in which repeats were looked up last
		at     commit.End
		frames [][]byte
	}
	past map[string]*datalog.Chain // earlier logs in which repeats were looked up
}

// batch is what the segment in the making holds beside its leaves.
type batch struct {
	lanes      map[string]commit.Lane // where each lane goes on
	moved      map[string]bool        // lanes that moved since the last commit
	started    time.Time              // of the first frame; zero while there is none
	sourceTime time.Time
	duplicates uint64
	set        []setAside
	kept       int // bytes of the messages in set
	reasons    map[string]uint64
	streams    map[[16]byte]bool
	control    uint64 // size of the control log by which everything in it is judged
	closing    bool   // takes no more: what comes next needs a newer control log
}

// newWorker opens the newest log of the partition that holds an authentic commit, or should hold one; a name alone makes
// no log. Without one it starts the first.
func (c *Compactor) newWorker(ctx context.Context, partition uint32, src source) (*worker, error) {
	stored, err := datalog.Periods(ctx, c.cfg.Store, partition)
	if err != nil {
		return nil, err
	}
	w := &worker{c: c, partition: partition, src: src, log: c.log.With("partition", partition)}
	periods := c.control.Periods(fmt.Sprintf("%s/%d/", c.trust.Name, partition))
	for _, p := range stored {
		if _, ok := commit.PeriodStart(p); ok {
			periods = append(periods, p)
		}
	}
	slices.SortFunc(periods, commit.ComparePeriods)
	for _, p := range slices.Backward(slices.Compact(periods)) {
		if err := w.open(ctx, p, nil); err != nil || w.parent() != nil {
			return w, err
		}
	}
	first, err := c.firstPeriod()
	if err != nil {
		return nil, err
	}
	return w, w.open(ctx, first, nil)
}

// firstPeriod is that of the first log of each partition: the one in which the archive was made, because all compactors
// must begin the same, whatever their clocks say.
func (c *Compactor) firstPeriod() (period string, err error) {
	c.control.View(func(s *control.State) {
		for _, l := range s.Listed {
			if l.Type == control.TypePolicy && l.Unauthorised == nil {
				period, err = commit.PeriodOf(s.Policies[0].Period, l.Time)
				return
			}
		}
		err = errors.New("the control log holds no access policy")
	})
	return period, err
}

// open takes up the log of a period, behind the one before if that was closed.
func (w *worker) open(ctx context.Context, period string, before *datalog.Chain) error {
	w.period = period
	w.space = datalog.Commits(w.c.cfg.Store, w.partition, period)
	w.space.Lock = w.c.lockNow
	w.chain = datalog.New(w.c.control, w.c.cfg.Store, &w.c.trust, w.partition, period)
	if before != nil {
		w.chain.Follow(before)
	}
	return w.load(ctx)
}

// origin is the name of the log.
func (w *worker) origin() string {
	return commit.Origin(w.c.trust.Name, w.partition, w.period)
}

// load reads the chain of commits and starts anew behind it. It is how a worker starts, and how it goes on after it
// lost a number to another.
func (w *worker) load(ctx context.Context) error {
	if err := w.c.control.Refresh(ctx); err != nil {
		return err
	}
	w.chain.Head = w.c.control.Head(w.origin())
	var broken error
	err := w.chain.Read(ctx, func(f chain.Finding) {
		w.c.found(w.origin(), f)
		if f.Kind == chain.Missing {
			broken = f
		}
	})
	if err != nil {
		return err
	}
	if broken == nil {
		broken = w.chain.Agrees()
	}
	if broken != nil {
		return w.diverged(string(chain.Missing), broken.Error())
	}
	if err := w.provable(); err != nil {
		return err
	}
	last := w.chain.Last
	if last != nil && last.Final != nil {
		_, next := commit.SplitOrigin(last.Final.Next)
		return w.open(ctx, next, w.chain)
	}
	before, err := w.chain.Frontier()
	if err != nil {
		return err
	}
	known := w.table
	w.table = tips.New(w.c.trust.Archive, w.partition, w.chain.AllTips(), w.service)
	if known != nil { // so that the next log has them, too
		w.table.TakeEncaps(known)
	}
	w.seg = segment.NewWriter(w.c.trust.Archive, w.origin(), before)
	w.batch.lanes = maps.Clone(w.chain.Lanes) // and not those of a segment that was thrown away
	w.reset()
	return w.checkSource(ctx)
}

// provable puts the heads of the last commit, and of the log before, into the control log: whoever made them may not have
// got so far.
func (w *worker) provable() error {
	if b := w.chain.Before; b != nil && b.Commit != nil {
		if have := w.c.control.Head(b.Commit.Log); have.Log == "" || have.Commit < b.Commit.N {
			if err := w.c.head(b.Commit, b.Hash); err != nil {
				return err
			}
		}
	}
	last := w.chain.Last
	if last == nil || w.chain.Head.Log != "" && w.chain.Head.Commit >= last.N {
		return nil
	}
	return w.c.head(last, w.chain.LastHash)
}

// reset empties the batch, but keeps where the lanes go on.
func (w *worker) reset() {
	lanes := w.batch.lanes
	w.batch = batch{lanes: lanes, moved: map[string]bool{}, reasons: map[string]uint64{}, streams: map[[16]byte]bool{}}
	if last := w.parent(); last != nil {
		w.batch.sourceTime = last.SourceTime
	}
	w.batch.control = w.c.control.Size()
	w.last.lane = ""
}

// parent is the commit that the next one follows; nil for the first of an archive.
func (w *worker) parent() *commit.Commit {
	if w.chain.Last == nil && w.chain.Before != nil {
		return w.chain.Before.Commit
	}
	return w.chain.Last
}

// service says whether a service key may open a stream under the policy that the commit will name.
func (w *worker) service(key ed25519.PublicKey) (name string, err error) {
	w.c.control.View(func(s *control.State) { name, err = s.Service(key, w.batch.control) })
	return name, err
}

// full reports whether the segment has reached its size.
func (w *worker) full() bool {
	return w.batch.closing || len(w.batch.set) >= maxSetAside || w.seg.Full() || w.seg.Bytes() >= w.c.cfg.SegmentBytes
}

// due reports whether the segment should be committed now.
func (w *worker) due() bool {
	if w.turning() {
		return true
	}
	if !w.batch.started.IsZero() {
		return w.full() || w.c.now().Sub(w.batch.started) >= w.c.cfg.SegmentAge
	}
	return w.dirty() && w.chain.Last != nil && w.c.now().Sub(w.chain.Last.Time) >= w.c.cfg.IdleAge
}

// begin makes the first commit of a log that continues another: it says where everything was, and nothing else.
func (w *worker) begin(ctx context.Context) error {
	for w.begins() {
		if err := w.publish(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) begins() bool { return w.chain.Last == nil && w.chain.Before != nil }

// turning reports whether the period of the log is over, or the next log was not begun. A period is over when both the
// clock here and that of the transport say so: one of them alone may be wrong.
func (w *worker) turning() bool {
	_, over := w.nextPeriod()
	return w.begins() || over && w.chain.Last != nil
}

// nextPeriod names the log in which this one goes on, once its period is over.
func (w *worker) nextPeriod() (string, bool) {
	now := w.c.now()
	if w.batch.sourceTime.Before(now) {
		now = w.batch.sourceTime
	}
	next, err := commit.PeriodOf(w.c.control.Policy().Period, now)
	if err != nil {
		w.log.Error("this log goes on, whatever the time", "err", err)
		return "", false
	}
	return next, commit.StartsLater(w.period, next)
}

// dirty reports whether there is anything that a commit would add: leaves, beats, things set aside, positions.
func (w *worker) dirty() bool {
	return w.seg.Leaves() > 0 || len(w.table.Changed()) > 0 || len(w.batch.set) > 0 || len(w.batch.moved) > 0
}

// run takes and commits until ctx ends. What is not committed then is abandoned: the next worker reads it again.
func (w *worker) run(ctx context.Context) error {
	w.patient = true
	for ctx.Err() == nil {
		if err := w.begin(ctx); err != nil {
			return err
		}
		busy, err := w.round(ctx, nil)
		if err != nil {
			return err
		}
		if err := w.damaged(); err != nil {
			w.c.fails(w.name(), err)
		} else {
			w.c.works(w.name())
		}
		for w.due() {
			if err := w.publish(ctx); err != nil {
				return err
			}
		}
		if !busy {
			objstore.Pause(ctx, 50*time.Millisecond)
		}
	}
	return ctx.Err()
}

// once takes all that is in the transport now and commits it.
func (w *worker) once(ctx context.Context) error {
	lanes, err := w.src.lanes(ctx)
	if err != nil {
		return err
	}
	ends := map[string]int64{}
	for _, lane := range lanes {
		p, err := w.src.position(ctx, lane)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another compactor has committed it, and it is gone
		}
		if err != nil {
			return err
		}
		if ends[lane] = p.End; p.Damaged {
			ends[lane] = math.MaxInt64 // until reading meets the damage
		}
	}
	for w.behind(ends) || w.dirty() || w.turning() { // a segment that loses its number is read again
		if err := w.begin(ctx); err != nil {
			return err
		}
		busy, err := w.round(ctx, ends)
		if err != nil {
			return err
		}
		for lane := range w.src.damaged() {
			delete(ends, lane)
		}
		switch {
		case w.full() || !busy && (w.dirty() || w.turning()):
			err = w.publish(ctx)
		case !busy:
			// Another compactor may have taken what is missing here.
			objstore.Pause(ctx, 50*time.Millisecond)
			err = errors.Join(ctx.Err(), w.load(ctx))
		}
		if err != nil {
			return err
		}
	}
	return w.damaged()
}

func (w *worker) behind(ends map[string]int64) bool {
	for lane, end := range ends {
		if w.batch.lanes[lane].Next < end {
			return true
		}
	}
	return false
}

// round reads the lanes one after the other, until the segment is full. ends, if not nil, bounds what is read.
func (w *worker) round(ctx context.Context, ends map[string]int64) (busy bool, err error) {
	lanes, err := w.src.lanes(ctx)
	if err != nil {
		return false, err
	}
	for _, lane := range lanes {
		end := int64(1<<63 - 1)
		if ends != nil {
			end = ends[lane]
		}
		if w.batch.lanes[lane].Next >= end {
			continue
		}
		got, err := w.readLane(ctx, lane, end, w.wait())
		if got && err == nil && len(lanes) > 1 {
			err = w.readOn(ctx, lane, end)
		}
		if err != nil {
			return busy, err
		}
		busy = busy || got
		if w.full() {
			return true, nil
		}
	}
	return busy, nil
}

// readOn reads a lane as far as it goes now: in one that comes after it a stream of it may go on.
func (w *worker) readOn(ctx context.Context, lane string, end int64) error {
	p, err := w.src.position(ctx, lane)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another compactor has committed it, and it is gone
	}
	end = min(end, p.End)
	for got := true; got && err == nil && !w.full() && w.batch.lanes[lane].Next < end; {
		got, err = w.readLane(ctx, lane, end, w.wait())
	}
	return err
}

// wait is how long to wait for messages: not past the time when the segment is due.
func (w *worker) wait() time.Duration {
	wait := 500 * time.Millisecond
	if !w.batch.started.IsZero() {
		wait = min(wait, w.c.cfg.SegmentAge-w.c.now().Sub(w.batch.started))
	}
	return max(wait, time.Millisecond)
}
