package tiles

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/merkle"
)

// View gives out the logs of an archive as c2sp.org/tlog-tiles, which tools that know nothing of Stele read. It makes
// them of the archive's objects when they are asked for. Its methods are safe for concurrent use.
type View struct {
	store   worm.Store
	trust   identity.Trust
	control *ledger.Log

	mu      sync.Mutex // guards logs and what they hold; held while the store is read on
	logs    map[string]*tileLog
	section keptSection
	batch   keptBatch
}

// tileLog is a data log as far as tiles need it.
type tileLog struct {
	chain    *datalog.Chain
	segments []tileSegment
}

// tileSegment says where the leaves [first, size) of a log are.
type tileSegment struct {
	first, size  uint64
	root         merkle.Hash
	proof, index commit.Object
	leaves       commit.Span // in proof
	nodes        commit.Span
	head         commit.Span // in index
	batches      []commit.Span
}

// Open reads the control log and the commits of an archive. It fails if the store cannot be read, or holds no archive
// of this trust file.
func Open(ctx context.Context, store worm.Store, trust []byte) (*View, error) {
	t := &View{store: store, logs: map[string]*tileLog{}}
	if err := t.trust.UnmarshalText(trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	var err error
	if t.control, err = ledger.Open(ctx, store, t.trust); err != nil {
		return nil, err
	}
	if err := t.control.Founded(ctx); err != nil {
		return nil, err
	}
	return t, t.Refresh(ctx)
}

// Refresh reads on to the ends of all logs.
func (t *View) Refresh(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.control.Refresh(ctx); err != nil {
		return err
	}
	ps, err := datalog.Partitions(ctx, t.store)
	if err != nil {
		return err
	}
	for _, p := range ps {
		periods, err := datalog.Periods(ctx, t.store, p)
		if err != nil {
			return err
		}
		for _, period := range periods {
			l := t.log(p, period)
			if err := l.chain.Read(ctx, func(chain.Finding) {}); err != nil {
				return err
			}
		}
	}
	return nil
}

// log finds a log, or begins it. Requires mu.
func (t *View) log(partition uint32, period string) *tileLog {
	origin := commit.Origin(t.trust.Name, partition, period)
	l := t.logs[origin]
	if l == nil {
		l = &tileLog{chain: datalog.New(t.control, t.store, &t.trust, partition, period)}
		l.chain.Took = func(_ chain.Object, c *commit.Commit) { l.take(c) }
		t.logs[origin] = l
	}
	return l
}

func (l *tileLog) take(c *commit.Commit) {
	proof, index := c.Object(commit.KindProof, ""), c.Object(commit.KindIndex, "")
	if c.Tree.Size == c.Tree.First || proof == nil || index == nil || c.Index == nil || len(c.Proof) < segment.Sections {
		return
	}
	l.segments = append(l.segments, tileSegment{first: c.Tree.First, size: c.Tree.Size, root: c.Tree.Root, proof: *proof, index: *index,
		leaves: c.Proof[segment.SectionLeaves], nodes: c.Proof[segment.SectionNodes], head: c.Index.Head, batches: c.Index.Batches})
}

// size is how many leaves are in the segments without a hole.
func (l *tileLog) size() (n uint64) {
	for i := range l.segments {
		if l.segments[i].first != n {
			break
		}
		n = l.segments[i].size
	}
	return n
}

// Origins lists the logs: that of the control log first.
func (t *View) Origins() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string{t.trust.Origin()}, slices.Sorted(maps.Keys(t.logs))...)
}

