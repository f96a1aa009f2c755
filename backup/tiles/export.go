package tiles

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/merkle"
)

// Export writes a log in the layout of c2sp.org/tlog-tiles: all tiles of its newest signed head, and then that head as
// "checkpoint". write gets paths relative to the log. What it writes was computed from the entries and compared with the
// proof objects; the head comes last, and only if the entries give its root.
func (t *View) Export(ctx context.Context, origin string, write func(path string, data []byte) error) (merkle.Checkpoint, error) {
	head, vkey, err := t.Checkpoint(ctx, origin)
	if err != nil {
		return merkle.Checkpoint{}, err
	}
	c, err := openHead(head, origin, vkey)
	if err != nil {
		return c, err
	}
	e := tileExport{t: t, origin: origin, write: write}
	for first := uint64(0); first < c.Size; first += merkle.TileWidth {
		if err := e.bundle(ctx, first/merkle.TileWidth, int(min(merkle.TileWidth, c.Size-first))); err != nil {
			return c, err
		}
	}
	for level := range e.levels {
		if err := e.flush(ctx, level, 1); err != nil {
			return c, err
		}
	}
	if e.tree.Root() != c.Root {
		return c, fmt.Errorf("%s: the entries do not give the root of the signed head of size %d", origin, c.Size)
	}
	return c, write("checkpoint", head)
}

func openHead(head []byte, origin, vkey string) (merkle.Checkpoint, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return merkle.Checkpoint{}, fmt.Errorf("no key of the access policy signed the head of %s", origin)
	}
	return merkle.OpenCheckpoint(head, origin, note.VerifierList(v))
}

// tileExport is one export. It keeps no more than a tile of each level.
type tileExport struct {
	t      *View
	origin string
	write  func(path string, data []byte) error

	tree   merkle.Frontier
	rows   [][]merkle.Hash // what the last bundle completed
	levels []openTile
}

// openTile is the tile of a level that is not full yet.
type openTile struct {
	index  uint64
	hashes []merkle.Hash
}

// bundle writes a bundle of n entries, and the tiles that it completes.
func (e *tileExport) bundle(ctx context.Context, index uint64, n int) error {
	tile := merkle.Tile{Level: merkle.EntriesLevel, Index: index, Width: n}
	data, err := e.t.tile(ctx, e.origin, tile, true)
	if err != nil {
		return err
	}
	entries, err := merkle.ParseEntries(data, n)
	if err != nil {
		return err
	}
	if err := e.write(tile.Path(), data); err != nil {
		return err
	}
	hashes := make([]merkle.Hash, n)
	for i, entry := range entries {
		hashes[i] = merkle.LeafHash(entry)
	}
	for i := range e.rows {
		e.rows[i] = e.rows[i][:0]
	}
	e.rows = e.tree.AppendLevels(e.rows, hashes...)
	for level := 0; 8*level < len(e.rows); level++ {
		if level == len(e.levels) {
			e.levels = append(e.levels, openTile{})
		}
		e.levels[level].hashes = append(e.levels[level].hashes, e.rows[8*level]...)
		if err := e.flush(ctx, level, merkle.TileWidth); err != nil {
			return err
		}
	}
	return nil
}

// flush writes the open tile of a level if it holds so many hashes.
func (e *tileExport) flush(ctx context.Context, level, atLeast int) error {
	open := &e.levels[level]
	if len(open.hashes) < atLeast {
		return nil
	}
	tile := merkle.Tile{Level: level, Index: open.index, Width: len(open.hashes)}
	var want []byte
	for i := range open.hashes {
		want = append(want, open.hashes[i][:]...)
	}
	data, err := e.t.tile(ctx, e.origin, tile, true)
	if err != nil {
		return err
	}
	if !bytes.Equal(data, want) {
		return fmt.Errorf("%s of %s: %w: the proof objects hold other hashes than the entries give", tile.Path(), e.origin, datalog.ErrAltered)
	}
	*open = openTile{index: open.index + 1}
	return e.write(tile.Path(), data)
}
