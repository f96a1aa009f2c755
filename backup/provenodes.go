package backup

import (
	"context"
	"fmt"
	"math/bits"
	"sort"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/merkle"
)

const (
	// tileLevels is how many levels of a tree one read gives: 256 hashes, and all that follows from them.
	tileLevels = 8
	// keptTiles bounds what a treeNodes keeps: about 16 MiB.
	keptTiles = 1024
)

// treeNodes gives out nodes of a log's tree, with few reads: what ends before a segment is in the compact range of its commit, and of a
// segment itself, which is where a proof under its own head lies, three reads of up to 256 hashes hold all levels. Nodes are not checked: a proof
// made of wrong ones does not lead to the root. Safe for concurrent use.
type treeNodes struct {
	store worm.Store
	l     *openLog

	mu    sync.Mutex
	tiles map[tileAt]*hashTile
	lone  map[merkle.Node]merkle.Hash // that begin in another segment than they end in
}

func newTreeNodes(store worm.Store, l *openLog) *treeNodes {
	return &treeNodes{store: store, l: l, tiles: map[tileAt]*hashTile{}, lone: map[merkle.Node]merkle.Hash{}}
}

// tileAt is the part of a tile that lies in one segment: nodes of base level, from 256·index on.
type tileAt struct {
	n     uint64 // of the commit
	base  int
	index uint64
}

// hashTile is that part, with all nodes above it up to the next tile.
type hashTile struct {
	from [tileLevels]uint64 // index of the first node of a level
	rows [tileLevels][]merkle.Hash
}

func newHashTile(from uint64, row []merkle.Hash) *hashTile {
	t := &hashTile{}
	for level := range tileLevels {
		t.from[level], t.rows[level] = from, row
		if from&1 == 1 { // the first one is a right half
			from++
			row = row[min(1, len(row)):]
		}
		above := make([]merkle.Hash, 0, len(row)/2)
		for ; len(row) > 1; row = row[2:] {
			above = append(above, merkle.NodeHash(row[0], row[1]))
		}
		from, row = from/2, above
	}
	return t
}

func (t *hashTile) node(level int, index uint64) (h merkle.Hash, ok bool) {
	at := index - t.from[level]
	if index < t.from[level] || at >= uint64(len(t.rows[level])) {
		return h, false
	}
	return t.rows[level][at], true
}

