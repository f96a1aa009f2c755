package merkle

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"strconv"
	"strings"
)

const (
	// EntriesLevel is the level of bundles of leaf data in [Tile].
	EntriesLevel = -1

	// TileWidth is how many hashes, or entries, a full tile has.
	TileWidth = 256

	tileHeight = 8 // levels of the tree between two levels of tiles
	maxTile    = 7 // the highest level of tiles: 2^63 leaves have no higher one
)

// Tile is the address of a tile of c2sp.org/tlog-tiles: Width hashes of level
// 8×Level of the tree, from node 256×Index on, or, with [EntriesLevel], the
// data of that many leaves.
type Tile struct {
	Level int    // 0 to 7, or EntriesLevel
	Index uint64 // counted from 0
	Width int    // 1 to 256; a tile of 256 is full and never changes
}

// Path returns where the tile lies below the prefix of its log, such as
// "tile/0/x001/234" or "tile/entries/007.p/5".
func (t Tile) Path() string {
	var b strings.Builder
	b.WriteString("tile/")
	if t.Level == EntriesLevel {
		b.WriteString("entries")
	} else {
		b.WriteString(strconv.Itoa(t.Level))
	}
	digits := strconv.FormatUint(t.Index, 10)
	digits = strings.Repeat("0", (3-len(digits)%3)%3) + digits
	for ; len(digits) > 3; digits = digits[3:] {
		b.WriteString("/x")
		b.WriteString(digits[:3])
	}
	b.WriteByte('/')
	b.WriteString(digits)
	if t.Width != TileWidth {
		b.WriteString(".p/")
		b.WriteString(strconv.Itoa(t.Width))
	}
	return b.String()
}

// ParseTilePath parses exactly what [Tile.Path] returns for a tile that can
// exist.
func ParseTilePath(path string) (Tile, error) {
	t := Tile{Width: TileWidth}
	rest, ok := strings.CutPrefix(path, "tile/")
	level, rest, found := strings.Cut(rest, "/")
	if !ok || !found || len(path) > 64 {
		return Tile{}, invalidf("tile path %.64q", path)
	}
	switch {
	case level == "entries":
		t.Level = EntriesLevel
	case len(level) == 1:
		t.Level = int(level[0]) - '0'
	default:
		return Tile{}, invalidf("tile path %q: level", path)
	}
	index, width, partial := strings.Cut(rest, ".p/")
	if partial {
		t.Width, _ = strconv.Atoi(width)
	}
	t.Index, _ = strconv.ParseUint(strings.NewReplacer("/", "", "x", "").Replace(index), 10, 63)
	// One tile has one path: whatever else was in it shows here.
	if t.check() != nil || t.Path() != path {
		return Tile{}, invalidf("tile path %q", path)
	}
	return t, nil
}

// Nodes returns the address of the first of the t.Width nodes whose hashes the
// tile holds; the others follow it in the same level. For a bundle these are
// the leaves.
func (t Tile) Nodes() (first Node, err error) {
	if err := t.check(); err != nil {
		return Node{}, err
	}
	return Node{Level: tileHeight * max(t.Level, 0), Index: t.Index * TileWidth}, nil
}

// Parent returns the node that a full tile of hashes adds up to: [Root] of them
// is its hash.
func (t Tile) Parent() Node { return Node{Level: tileHeight * (max(t.Level, 0) + 1), Index: t.Index} }

// In reports whether a tree of size leaves has the tile, whole or as the part
// of a wider one.
func (t Tile) In(size uint64) bool {
	first, err := t.Nodes()
	return err == nil && size <= maxSize && first.Index+uint64(t.Width) <= size>>first.Level
}

func (t Tile) check() error {
	switch {
	case t.Level < EntriesLevel || t.Level > maxTile:
		return invalidf("tile of level %d", t.Level)
	case t.Width < 1 || t.Width > TileWidth:
		return invalidf("tile of width %d", t.Width)
	case t.Index > maxSize>>(tileHeight*max(t.Level, 0))/TileWidth:
		return invalidf("tile %d of level %d lies beyond the largest tree", t.Index, t.Level)
	}
	return nil
}

