package datalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/segment"
)

// What is wrong with an object that a commit names. Any other error means that the store could not be read.
var (
	ErrNoObject = errors.New("the object is not in the store")
	ErrAltered  = errors.New("content is not what the commit names")
)

// Faulty reports whether err says that the archive, and not the way to it, is damaged.
func Faulty(err error) bool { return errors.Is(err, ErrNoObject) || errors.Is(err, ErrAltered) }

// Fetch reads an object that a commit names, and checks it: the named version, else any version with that content.
// relocated says that it was another one.
func Fetch(ctx context.Context, store worm.Store, obj *commit.Object) (data []byte, relocated bool, err error) {
	return FetchSpan(ctx, store, obj, commit.Span{Off: 0, Len: obj.Size, SHA256: obj.SHA256})
}

// FetchSpan reads a range of an object and checks it against its digest.
func FetchSpan(ctx context.Context, store worm.Store, obj *commit.Object, span commit.Span) ([]byte, bool, error) {
	return FetchRange(ctx, store, obj, worm.Range{Off: span.Off, Len: span.Len}, func(data []byte) bool { return commit.Hash(data) == span.SHA256 })
}

// FetchRange reads a range of an object, of the first version in which the range fits. obj is nil where a commit names none.
func FetchRange(ctx context.Context, store worm.Store, obj *commit.Object, r worm.Range, fits func([]byte) bool) (data []byte, relocated bool, err error) {
	if obj == nil {
		return nil, false, fmt.Errorf("%w: the commit names none", ErrNoObject)
	}
	if r.Off < 0 || r.Len <= 0 || r.Len > obj.Size || r.Off > obj.Size-r.Len {
		return nil, false, fmt.Errorf("%s: %w: a range of %d bytes at %d lies outside it", obj.Key, ErrAltered, r.Len, r.Off)
	}
	length := r.Len
	if r.Len == obj.Size {
		r = worm.Range{}
	}
	relocated, err = TryVersions(ctx, store, obj, func(version string) (ok bool, err error) {
		data, err = store.Read(ctx, obj.Key, version, r)
		return err == nil && int64(len(data)) == length && fits(data), err
	})
	if err != nil {
		return nil, false, err
	}
	return data, relocated, nil
}

// TryVersions calls try with the version that a commit names of an object, and then with others that may be it, until
// one is right. relocated says that it was another.
func TryVersions(ctx context.Context, store worm.Store, obj *commit.Object, try func(version string) (ok bool, err error)) (relocated bool, err error) {
	ok, first := try(obj.Version)
	if ok {
		return false, nil
	}
	found, unread := false, error(nil)
	for v, err := range store.Versions(ctx, obj.Key, "") {
		if err != nil {
			return false, fmt.Errorf("list versions of %s: %w", obj.Key, err)
		}
		if v.Key != obj.Key || v.Deleted {
			continue
		}
		if found = true; v.Size != obj.Size || v.ID == obj.Version && first == nil {
			continue
		}
		ok, err := try(v.ID)
		if ok {
			return v.ID != obj.Version, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			unread = err
		}
	}
	switch {
	case unread != nil:
		return false, fmt.Errorf("%s: %w", obj.Key, unread)
	case found:
		return false, fmt.Errorf("%s: %w", obj.Key, ErrAltered)
	}
	return false, fmt.Errorf("%s: %w", obj.Key, ErrNoObject)
}

// FetchSection reads a section of the proof object of a commit, whose author may have named less than there should be.
func FetchSection(ctx context.Context, store worm.Store, c *commit.Commit, number int) ([]byte, error) {
	obj := c.Object(commit.KindProof, "")
	if obj == nil || len(c.Proof) != segment.Sections {
		return nil, fmt.Errorf("commit %d of %s names no proof with its %d sections: %w", c.N, c.Log, segment.Sections, ErrNoObject)
	}
	data, _, err := FetchSpan(ctx, store, obj, c.Proof[number])
	return data, err
}

// Frames reads the headers and signatures of the frames of a commit.
func Frames(ctx context.Context, store worm.Store, c *commit.Commit) ([][]byte, error) {
	if c.Object(commit.KindProof, "") == nil {
		return nil, nil
	}
	data, err := FetchSection(ctx, store, c, segment.SectionFrames)
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

// Encaps reads the encapsulations that a commit repeats.
func Encaps(ctx context.Context, store worm.Store, c *commit.Commit) ([]segment.Encap, error) {
	data, err := FetchSection(ctx, store, c, segment.SectionEncaps)
	if err != nil {
		return nil, err
	}
	return segment.ParseEncaps(data)
}
