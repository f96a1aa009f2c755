package backup

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/segment"
)

// Ranges of an object are read so many at a time, and as one if no more than so many bytes lie between them.
const (
	readsAtOnce = 16
	nearBytes   = 256
	mergedBytes = 1 << 20
)

// fetchParts reads ranges of an object. check says whether what was read is right; where it is not, other versions of the
// object are tried.
func fetchParts(ctx context.Context, store worm.Store, obj *commit.Object, parts []worm.Range, check func(i int, data []byte) bool) ([][]byte, error) {
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(parts[a].Off - parts[b].Off) })
	out := make([][]byte, len(parts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	for len(order) > 0 {
		whole, n := parts[order[0]], 1
		for n < len(order) {
			next := parts[order[n]]
			end := max(whole.Off+whole.Len, next.Off+next.Len)
			if next.Off-whole.Off-whole.Len > nearBytes || end-whole.Off > mergedBytes {
				break
			}
			whole.Len, n = end-whole.Off, n+1
		}
		together := order[:n]
		order = order[n:]
		g.Go(func() error {
			_, _, err := datalog.FetchRange(ctx, store, obj, whole, func(data []byte) bool {
				for _, i := range together {
					out[i] = data[parts[i].Off-whole.Off:][:parts[i].Len:parts[i].Len]
					if !check(i, out[i]) {
						return false
					}
				}
				return true
			})
			return err
		})
	}
	return out, g.Wait()
}

// lookup finds the runs of scopes in the segment of one commit, without its index. It keeps what it has read.
type lookup struct {
	store worm.Store
	c     *logCommit
	dir   *segment.Directory
	parts map[segment.Part][]byte // lists and groups, checked
	runs  map[int]*run
}

// run is up to 256 records and pieces of a scope. What its rows say is checked only by [search.openRun].
type run struct {
	scope [16]byte
	place segment.Place
	raw   []byte
	rows  []segment.RunRow
}

func openLookup(ctx context.Context, store worm.Store, c *logCommit) (*lookup, error) {
	data, err := datalog.FetchSection(ctx, store, c.Commit, segment.SectionScopes)
	if err != nil {
		return nil, err
	}
	u := &lookup{store: store, c: c, parts: map[segment.Part][]byte{}, runs: map[int]*run{}}
	u.dir, err = segment.ParseDirectory(data)
	return u, err
}

// section is the range of a part of a section in the proof object.
func (u *lookup) section(number int, p segment.Part) (r worm.Range, err error) {
	s := u.c.Proof[number]
	if p.Off < 0 || p.Len <= 0 || p.Off > s.Len || p.Len > s.Len-p.Off {
		return r, &segment.Error{Object: "proof", Offset: p.Off, Reason: "a part of a section lies outside it"}
	}
	return worm.Range{Off: s.Off + p.Off, Len: p.Len}, nil
}

// candidate is a run that may be of a scope.
type candidate struct {
	run   int
	scope [16]byte
}

// candidates are the runs that may be of the scopes: in all others are none of theirs.
func (u *lookup) candidates(scopes [][16]byte) (out []candidate) {
	for _, id := range scopes {
		first, end := u.dir.Find(id)
		for k := first; k < end; k++ {
			out = append(out, candidate{k, id})
		}
	}
	return out
}

// find returns those candidates that are what they seem.
func (u *lookup) find(ctx context.Context, candidates []candidate) ([]*run, error) {
	lists, groups := map[segment.Part]int{}, map[segment.Part]int{}
	for _, c := range candidates {
		list, group := u.dir.Parts(c.run)
		lists[list], groups[group] = c.run, c.run
	}
	err := u.read(ctx, lists, func(run int, b []byte) bool { return u.dir.ListFits(run, b) })
	if err == nil {
		err = u.read(ctx, groups, func(run int, b []byte) bool {
			list, _ := u.dir.Parts(run)
			return u.dir.GroupFits(run, u.parts[list], b)
		})
	}
	if err != nil {
		return nil, err
	}
	var runs, missing []*run
	var places []worm.Range
	for _, c := range candidates {
		_, group := u.dir.Parts(c.run)
		place, ok := u.dir.Place(c.run, c.scope, u.parts[group])
		if !ok {
			continue
		}
		known := u.runs[c.run]
		if known == nil || known.scope != c.scope {
			r, err := u.section(segment.SectionRuns, place.Part)
			if err != nil {
				return nil, err
			}
			known = &run{scope: c.scope, place: place}
			u.runs[c.run] = known
			missing, places = append(missing, known), append(places, r)
		}
		runs = append(runs, known)
	}
	raw, err := fetchParts(ctx, u.store, u.c.Object(commit.KindProof, ""), places, func(int, []byte) bool { return true })
	if err != nil {
		return nil, err
	}
	for i, r := range missing {
		r.raw = raw[i]
		if r.rows, err = segment.ParseRun(r.raw); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// read reads parts of the groups' section that were not read before.
func (u *lookup) read(ctx context.Context, wanted map[segment.Part]int, fits func(run int, b []byte) bool) error {
	var parts []segment.Part
	var ranges []worm.Range
	for p := range wanted {
		if u.parts[p] != nil {
			continue
		}
		r, err := u.section(segment.SectionGroups, p)
		if err != nil {
			return err
		}
		parts, ranges = append(parts, p), append(ranges, r)
	}
	data, err := fetchParts(ctx, u.store, u.c.Object(commit.KindProof, ""), ranges,
		func(i int, b []byte) bool { return fits(wanted[parts[i]], b) })
	if err != nil {
		return err
	}
	for i, p := range parts {
		u.parts[p] = data[i]
	}
	return nil
}

// misled reports whether err says that what leads to the runs cannot be used, so that the index must be read.
func misled(err error) bool {
	var e *segment.Error
	return datalog.Faulty(err) || errors.As(err, &e)
}
