package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/segment"
)

// readFrames reads the headers and signatures of the frames of a commit.
func readFrames(ctx context.Context, store Store, c *commit.Commit) ([][]byte, error) {
	obj := c.Object(commit.KindProof, "")
	if obj == nil {
		return nil, nil
	}
	data, _, err := fetchSpan(ctx, store, obj, c.Proof[segment.SectionFrames])
	if err != nil {
		return nil, err
	}
	frames, err := segment.ParseFrames(data)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(frames))
	for i := range frames {
		out[i] = frames[i].Signed
	}
	return out, nil
}

// readEncaps reads the encapsulations that a commit repeats.
func readEncaps(ctx context.Context, store Store, c *commit.Commit) ([]segment.Encap, error) {
	obj := c.Object(commit.KindProof, "")
	if obj == nil || len(c.Proof) < segment.Sections {
		return nil, fmt.Errorf("commit %d of %s repeats no encapsulations", c.N, c.Log)
	}
	data, _, err := fetchSpan(ctx, store, obj, c.Proof[segment.SectionEncaps])
	if err != nil {
		return nil, err
	}
	return segment.ParseEncaps(data)
}

// wholeSegment is a segment read and checked against its commit: the bytes, not yet what they mean.
type wholeSegment struct {
	index *segment.Index
	proof segment.Proof
	data  map[string][]byte // by class
	raw   map[string][]byte // index and proof as they are stored
}

// badObject is an object that cannot be used, and which it is.
type badObject struct {
	key string
	err error
}

func (b *badObject) Error() string { return b.key + ": " + b.err.Error() }
func (b *badObject) Unwrap() error { return b.err }

// readSegment reads all objects of a commit. Faults are reported one by one through bad; the segment is nil if its index
// or proof cannot be used. An error means that the store could not be read.
func readSegment(ctx context.Context, store Store, c *commit.Commit, bad func(*badObject), relocated func(key string)) (*wholeSegment, uint64, error) {
	s := &wholeSegment{data: map[string][]byte{}, raw: map[string][]byte{}}
	bytes, usable := uint64(0), true
	for i := range c.Objects {
		obj := &c.Objects[i]
		data, moved, err := fetch(ctx, store, obj)
		if ctx.Err() != nil {
			return nil, bytes, ctx.Err()
		}
		if err != nil && !faulty(err) {
			return nil, bytes, err
		}
		if err == nil {
			bytes += uint64(len(data))
			s.raw[obj.Kind] = data
			err = s.take(obj, data)
		}
		if err != nil {
			bad(&badObject{obj.Key, err})
			usable = usable && obj.Kind != commit.KindIndex && obj.Kind != commit.KindProof
			continue
		}
		if moved {
			relocated(obj.Key)
		}
	}
	if !usable || s.index == nil {
		return nil, bytes, nil
	}
	return s, bytes, nil
}

func (s *wholeSegment) take(obj *commit.Object, data []byte) (err error) {
	switch obj.Kind {
	case commit.KindIndex:
		s.index, err = segment.OpenIndex(data)
	case commit.KindProof:
		s.proof, err = segment.ParseProof(data)
	case commit.KindData:
		s.data[obj.Class] = data
		_, err = segment.OpenData(data)
	case commit.KindQuarantine, commit.KindTips, commit.KindDirectory:
	default:
		err = errors.New("an object of a kind that this stele does not know")
	}
	return err
}
