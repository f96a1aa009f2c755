package datalog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/objstore"
)

// Folder is where all logs lie.
const Folder = "logs/"

// Prefix is where the objects of a log lie.
func Prefix(partition uint32, period string) string {
	return fmt.Sprintf("%s%d/%s/", Folder, partition, period)
}

// CommitsPrefix is where the commits of a log lie.
func CommitsPrefix(partition uint32, period string) string {
	return Prefix(partition, period) + "commits/"
}

// Commits is the numbered space of the commits of a log.
func Commits(store worm.Store, partition uint32, period string) objstore.Numbered {
	return objstore.Numbered{Store: store, Prefix: CommitsPrefix(partition, period)}
}

// Partitions lists the partitions that have objects, in order.
func Partitions(ctx context.Context, store worm.Store) (out []uint32, err error) {
	err = eachFolder(ctx, store, Folder, func(name string) {
		if p, err := strconv.ParseUint(name, 10, 32); err == nil && strconv.FormatUint(p, 10) == name {
			out = append(out, uint32(p))
		}
	})
	slices.Sort(out)
	return out, err
}

// Periods lists the periods of a partition that have objects, oldest first.
func Periods(ctx context.Context, store worm.Store, partition uint32) (out []string, err error) {
	err = eachFolder(ctx, store, fmt.Sprintf("%s%d/", Folder, partition), func(name string) { out = append(out, name) })
	slices.SortFunc(out, commit.ComparePeriods)
	return out, err
}

// eachFolder calls f with the name of each folder directly under prefix, without listing what is inside.
func eachFolder(ctx context.Context, store worm.Store, prefix string, f func(name string)) error {
	after := ""
	for {
		found := false
		for v, err := range store.Versions(ctx, prefix, after) {
			if err != nil {
				return fmt.Errorf("list %s: %w", prefix, err)
			}
			name, _, ok := strings.Cut(strings.TrimPrefix(v.Key, prefix), "/")
			if ok {
				f(name)
				after, found = prefix+name+"0", true // '0' sorts just behind '/'
				break
			}
		}
		if !found {
			return nil
		}
	}
}
