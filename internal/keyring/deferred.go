package keyring

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/stelelog/stele/internal/keytrie"
)

// Deferred is what a request to erase selects of which something stays, by a tag, the id of a scope, or a class: just one
// of the three. It lives in the tries as long as the request waits.
type Deferred struct {
	Request [16]byte
	Cutoff  int64 // ns since 1970, not negative
	Tag     Tag
	Scope   [16]byte
	Class   string
}

const (
	byTag   = 1
	byScope = 2
	byClass = 3
)

func (d *Deferred) path() []byte {
	what := append([]byte{byScope}, d.Scope[:]...)
	switch {
	case d.Tag != Tag{}:
		what = append([]byte{byTag}, d.Tag[:]...)
	case d.Class != "":
		what = append([]byte{byClass}, d.Class...)
	}
	return join(indexDeferred, d.Request[:], binary.BigEndian.AppendUint64(nil, uint64(d.Cutoff)), what)
}

var errDeferred = errors.New("keyring: a deferred request selects by one of tag, scope and class")

func (d *Deferred) check() error {
	n := 0
	for _, is := range []bool{d.Tag != Tag{}, d.Scope != [16]byte{}, d.Class != ""} {
		if is {
			n++
		}
	}
	if n != 1 || d.Cutoff < 0 || len(d.Class) > maxClassLen {
		return errDeferred
	}
	return nil
}

// deferred reads an index path as a deferred one.
func deferred(path []byte) (d Deferred, err error) {
	if len(path) < 27 || path[0] != indexDeferred {
		return d, errDeferred
	}
	copy(d.Request[:], path[1:])
	d.Cutoff = int64(be64of(path[17:]))
	switch what := path[26:]; {
	case path[25] == byTag && len(what) == len(d.Tag):
		copy(d.Tag[:], what)
	case path[25] == byScope && len(what) == len(d.Scope):
		copy(d.Scope[:], what)
	case path[25] == byClass:
		d.Class = string(what)
	}
	return d, d.check()
}

// Deferred returns what is deferred, in the order of requests.
func (r *Ring) Deferred(ctx context.Context) (out []Deferred, err error) {
	for i := range r.Runs {
		err = r.index().Visit(ctx, r.Runs[i].Index, [][]byte{{indexDeferred}}, func(e keytrie.Entry) error {
			d, err := deferred(e.Path)
			if err != nil {
				return corrupt("index path %x", e.Path)
			}
			out = append(out, d)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b Deferred) int { return bytes.Compare(a.path(), b.path()) })
	return slices.Compact(out), nil
}

// marks are the index paths that the erasure adds.
func (e *Erasure) marks() (paths [][]byte) {
	for i := range e.Tombstones {
		paths = append(paths, e.Tombstones[i].path())
	}
	for i := range e.Defer {
		paths = append(paths, e.Defer[i].path())
	}
	return sortSet(paths)
}

// ended are the index paths of marks that end because somebody said so.
func (e *Erasure) ended() (paths [][]byte) {
	for i := range e.Release {
		paths = append(paths, e.Release[i].path())
	}
	for i := range e.Resume {
		paths = append(paths, e.Resume[i].path())
	}
	return paths
}
