package backup

import (
	"context"
	"sync/atomic"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/segment"
)

// ReadForRun says how many bytes are read for a run of so many blocks of a length, in a data object of a size.
func ReadForRun(ctx context.Context, size int64, rows int, length uint32) int64 {
	store := &longStore{}
	u := &run{rows: make([]segment.RunRow, rows)}
	for i := range u.rows {
		u.rows[i].Block = segment.Block{Offset: uint32(i), Length: length}
	}
	r := &Reader{a: &Archive{store: store}, scopes: map[commit.Hex16]*openScope{{}: {class: "c"}}}
	c := &logCommit{Commit: &commit.Commit{Objects: []commit.Object{{Kind: commit.KindData, Class: "c", Key: "k", Size: size}}}}
	if _, err := r.blocksOf(ctx, c, []*run{u}); err != nil {
		return -1
	}
	return store.read.Load()
}

// longStore counts what is read, and makes none of it.
type longStore struct {
	worm.Store
	read atomic.Int64
}

func (s *longStore) Read(_ context.Context, _, _ string, r worm.Range) ([]byte, error) {
	s.read.Add(r.Len)
	return make([]byte, r.Len), nil
}