// Tiles yields the tiles of a tree of size leaves, bundles included, those of
// the lowest level first: all full ones, and in each level the partial one at
// the end, if there is one. Requires size <= 2^63-1; a larger tree has none.
func Tiles(size uint64) iter.Seq[Tile] {
	return func(yield func(Tile) bool) {
		if size > maxSize {
			return
		}
		for level := EntriesLevel; level <= maxTile; level++ {
			nodes := size >> (tileHeight * max(level, 0))
			for i := range nodes / TileWidth {
				if !yield(Tile{level, i, TileWidth}) {
					return
				}
			}
			if rest := int(nodes % TileWidth); rest > 0 && !yield(Tile{level, nodes / TileWidth, rest}) {
				return
			}
		}
	}
}

// NodeTile returns the narrowest tile that node n of a tree of size leaves can
// be made from, in the width that it has at that size: [Tile.NodeHash] does.
// Requires that n is complete in the tree.
func NodeTile(n Node, size uint64) (Tile, error) {
	if n.Level < 0 || n.Level > 62 || size > maxSize || n.Index >= size>>n.Level {
		return Tile{}, invalidf("no complete node %d of level %d in a tree of size %d", n.Index, n.Level, size)
	}
	t := Tile{Level: n.Level / tileHeight}
	first := n.Index << (n.Level % tileHeight)
	t.Index = first / TileWidth
	t.Width = int(min(TileWidth, size>>(tileHeight*t.Level)-t.Index*TileWidth))
	return t, nil
}

// NodeHash returns the hash of node n from the tile that [NodeTile] names, whose
// bytes are data.
func (t Tile) NodeHash(n Node, data []byte) (Hash, error) {
	if len(data) != t.Width*HashSize {
		return Hash{}, invalidf("tile %s of %d bytes, want %d", t.Path(), len(data), t.Width*HashSize)
	}
	below := n.Level - tileHeight*t.Level
	if t.Level < 0 || below < 0 || below >= tileHeight || n.Index<<below>>tileHeight != t.Index || bits.Len64(n.Index)+below > 64 {
		return Hash{}, invalidf("tile %s does not hold node %d of level %d", t.Path(), n.Index, n.Level)
	}
	from, count := int(n.Index<<below%TileWidth), 1<<below
	if from+count > t.Width {
		return Hash{}, invalidf("tile %s ends before node %d of level %d", t.Path(), n.Index, n.Level)
	}
	hashes := make([]Hash, count)
	for i := range hashes {
		hashes[i] = Hash(data[(from+i)*HashSize:])
	}
	return Root(hashes), nil
}

// AppendEntry appends the data of a leaf to a bundle: its length as a
// big-endian u16, and the data. It fails over 65,535 bytes.
func AppendEntry(bundle, data []byte) ([]byte, error) {
	if len(data) > 1<<16-1 {
		return bundle, invalidf("leaf data of %d bytes, over the limit of 65,535 of a bundle", len(data))
	}
	bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(data)))
	return append(bundle, data...), nil
}

// ParseEntries returns the data of the leaves of a bundle, which must have so
// many. They share memory with it.
func ParseEntries(bundle []byte, width int) (entries [][]byte, err error) {
	for at := 0; at < len(bundle); {
		if len(bundle)-at < 2 || len(bundle)-at-2 < int(binary.BigEndian.Uint16(bundle[at:])) {
			return nil, invalidf("bundle: entry %d ends early", len(entries))
		}
		end := at + 2 + int(binary.BigEndian.Uint16(bundle[at:]))
		entries = append(entries, bundle[at+2:end:end])
		at = end
	}
	if len(entries) != width {
		return nil, fmt.Errorf("merkle: %w: bundle of %d entries, want %d", ErrInvalid, len(entries), width)
	}
	return entries, nil
}
