package compact

import (
	"context"
	"crypto/hpke"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/anchorlog"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/internal/objstore"
)

// Config configures a [Compactor]. Store, Trust, Identity and From are required.
type Config struct {
	Store    worm.Store
	Trust    []byte // content of trust.stele
	Identity []byte // content of compactor.stele
	From     string // transport to read: kafka://host:port[,host:port]/topic or file:///spool

	Username, Password string      // for Kafka; never in URLs
	TLS                *tls.Config // for Kafka

	SegmentBytes int64         // a segment is committed at this size; 64 MiB
	SegmentAge   time.Duration // or at this age; 60 s
	IdleAge      time.Duration // a log to which nothing but signs of life came is committed this often; 1 h
	HeadsEvery   time.Duration // how often new heads go into the control log; 10 s
	Partitions   []int         // static assignment; nil shares the partitions among the compactors of the group
	Group        string        // of the compactors that share the partitions; "stele-" and the archive's name
	Since        [][]byte      // heads or anchors' records that were saved outside: the control log must continue them
	Keys         *keys.Service // takes in grants beside the compactor, if this process holds the role
	Logger       *slog.Logger
	Now          func() time.Time // the clock; time.Now if nil
}

// Compactor moves what writers sent into the archive: it checks signatures, chains and digests, packs sealed records
// into segments, and commits them. It opens no payload. Compactors need not know of each other: the store's
// create-only write decides between them.
type Compactor struct {
	cfg       Config
	trust     identity.Trust
	signer    note.Signer // commits and entries
	sealer    note.Signer // the control log
	control   *ledger.Log
	cosigners *witnesses
	log       *slog.Logger
	stats     counters
	now       func() time.Time

	mu      sync.Mutex              // guards what follows
	heads   map[string]control.Head // newest head of each log that is not in the control log yet
	entries []string                // signed entries on their way into it
	said    map[string]bool         // notices made, so that none is repeated
	halted  map[int]error           // partitions that stopped
	failing map[string]error        // parts that do not get on, and try again
}

type counters struct {
	records, bytes, uploaded, commits, lost, duplicates, quarantined atomic.Uint64
}

// Stats are counts since the start of the process.
type Stats struct {
	Records     uint64 // leaves taken into segments
	Bytes       uint64 // of their frames
	Uploaded    uint64 // bytes of objects
	Commits     uint64
	Lost        uint64            // attempts for a number that another compactor took
	Duplicates  uint64            // frames dropped because the archive has them
	Quarantined uint64            // messages set aside
	Pending     int               // heads that are committed, but not yet in the control log
	Behind      map[string]uint64 // for each witness, how many entries of the control log it has not cosigned
	Halted      map[int]error     // partitions that stopped, because their source contradicts the archive
	Failing     map[string]error  // what fails now and is tried again, by name: "partition 3", "control log", "transport"
}

// Open reads the control log and prepares a compactor. It starts nothing: see [Compactor.Run] and [Compactor.Once].
func Open(ctx context.Context, cfg Config) (*Compactor, error) {
	c := &Compactor{cfg: cfg, log: cfg.Logger, now: cfg.Now,
		heads: map[string]control.Head{}, said: map[string]bool{}, halted: map[int]error{}, failing: map[string]error{}}
	c.defaults()
	if err := c.trust.UnmarshalText(cfg.Trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	var err error
	if c.signer, c.sealer, err = c.trust.Compactor(cfg.Identity); err != nil {
		return nil, err
	}
	if c.control, err = ledger.Open(ctx, cfg.Store, c.trust); err != nil {
		return nil, err
	}
	if err := c.control.Founded(ctx); err != nil {
		return nil, fmt.Errorf("the store holds no archive %s: %w; is it the right URL? 'stele init' makes a new one", c.trust.Name, err)
	}
	for _, head := range cfg.Since {
		if head, err = anchorlog.HeadIn(&c.trust, head); err == nil {
			c.control.View(func(s *control.State) { _, err = s.CheckHead(head) })
		}
		if err != nil {
			return nil, fmt.Errorf("the control log does not continue a head that was saved outside, so nothing is signed: %w", err)
		}
	}
	policy, err := c.trust.Cosigners()
	if err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	if c.cosigners, err = newWitnesses(c.control, policy); err != nil {
		return nil, err
	}
	if _, err := c.control.CommitKeys(c.signer.Name()); err != nil {
		return nil, err
	}
	most := max(1, int(c.control.Policy().Partitions))
	if i := slices.IndexFunc(c.cfg.Partitions, func(p int) bool { return p < 0 || p >= most }); i >= 0 {
		return nil, fmt.Errorf("partitions: the archive has %d, numbered 0 to %d, and %d is none of them", most, most-1, c.cfg.Partitions[i])
	}
	return c, nil
}

func (c *Compactor) defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.cfg.SegmentAge, time.Minute)
	set(&c.cfg.IdleAge, time.Hour)
	set(&c.cfg.HeadsEvery, 10*time.Second)
	if c.cfg.SegmentBytes <= 0 {
		c.cfg.SegmentBytes = 64 << 20
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
}

