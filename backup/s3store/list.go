package s3store

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/durable/objkey"
)

// pageSize is how many versions one request lists; no service gives more.
const pageSize = 1000

// Versions implements [worm.Store] with ListObjectVersions. It holds one page and all versions of one
// key in memory. Keys in the bucket that are no keys of a store are passed over.
//
// S3 lists the newest version of a key first; the group is turned round. Among versions, and among delete
// markers, the order of the service is never changed. How the two mix is decided by their times in whole
// seconds, and in the same second by the listing, because some services list the two kinds apart.
func (s *Store) Versions(ctx context.Context, prefix, after string) iter.Seq2[worm.Version, error] {
	return func(yield func(worm.Version, error) bool) {
		fail := func(err error) { yield(worm.Version{}, s.wrap(ctx, "list", prefix, "", err)) }
		if err := objkey.CheckPrefix(prefix); err != nil {
			fail(err)
			return
		}
		if after > prefix && !strings.HasPrefix(after, prefix) {
			if err := ctx.Err(); err != nil {
				fail(err)
			}
			return // all keys with the prefix sort before it
		}
		options := minio.ListObjectsOptions{Prefix: s.prefix + prefix, WithVersions: true, Recursive: true, MaxKeys: pageSize}
		if strings.HasPrefix(after, prefix) && after != "" && after != prefix {
			options.StartAfter = s.prefix + after
		}
		g := grouper{yield: yield}
		ctx, pages := countPages(ctx)
		page := 0
		for info := range s.core.ListObjectsIter(ctx, s.bucket, options) {
			if info.Err != nil {
				fail(info.Err)
				return
			}
			if page != *pages {
				page = *pages
				if !g.endPage() {
					break
				}
			}
			v, ok := s.version(info)
			if ok && v.Key > after {
				g.page = append(g.page, v)
			}
		}
		if g.end(); g.stopped {
			return
		}
		// The iterator ends without a word when ctx is done.
		if err := cmp.Or(g.err, ctx.Err()); err != nil {
			fail(err)
		}
	}
}

// version turns an entry of a listing into ours, if its key can be one.
func (s *Store) version(info minio.ObjectInfo) (worm.Version, bool) {
	key, ok := strings.CutPrefix(info.Key, s.prefix)
	if !ok || objkey.Check(key) != nil {
		return worm.Version{}, false
	}
	return worm.Version{
		Key: key, ID: info.VersionID, Size: info.Size, Modified: info.LastModified.UTC(), Deleted: info.IsDeleteMarker,
	}, true
}

// grouper brings the entries of a listing into the order of the contract, page by page. Inside a page a
// service may list versions and markers apart; a key may go on from one page to the next, and the first
// entry of a page may repeat the last one of the page before.
type grouper struct {
	yield   func(worm.Version, error) bool
	group   []worm.Version // of one key, newest first, not yet complete
	page    []worm.Version
	last    string // key that was shown last
	stopped bool   // the consumer wants no more
	err     error
}

// endPage takes in the page, shows the groups that it completes and says whether to go on.
func (g *grouper) endPage() bool {
	slices.SortStableFunc(g.page, func(a, b worm.Version) int { return strings.Compare(a.Key, b.Key) })
	for _, v := range g.page {
		if len(g.group) > 0 && v.Key != g.group[0].Key && !g.show() {
			return false
		}
		if v.Key <= g.last && g.last != "" {
			g.err = fmt.Errorf("the service lists %q after %q: out of order", v.Key, g.last)
			return false
		}
		same := func(w worm.Version) bool { return w.ID == v.ID && w.Deleted == v.Deleted }
		if !slices.ContainsFunc(g.group, same) {
			g.group = append(g.group, v)
		}
	}
	g.page = g.page[:0]
	return true
}

// end shows what is left.
func (g *grouper) end() {
	if g.err == nil && !g.stopped && g.endPage() && len(g.group) > 0 {
		g.show()
	}
}

func (g *grouper) show() bool {
	for _, v := range oldestFirst(g.group) {
		if !g.yield(v, nil) {
			g.stopped = true
			return false
		}
	}
	g.last = g.group[0].Key
	g.group = g.group[:0]
	return true
}

// oldestFirst orders the entries of one key, of which each kind is listed newest first, by merging the two
// kinds: by time, and in the same second as they are listed.
func oldestFirst(group []worm.Version) []worm.Version {
	oldest := make([]worm.Version, 0, len(group))
	next := func(i int, deleted bool) int {
		for i--; i >= 0 && group[i].Deleted != deleted; i-- {
		}
		return i
	}
	v, m := next(len(group), false), next(len(group), true)
	for v >= 0 || m >= 0 {
		takeVersion := m < 0
		if v >= 0 && m >= 0 {
			order := second(group[v]).Compare(second(group[m]))
			takeVersion = order < 0 || order == 0 && v > m
		}
		if takeVersion {
			oldest, v = append(oldest, group[v]), next(v, false)
		} else {
			oldest, m = append(oldest, group[m]), next(m, true)
		}
	}
	return oldest
}

func second(v worm.Version) time.Time { return v.Modified.Truncate(time.Second) }
