package ledger

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
)

// Replay reads the log once more from its beginning and calls visit with the bytes of each entry, in order, when the
// state has taken it in. It returns that state; visit must not keep it.
func (c *Log) Replay(ctx context.Context, visit func(s *control.State, index uint64, entry string)) (*control.State, error) {
	state, err := control.NewState(c.state.Trust)
	if err != nil {
		return nil, err
	}
	judge := func(o chain.Object) ([]uint64, func(), error) {
		burnt, accept, err := state.Judge(o)
		if err != nil {
			return nil, nil, err
		}
		return burnt, func() {
			at := state.Size()
			accept()
			var obj control.Object
			text, _, _ := strings.Cut(string(o.Data), "\n\n")
			if commit.UnmarshalLine(text+"\n", "control/v1", &obj) != nil {
				return // Judge has read it
			}
			for i, e := range obj.Entries {
				visit(state, at+uint64(i), e)
			}
		}, nil
	}
	var missing error
	_, err = chain.Read(ctx, c.space, chain.Tail{}, judge, func(f chain.Finding) {
		if f.Kind == chain.Missing {
			missing = f
		}
	})
	return state, errors.Join(err, missing)
}

// NewestCheckpoint reads the newest checkpoint that was published of the log as a state has it.
func (c *Log) NewestCheckpoint(ctx context.Context, s *control.State) (size uint64, file []byte, err error) {
	for _, size := range slices.Backward(s.Ends()) {
		if file, err := c.checkpointAt(ctx, s, size); err != nil || file != nil {
			return size, file, err
		}
	}
	return 0, nil, errors.New("no checkpoint of the control log was published yet: run the compactor, then try again")
}

// CheckpointFrom reads the first checkpoint that was published of at least so many entries of the log as a state has it; nil if
// there is none.
func (c *Log) CheckpointFrom(ctx context.Context, s *control.State, least uint64) (size uint64, file []byte, err error) {
	ends := s.Ends()
	first, _ := slices.BinarySearch(ends, least)
	for _, size := range ends[first:] {
		if file, err := c.checkpointAt(ctx, s, size); err != nil || file != nil {
			return size, file, err
		}
	}
	return 0, nil, nil
}

// checkpointAt reads the checkpoint of a size; nil if none is there.
func (c *Log) checkpointAt(ctx context.Context, s *control.State, size uint64) ([]byte, error) {
	prefix := CheckpointKeys(size, nil)[0]
	for v, err := range c.store.Versions(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		if v.Deleted || !strings.HasPrefix(v.Key, prefix) {
			continue
		}
		file, err := c.store.Read(ctx, v.Key, v.ID, worm.Range{})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if got, bad := s.CheckCheckpoint(file); err == nil && bad == nil && got == size {
			return file, nil
		}
	}
	return nil, nil
}
