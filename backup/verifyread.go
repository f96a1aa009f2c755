package backup

import (
	"context"
	"fmt"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/sha256mb"
)

// pieceBytes is how much of an object is read at a time where it need not lie in memory as a whole.
const pieceBytes = 4 << 20

// objectReader reads an object that a commit names from front to back. Whoever reads also hashes all of it, in the order
// in which it came.
type objectReader struct {
	store   worm.Store
	obj     *commit.Object
	version string
	piece   int64 // bytes that are read at a time
	at      int64
	small   []byte // all of it, if that is no more than a piece
	hash    sha256mb.Digest
}

// left is how much of the object was not read yet.
func (o *objectReader) left() int64 { return o.obj.Size - o.at }

// next reads the next n bytes.
func (o *objectReader) next(ctx context.Context, n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	if n < 0 || n > o.left() {
		return nil, fmt.Errorf("%w: %d bytes at %d lie outside it", datalog.ErrAltered, n, o.at)
	}
	data, err := o.read(ctx, n)
	if err == nil && int64(len(data)) != n {
		err = fmt.Errorf("%w: it is of another size", datalog.ErrAltered)
	}
	if err != nil {
		return nil, err
	}
	o.at += n
	return data, nil
}

func (o *objectReader) read(ctx context.Context, n int64) (data []byte, err error) {
	if o.obj.Size > o.piece {
		return o.store.Read(ctx, o.obj.Key, o.version, worm.Range{Off: o.at, Len: n})
	}
	if o.small == nil {
		o.small, err = o.store.Read(ctx, o.obj.Key, o.version, worm.Range{})
	}
	if err != nil || int64(len(o.small)) != o.obj.Size {
		return nil, err
	}
	return o.small[o.at:][:n:n], nil
}

// end reports whether the object is what the commit names, once all of it was read.
func (o *objectReader) end(ctx context.Context) (bool, error) {
	if o.left() > 0 || commit.Hex32(o.hash.Sum()) != o.obj.SHA256 {
		return false, nil
	}
	if o.small != nil {
		return true, nil
	}
	size := int64(0) // ranges do not tell where an object ends
	for v, err := range o.store.Versions(ctx, o.obj.Key, "") {
		if err != nil {
			return false, fmt.Errorf("list versions of %s: %w", o.obj.Key, err)
		}
		if v.Key == o.obj.Key && !v.Deleted && (v.ID == o.version || o.version == "") {
			size = v.Size
		}
	}
	return size == o.obj.Size, nil
}

// pieces reads the next n bytes piece by piece.
func (o *objectReader) pieces(ctx context.Context, n int64, visit func(piece []byte)) error {
	for n > 0 {
		piece, err := o.next(ctx, min(n, o.piece))
		if err != nil {
			return err
		}
		visit(piece)
		n -= int64(len(piece))
	}
	return nil
}

// object reads an object with read, which takes and hashes what it wants from the front of it; the rest is hashed here.
// read is called again for every other version that may be the object, until one has the digest that the commit names: only
// then is what it read worth anything. ok is false if there is none, which is reported. An error means that the store could
// not be read.
func (v *verifier) object(ctx context.Context, c *commit.Commit, obj *commit.Object, read func(o *objectReader) error) (ok bool, err error) {
	relocated, err := datalog.TryVersions(ctx, v.a.store, obj, func(version string) (bool, error) {
		o := &objectReader{store: v.a.store, obj: obj, version: version, piece: v.mem.piece}
		err := read(o)
		if err == nil {
			err = o.pieces(ctx, o.left(), func(piece []byte) { o.hash.Write(piece) })
		}
		if err != nil {
			return false, unlessFaulty(err)
		}
		return o.end(ctx)
	})
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case datalog.Faulty(err):
		if gone, unread := v.a.expiredMeanwhile(ctx, c, obj); gone || unread != nil {
			return false, unread
		}
		v.r.fault(integrity, obj.Key, "%v", err)
		return false, nil
	case err != nil:
		return false, err
	}
	v.r.Bytes += uint64(obj.Size)
	if relocated {
		v.r.notice(integrity, obj.Key, "relocated: found under another version")
	}
	return true, nil
}

func unlessFaulty(err error) error {
	if datalog.Faulty(err) {
		return nil
	}
	return err
}

// whole reads an object into memory. sums are the digests of the parts that its commit names, as they turned out.
func (v *verifier) whole(ctx context.Context, c *commit.Commit, obj *commit.Object, spans []commit.Span) (data []byte, sums []commit.Hex32, ok bool, err error) {
	ok, err = v.object(ctx, c, obj, func(o *objectReader) (err error) {
		if data, err = o.next(ctx, o.left()); err != nil {
			return err
		}
		parts := make([][]byte, len(spans))
		for i, s := range spans {
			if s.Off >= 0 && s.Len > 0 && s.Len <= obj.Size && s.Off <= obj.Size-s.Len {
				parts[i] = data[s.Off:][:s.Len]
			}
		}
		sums = make([]commit.Hex32, len(spans))
		sha256mb.Beside(&o.hash, data, sums, parts)
		return nil
	})
	return data, sums, ok, err
}