// Run works until ctx ends, and returns ctx.Err() then. It refuses to begin, as Once does, if a witness of the trust file has
// cosigned a head that the control log does not continue; a witness that does not answer keeps nobody from working, nor do
// brokers that are away. What fails is logged, stands in [Compactor.Stats], and is tried again, every 10 s in the end. A segment that is not committed when ctx ends is abandoned, and
// read again by whoever takes the partition next; nothing is ever half committed.
func (c *Compactor) Run(ctx context.Context) error {
	t, err := c.transport(ctx)
	switch {
	case err == nil:
		defer t.close()
	case ctx.Err() == nil && brokersAway(err):
		c.brokers(err)
	default:
		return err
	}
	if err := c.cosign(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.carry(ctx, t) })
	g.Go(func() error { return c.runHeads(ctx) })
	g.Go(func() error { return c.runWitnesses(ctx) })
	if c.cfg.Keys != nil {
		g.Go(func() error { return c.cfg.Keys.Run(ctx) })
	}
	return g.Wait()
}

// Once takes all that the transport holds now, commits it, folds the grants, puts the heads into the control log, and
// returns. While it commits, an outage of the store is waited for until ctx ends; what somebody must mend first, an
// [worm.ErrPermanent] say, ends it at once. What is not committed then is still in the transport.
func (c *Compactor) Once(ctx context.Context) error {
	t, err := c.transport(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	if err := c.cosign(ctx); err != nil {
		return err
	}
	var g errgroup.Group // one partition that fails does not stop the others
	g.SetLimit(2)
	ps := t.partitions()
	errs := make([]error, len(ps))
	for i, p := range ps {
		g.Go(func() error {
			errs[i] = c.partition(ctx, t, p, (*worker).once)
			return nil
		})
	}
	g.Wait()
	err = errors.Join(errs...)
	if c.cfg.Keys != nil {
		err = errors.Join(err, c.cfg.Keys.Fold(ctx))
	}
	return errors.Join(err, c.Sequence(ctx))
}

// Sequence puts new heads, and what waits in the inbox, into the control log, and has it cosigned. Run and Once do so by
// themselves; it is for what came into the inbox after Once.
func (c *Compactor) Sequence(ctx context.Context) error {
	return errors.Join(c.flush(ctx, 0), c.cosign(ctx))
}

// partition runs a worker on one partition. If the source diverges, the partition halts and the others go on.
func (c *Compactor) partition(ctx context.Context, t carrier, p int, work func(*worker, context.Context) error) error {
	src, err := t.source(ctx, p)
	if err != nil {
		return err
	}
	w, err := c.newWorker(ctx, uint32(p), src)
	if err == nil {
		err = work(w, ctx)
	}
	if errors.Is(err, errDiverged) {
		c.log.Error("partition halted", "partition", p, "err", err)
		c.mu.Lock()
		c.halted[p] = err
		c.mu.Unlock()
	}
	return err
}

// runPartitions runs workers on several partitions until ctx ends. A worker that fails is started again; one that
// diverged is not.
func (c *Compactor) runPartitions(ctx context.Context, t carrier, ps []int) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range ps {
		g.Go(func() error {
			for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 10*time.Second) {
				began := c.now()
				err := c.partition(ctx, t, p, (*worker).run)
				if ctx.Err() != nil {
					break
				}
				if c.now().Sub(began) > time.Minute {
					wait = 100 * time.Millisecond
				}
				if errors.Is(err, errDiverged) {
					c.works(partName(p))
					<-ctx.Done()
					break
				}
				c.fails(partName(p), err)
				c.log.Error("partition failed, starting it again", "partition", p, "err", err, "in", wait)
				objstore.Pause(ctx, wait)
			}
			c.works(partName(p)) // for whoever takes it next
			return nil
		})
	}
	return g.Wait()
}