// read is the merkle.NodeReader of a log.
func (t *treeNodes) read(ctx context.Context, nodes []merkle.Node, hashes []merkle.Hash) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := wantedReads{t: t, by: map[*logCommit]*commitReads{}}
	var missing []int
	for i, n := range nodes {
		ok, err := t.find(n, &hashes[i], &w)
		if err != nil {
			return err
		}
		if !ok {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if len(t.tiles)+len(t.lone) > keptTiles {
		clear(t.tiles)
		clear(t.lone)
	}
	if err := w.fetch(ctx); err != nil {
		return err
	}
	for _, i := range missing {
		n := nodes[i]
		if ok, err := t.find(n, &hashes[i], nil); err != nil || !ok {
			return fmt.Errorf("%s: %w: it holds no node %d of level %d", t.l.chain.Origin, datalog.ErrAltered, n.Index, n.Level)
		}
	}
	return nil
}

// find gives a node that is here, or notes in w what has to be read for it.
func (t *treeNodes) find(n merkle.Node, h *merkle.Hash, w *wantedReads) (ok bool, err error) {
	if *h, ok = t.inRange(n); ok {
		return true, nil
	}
	c, err := t.l.commitOf((n.Index+1)<<n.Level - 1)
	if err != nil {
		return false, err
	}
	if n.Index<<n.Level < c.Tree.First {
		if *h, ok = t.lone[n]; !ok && w != nil {
			err = w.lone(c, n)
		}
		return ok, err
	}
	base := n.Level - n.Level%tileLevels
	at := tileAt{c.N, base, n.Index >> (tileLevels - (n.Level - base))}
	tile := t.tiles[at]
	if tile == nil {
		if w != nil {
			w.tile(c, at)
		}
		return false, nil
	}
	*h, ok = tile.node(n.Level-base, n.Index)
	return ok, nil
}

// inRange finds a node in the compact range before a segment: it is in all of them from its end on until its sibling is complete.
func (t *treeNodes) inRange(n merkle.Node) (h merkle.Hash, ok bool) {
	end := (n.Index + 1) << n.Level
	i := sort.Search(len(t.l.commits), func(i int) bool { return t.l.commits[i].Tree.First >= end })
	if n.Index&1 == 1 || i == len(t.l.commits) {
		return h, false
	}
	tree := &t.l.commits[i].Tree
	place := bits.OnesCount64(tree.First >> n.Level >> 1)
	if tree.First>>n.Level != n.Index+1 || place >= len(tree.Before) {
		return h, false
	}
	return tree.Before[place], true
}

// wantedReads are reads that nodes need, by segment.
type wantedReads struct {
	t  *treeNodes
	by map[*logCommit]*commitReads
}

type commitReads struct {
	ranges []worm.Range
	then   []func(data []byte)
	tiles  map[tileAt]bool
}

func (w *wantedReads) add(c *logCommit, r worm.Range, then func(data []byte)) *commitReads {
	reads := w.by[c]
	if reads == nil {
		reads = &commitReads{tiles: map[tileAt]bool{}}
		w.by[c] = reads
	}
	reads.ranges, reads.then = append(reads.ranges, r), append(reads.then, then)
	return reads
}

// rowAt is where nodes [from, to) of a level lie in a segment.
func rowAt(c *logCommit, level int, from, to uint64) worm.Range {
	section, off := c.Proof[segment.SectionLeaves], int64(from-c.Tree.First)*merkle.HashSize
	if level > 0 {
		section = c.Proof[segment.SectionNodes]
		off, _ = segment.NodeOffset(c.Tree.First, c.Tree.Size, level, from)
	}
	return worm.Range{Off: section.Off + off, Len: int64(to-from) * merkle.HashSize}
}

// tile notes a part of a tile, that of a segment which completes at least one of its nodes.
func (w *wantedReads) tile(c *logCommit, at tileAt) {
	if reads := w.by[c]; reads != nil && reads.tiles[at] {
		return
	}
	// From the first node that begins in the segment: what begins before it is not wanted from a tile.
	first := (c.Tree.First + 1<<at.base - 1) >> at.base
	from, to := max(at.index<<tileLevels, first), min((at.index+1)<<tileLevels, c.Tree.Size>>at.base)
	reads := w.add(c, rowAt(c, at.base, from, to), func(data []byte) {
		row := make([]merkle.Hash, to-from)
		for i := range row {
			row[i] = merkle.Hash(data[i*merkle.HashSize:])
		}
		w.t.tiles[at] = newHashTile(from, row)
	})
	reads.tiles[at] = true
}

// lone notes a node that ends in a segment and begins before it.
func (w *wantedReads) lone(c *logCommit, n merkle.Node) error {
	keep := func(h merkle.Hash) { w.t.lone[n] = h }
	if n.Level >= segment.LowestNode {
		w.add(c, rowAt(c, n.Level, n.Index, n.Index+1), func(data []byte) { keep(merkle.Hash(data)) })
		return nil
	}
	leaves := make([]merkle.Hash, 1<<n.Level) // levels below are not stored
	for left := n.Index << n.Level; left < (n.Index+1)<<n.Level; {
		in, err := w.t.l.commitOf(left)
		if err != nil {
			return err
		}
		from, to := left, min((n.Index+1)<<n.Level, in.Tree.Size)
		w.add(in, rowAt(in, 0, from, to), func(data []byte) {
			for i := range to - from {
				leaves[from-n.Index<<n.Level+i] = merkle.Hash(data[int64(i)*merkle.HashSize:])
			}
			keep(merkle.Root(leaves))
		})
		left = to
	}
	return nil
}

// fetch reads all that is wanted, at once.
func (w *wantedReads) fetch(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	got := make(map[*logCommit][][]byte, len(w.by))
	var mu sync.Mutex
	for c, reads := range w.by {
		g.Go(func() error {
			data, err := fetchParts(gctx, w.t.store, c.Object(commit.KindProof, ""), reads.ranges, func(int, []byte) bool { return true })
			mu.Lock()
			defer mu.Unlock()
			got[c] = data
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for c, reads := range w.by {
		for i, then := range reads.then {
			then(got[c][i])
		}
	}
	return nil
}
