package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/durable/objkey"
)

// Versions implements [worm.Store]. It reads only folders that can hold a key with the prefix and after
// after, one after the other, each whole: memory is proportional to the largest folder. Files whose path
// is no key (hidden and temporary ones among them) and symbolic links are passed over.
func (s *Store) Versions(ctx context.Context, prefix, after string) iter.Seq2[worm.Version, error] {
	return func(yield func(worm.Version, error) bool) {
		l := lister{store: s, prefix: prefix, after: after, yield: yield}
		// The prefix leads straight to the folder that holds everything that starts with it.
		err := l.start(ctx, prefix[:strings.LastIndexByte(prefix, '/')+1])
		if err != nil && !errors.Is(err, errStopped) {
			yield(worm.Version{}, fail(fmt.Sprintf("list %q", prefix), err))
		}
	}
}

// errStopped ends a walk because the consumer wants no more. It does not leave this file.
var errStopped = errors.New("stopped")

type lister struct {
	store         *Store
	prefix, after string
	yield         func(worm.Version, error) bool
}

// start walks the folder dir, which is empty or ends with '/', if it is there.
func (l *lister) start(ctx context.Context, dir string) error {
	if err := objkey.CheckPrefix(l.prefix); err != nil {
		return err
	}
	if dir != "" {
		_, info, err := l.store.find(ctx, strings.TrimSuffix(dir, "/"))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return l.walk(ctx, dir)
}

func (l *lister) walk(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(filepath.Join(l.store.root, filepath.FromSlash(dir)))
	if err != nil {
		return err
	}
	for _, e := range l.wanted(dir, entries) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.IsDir() {
			err = l.walk(ctx, dir+e.Name()+"/")
		} else {
			err = l.show(dir+e.Name(), e)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// wanted returns the entries of dir that are or hold objects to be listed, in byte order of their keys. A
// folder stands where its keys do: at its name with a '/', which puts "a-b" and "a.b" before "a/b".
func (l *lister) wanted(dir string, entries []fs.DirEntry) []fs.DirEntry {
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		name := dir + e.Name()
		switch {
		case e.IsDir():
			name += "/"
			return objkey.CheckPrefix(name) != nil ||
				!strings.HasPrefix(name, l.prefix) && !strings.HasPrefix(l.prefix, name) ||
				l.after > name && !strings.HasPrefix(l.after, name)
		case e.Type().IsRegular():
			return objkey.Check(name) != nil || !strings.HasPrefix(name, l.prefix) || name <= l.after
		}
		return true
	})
	position := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(position(a), position(b)) })
	return entries
}

func (l *lister) show(key string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed since the folder was read
	}
	if err != nil {
		return err
	}
	if !l.yield(version(key, info), nil) {
		return errStopped
	}
	return nil
}