// Checkpoint returns the newest signed head of a log whose tiles are here, and the key that signed it in the text form of
// signed notes. The error wraps fs.ErrNotExist if there is no such log, or no head of it yet.
func (t *View) Checkpoint(ctx context.Context, origin string) (checkpoint []byte, vkey string, err error) {
	if origin == t.trust.Origin() {
		file, _, err := t.control.Published(ctx)
		if err == nil && file == nil {
			err = fmt.Errorf("the control log has no published head yet: %w", fs.ErrNotExist)
		}
		return file, t.trust.Log, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.logs[origin]
	if l == nil {
		return nil, "", fmt.Errorf("no log %s: %w", origin, fs.ErrNotExist)
	}
	h := t.control.Head(origin)
	if h.Log == "" {
		return nil, "", fmt.Errorf("the control log holds no head of %s yet: %w", origin, fs.ErrNotExist)
	}
	return []byte(h.Checkpoint), t.key(h), l.holds(h)
}

// key is the key that signed a head, in the text form of signed notes.
func (t *View) key(h control.Head) (vkey string) {
	t.control.View(func(s *control.State) {
		for _, p := range s.Policies {
			for _, c := range p.Compactors {
				if v, err := note.NewVerifier(c.Key); err == nil {
					if _, err := merkle.OpenCheckpoint([]byte(h.Checkpoint), h.Log, note.VerifierList(v)); err == nil {
						vkey = c.Key
					}
				}
			}
		}
	})
	return vkey
}

// holds checks that the head in the control log is that of a commit that is here.
func (l *tileLog) holds(h control.Head) error {
	var c merkle.Checkpoint
	text, err := note.Open([]byte(h.Checkpoint), note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		text, err = unverified.Note, nil
	}
	if err == nil {
		err = c.UnmarshalText([]byte(text.Text))
	}
	if err != nil {
		return err
	}
	if c.Size == 0 && c.Root == merkle.EmptyRoot() { // a log that continues another begins with a commit without leaves
		return nil
	}
	for i := range l.segments {
		if s := &l.segments[i]; s.size == c.Size {
			if s.root != c.Root {
				break
			}
			return nil
		}
	}
	return fmt.Errorf("%s: the control log holds a head of size %d that is not of the commits here: 'stele verify' says what is wrong", h.Log, c.Size)
}

// Tile returns the bytes of a tile. The error wraps fs.ErrNotExist if the log does not have it. Full tiles never change.
func (t *View) Tile(ctx context.Context, origin string, tile merkle.Tile) ([]byte, error) {
	return t.tile(ctx, origin, tile, false)
}

// tile reads a tile. whole says that all will be read, one after the other.
func (t *View) tile(ctx context.Context, origin string, tile merkle.Tile, whole bool) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first, err := tile.Nodes()
	if err != nil {
		return nil, err
	}
	if origin == t.trust.Origin() {
		return t.controlTile(ctx, tile, first)
	}
	l := t.logs[origin]
	if l == nil || !tile.In(l.size()) {
		return nil, fmt.Errorf("%s of %s: %w", tile.Path(), origin, fs.ErrNotExist)
	}
	if tile.Level == merkle.EntriesLevel {
		return t.bundle(ctx, l, first.Index, tile.Width)
	}
	if !whole && tile.Width == merkle.TileWidth {
		data, err := t.ranges(ctx, l, first, tile)
		if err == nil || !datalog.Faulty(err) {
			return data, err
		}
	}
	return t.hashes(ctx, l, first, tile.Width, t.fromSection)
}

// controlTile makes a tile of the control log.
func (t *View) controlTile(ctx context.Context, tile merkle.Tile, first merkle.Node) (data []byte, err error) {
	if !tile.In(t.control.Size()) {
		return nil, fmt.Errorf("%s of the control log: %w", tile.Path(), fs.ErrNotExist)
	}
	if tile.Level == merkle.EntriesLevel {
		err := t.control.Entries(ctx, first.Index, uint64(tile.Width), func(i uint64, entry string) (err error) {
			if data, err = merkle.AppendEntry(data, control.LeafData(entry)); err != nil {
				err = fmt.Errorf("entry %d of the control log does not fit into a tile: %w", i, err)
			}
			return err
		})
		return data, err
	}
	nodes, hashes := make([]merkle.Node, tile.Width), make([]merkle.Hash, tile.Width)
	for i := range nodes {
		nodes[i] = merkle.Node{Level: first.Level, Index: first.Index + uint64(i)}
	}
	err = t.controlNodes(nodes, hashes)
	for i := range hashes {
		data = append(data, hashes[i][:]...)
	}
	return data, err
}

// controlNodes is the merkle.NodeReader of the control log.
func (t *View) controlNodes(nodes []merkle.Node, hashes []merkle.Hash) (err error) {
	t.control.View(func(s *control.State) { err = s.Nodes(nodes, hashes) })
	return err
}