// notice puts an entry on its way into the control log, once.
func (c *Compactor) notice(kind string, body any) {
	entry, err := control.Sign(c.trust.Archive, kind, c.now(), body, c.signer)
	if err != nil {
		c.log.Error("control entry", "type", kind, "err", err)
		return
	}
	key := fmt.Sprintf("%s %+v", kind, body)
	if d, ok := body.(control.Divergence); ok {
		key = fmt.Sprintf("%s %s %s %s", kind, d.Log, d.Kind, d.Detail)
		if d.Stream != nil {
			key = fmt.Sprintf("%s %s %s %s", kind, d.Log, d.Kind, d.Stream)
		}
		if c.control.Told(d) {
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.said[key] {
		c.said[key] = true
		c.entries = append(c.entries, entry)
	}
}

// runHeads puts heads and entries into the control log until ctx ends, and once more then.
func (c *Compactor) runHeads(ctx context.Context) error {
	for ctx.Err() == nil {
		objstore.Pause(ctx, c.cfg.HeadsEvery)
		err := c.flush(ctx, listEvery)
		if err == nil {
			c.works(partControl)
		} else if ctx.Err() == nil {
			c.fails(partControl, err)
			c.log.Error("control log", "err", err)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := c.flush(last, 0); err != nil {
		c.log.Error("control log: last heads", "err", err)
	}
	return ctx.Err()
}

// flush puts new heads, entries and the inbox into the control log, and a list of logs if the last one is older than so much.
func (c *Compactor) flush(ctx context.Context, age time.Duration) error {
	c.mu.Lock()
	heads := make([]control.Head, 0, len(c.heads))
	for _, h := range c.heads {
		heads = append(heads, h)
	}
	entries := append([]string(nil), c.entries...)
	own := len(entries)
	c.mu.Unlock()
	if len(heads) > 0 {
		body := control.Heads{Heads: heads}
		c.control.View(func(s *control.State) { body.Roster = s.Roster() })
		e, err := control.Sign(c.trust.Archive, control.TypeHeads, c.now(), body, c.signer)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	if err := c.cosigners.refusal(); err != nil {
		return err
	}
	if _, err := c.control.CommitKeys(c.signer.Name()); err != nil {
		return err
	}
	if err := c.control.Append(ctx, c.sealer, entries...); err != nil {
		return err
	}
	listErr := c.listLogs(ctx, age)
	inboxErr := c.control.TakeIn(ctx, c.sealer, c.refusal)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = c.entries[own:]
	for _, h := range heads {
		if c.heads[h.Log].Commit == h.Commit {
			delete(c.heads, h.Log)
		}
	}
	return errors.Join(inboxErr, listErr)
}

// refusal is the note that an entry of the inbox is not taken.
func (c *Compactor) refusal(r control.Refusal) (string, error) {
	c.log.Warn("an entry in the inbox is refused", "type", r.Type, "by", r.By, "why", r.Why)
	return control.Sign(c.trust.Archive, control.TypeRefusal, c.now(), r, c.signer)
}

// ID is the archive's id in hexadecimal, as Archive.ID of backup has it.
func (c *Compactor) ID() string { return fmt.Sprintf("%x", c.trust.Archive) }

// Stats returns the counts.
func (c *Compactor) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Records: c.stats.records.Load(), Bytes: c.stats.bytes.Load(), Uploaded: c.stats.uploaded.Load(),
		Commits: c.stats.commits.Load(), Lost: c.stats.lost.Load(), Duplicates: c.stats.duplicates.Load(),
		Quarantined: c.stats.quarantined.Load(), Pending: len(c.heads), Behind: c.cosigners.behind(), Halted: maps.Clone(c.halted), Failing: maps.Clone(c.failing)}
	return s
}

// lockNow is the lock of a commit made now.
func (c *Compactor) lockNow() worm.Lock {
	p := c.control.Policy()
	return objstore.LockFor(p.Lock.Mode, p.Longest(), c.now())
}

// newestReadKey is the public read key of the newest year.
func (c *Compactor) newestReadKey() (hpke.PublicKey, error) {
	var key []byte
	c.control.View(func(s *control.State) {
		year := uint16(0)
		for _, k := range s.ReadKeys {
			if k.Year >= year {
				year, key = k.Year, k.Key
			}
		}
	})
	if key == nil {
		return nil, errors.New("the control log holds no read key")
	}
	return keyscope.KEM().NewPublicKey(key)
}
