package keydepot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/objstore"
)

// Where things lie in the store.
const (
	Roots = "keys/roots/"
	Packs = "keys/packs/"
	Lists = "keys/erased/"
)

// PackLock is how long a pack is locked. The lock of one that is needed is extended before half of that has passed.
const PackLock = 30 * 24 * time.Hour

// Config says what a depot belongs to. Store, Archive and Keys are required; Lock is needed for writing.
type Config struct {
	Store   worm.Store
	Archive [16]byte
	Keys    Keys
	// Lock is that of an object made now: root records and lists are kept like commits if keep is zero, packs for keep.
	Lock func(keep time.Duration) worm.Lock
}

// Keys says which keys may sign root records, as [keyroot.Verifiers] do; [Keepers] are those of a control log.
type Keys func(ctx context.Context, control uint64) (note.Verifiers, error)

// Depot is the key store of one archive. Not safe for concurrent use.
type Depot struct {
	cfg      Config
	space    objstore.Numbered
	state    *keyroot.State
	tail     chain.Tail
	findings chain.Findings
	missing  error // the chain builds on what is not there: nothing may be added
	cache    *cache
	erasures []Erasure
	chain    []keyroot.Lost          // all records, oldest first
	signed   []Signed                // the last record that each key signed
	folds    keyroot.Fold            // all folds together that count
	foldsAt  map[uint64]keyroot.Fold // by record of the newest generation: a recovery goes back to one
	late     []Late
	extended map[commit.Hex32]time.Time // when this process locked a pack last
}

// Erasure is a record that left keys out, and its parent.
type Erasure struct {
	N, Before  uint64
	Hash, Prev commit.Hex32
	Generation uint64
	Control    uint64 // size of the control log that it was made under
	Time       time.Time
	keyroot.Erased
}

// Signed is the newest record that a key has signed.
type Signed struct {
	By   string
	N    uint64
	Time time.Time
}

// Late is a record that counts grants which came too late.
type Late struct {
	N    uint64
	Hash commit.Hex32
	Time time.Time
	keyroot.Fold
	Undone bool // a recovery went back behind it: its grants are folded again
}

// Open opens the key store. Nothing is read before Refresh.
func Open(cfg Config) *Depot {
	d := &Depot{cfg: cfg, cache: newCache(maxCached), extended: map[commit.Hex32]time.Time{}, foldsAt: map[uint64]keyroot.Fold{}}
	d.state = keyroot.NewState(cfg.Archive)
	d.space = objstore.Numbered{Store: cfg.Store, Prefix: Roots, Lock: func() worm.Lock { return cfg.Lock(0) }}
	return d
}

// Refresh follows the chain of root records to its end. What it holds that it should not is among the findings.
func (d *Depot) Refresh(ctx context.Context) error {
	d.missing = nil
	judge := func(o chain.Object) ([]uint64, func(), error) { return d.judge(ctx, o) }
	tail, err := chain.Read(ctx, d.space, d.tail, judge, func(f chain.Finding) {
		if f.Kind == chain.Missing {
			d.missing = f
		}
		d.findings.Add(f)
	})
	d.tail = tail
	if err != nil {
		return fmt.Errorf("root records of the key store: %w", err)
	}
	return nil
}

// judge notes erasures on the way.
func (d *Depot) judge(ctx context.Context, o chain.Object) (burnt []uint64, accept func(), err error) {
	burnt, take, err := d.state.Judge(o, func(control uint64) (note.Verifiers, error) { return d.cfg.Keys(ctx, control) })
	if err != nil {
		return burnt, nil, err
	}
	return burnt, func() {
		parent, _ := d.state.Last()
		take()
		r, hash := d.state.Last()
		d.chain = append(d.chain, keyroot.Lost{N: r.N, Hash: hash})
		d.signed = append(slices.DeleteFunc(d.signed, func(x Signed) bool { return x.By == r.By }), Signed{r.By, r.N, r.Time})
		if r.Recovery != nil {
			d.folds = d.foldsAt[r.Recovery.From]
			for i := range d.late {
				d.late[i].Undone = d.late[i].Undone || d.late[i].N > r.Recovery.From
			}
		}
		if r.Erased != nil {
			clear(d.foldsAt)
		}
		if r.Fold != nil {
			d.folds.Buried += r.Fold.Buried
			d.folds.Dead += r.Fold.Dead
			if len(r.Fold.Late) > 0 || r.Fold.Dead > 0 {
				d.late = append(d.late, Late{N: r.N, Hash: hash, Time: r.Time, Fold: *r.Fold})
			}
		}
		d.foldsAt[r.N] = d.folds
		if r.Erased != nil && parent != nil {
			d.erasures = append(d.erasures, Erasure{r.N, parent.N, hash, r.Prev, r.Generation, r.Control, r.Time, *r.Erased})
		}
	}, nil
}

// State is what the records amount to, as far as they were read.
func (d *Depot) State() *keyroot.State { return d.state }

// Findings are what the chain holds that it should not.
func (d *Depot) Findings() *chain.Findings { return &d.findings }

// Erasures lists all records that left keys out, oldest first.
func (d *Depot) Erasures() []Erasure { return d.erasures }

// Signed lists the newest record of each key that has signed one.
func (d *Depot) Signed() []Signed { return d.signed }

// Late lists all records that count grants which came too late, oldest first.
func (d *Depot) Late() []Late { return d.late }

// Folds adds up what became of grants in all folds.
func (d *Depot) Folds() keyroot.Fold { return d.folds }

// Next is the key of the record that would follow.
func (d *Depot) Next() string { return d.space.Key(d.tail.Next) }

// Tail is where the next record goes.
func (d *Depot) Tail() chain.Tail { return d.tail }

// Complete is an error if the chain is broken, so that nothing may be added to it.
func (d *Depot) Complete() error {
	if d.missing == nil {
		return nil
	}
	if errors.Is(d.missing, errAhead) {
		return fmt.Errorf("root records of the key store: %w. Put in what is newer of control/, from where keys/ is from", d.missing)
	}
	return fmt.Errorf("root records of the key store: %w. A record was removed or replaced; put it back from a copy", d.missing)
}

// Append tries to make file the next record, until it is decided who won, and reads on. lost says that another record won.
func (d *Depot) Append(ctx context.Context, file []byte) (lost bool, err error) {
	if err := d.Complete(); err != nil {
		return false, err
	}
	err = patiently(ctx, func() error {
		_, err := chain.Append(ctx, d.space, d.tail, file)
		return err
	})
	if err == nil {
		err = patiently(ctx, func() error { return d.Refresh(ctx) })
	}
	if err != nil {
		return false, fmt.Errorf("root record of the key store: %w", err)
	}
	_, hash := d.state.Last()
	return hash != keyroot.Hash(file), nil
}

// File reads record n of the chain, whose hash is known.
func (d *Depot) File(ctx context.Context, n uint64, hash commit.Hex32) ([]byte, error) {
	return d.read(ctx, d.space.Key(n), keyroot.MaxLen, hash)
}

// Record reads record n of the chain, whose hash is known.
func (d *Depot) Record(ctx context.Context, n uint64, hash commit.Hex32) (*keyroot.Record, error) {
	file, err := d.File(ctx, n, hash)
	if err != nil {
		return nil, err
	}
	return keyroot.Peek(file) // its hash is that of one that was judged
}

// Missing lists the packs that a record names and that are not there, byte for byte. It reads those that are not in there,
// and notes them in it.
func (d *Depot) Missing(ctx context.Context, r *keyroot.Record, there map[commit.Hex32]bool) (gone []commit.Hex32, err error) {
	for _, p := range r.Packs {
		is, known := there[p.SHA256]
		if !known {
			_, err := d.read(ctx, Packs+p.SHA256.String(), p.Size, p.SHA256)
			if is = err == nil; !is && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			there[p.SHA256] = is
		}
		if !is {
			gone = append(gone, p.SHA256)
		}
	}
	return gone, nil
}

// List reads a list of what an erasure left out.
func (d *Depot) List(ctx context.Context, e *keyroot.Erased) (*keyring.Erased, error) {
	data, err := d.read(ctx, Lists+e.List.String(), e.Size, e.List)
	if err != nil {
		return nil, err
	}
	return keyring.ParseErased(d.cfg.Archive, data)
}

// patiently tries again for some seconds, where that may help.
func patiently(ctx context.Context, f func() error) error {
	return objstore.Persist(ctx, f, func(err error, wait time.Duration) bool {
		return !worm.Permanent(err) && !errors.Is(err, errTaken) && wait < 2*time.Second
	})
}
