package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/byurl"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyroot"
)

// Custodians says who holds the shares of the top key.
type Custodians struct {
	// URLs of custodians by name, as package byurl takes them.
	URLs map[string]string
	// Dial opens a custodian that is not one of ours. Nil means byurl.Open.
	Dial func(url string, id custodian.Identity) (custodian.Custodian, error)
	// Sets are the minimal authorised sets of the next generations; those of the present one if nil. For a new archive nil
	// means that any one of the custodians is enough.
	Sets [][]string
}

// Custody are the custodians of an archive, opened. It is not safe for concurrent use.
type custody struct {
	sets    [][]string
	members map[string]custodian.Custodian
	opened  []io.Closer
}

// openCustody opens the custodians. Those of which existing is true have keys already.
func openCustody(c Custodians, archive [16]byte, existing func(name string) bool) (*custody, error) {
	out := &custody{sets: c.Sets, members: map[string]custodian.Custodian{}}
	for name, url := range c.URLs {
		id := custodian.Identity{Archive: archive, Name: name}
		var m custodian.Custodian
		var err error
		if c.Dial != nil {
			m, err = c.Dial(url, id)
		} else {
			m, err = byurl.Open(url, id, byurl.Options{Existing: existing(name)})
		}
		if err != nil {
			return nil, errors.Join(err, out.close()) // which says whose it is
		}
		out.members[name] = m
		if closer, ok := m.(io.Closer); ok {
			out.opened = append(out.opened, closer)
		}
	}
	return out, nil
}

func (c *custody) close() (err error) {
	for _, o := range c.opened {
		err = errors.Join(err, o.Close())
	}
	return err
}

// setsAfter are the authorised sets of a new generation.
func (c *custody) setsAfter(present [][]string) ([][]string, error) {
	sets := present
	if c.sets != nil {
		sets = c.sets
	}
	if sets == nil {
		for name := range c.members {
			sets = append(sets, []string{name})
		}
		slices.SortFunc(sets, slices.Compare)
	}
	if err := keyroot.CheckSets(sets); err != nil {
		return nil, err
	}
	for _, set := range sets {
		for _, name := range set {
			if c.members[name] == nil {
				return nil, fmt.Errorf("the custodian %s is in the authorised set %q, and no URL is given for it; see 'custodians' in stele.yaml", name, set)
			}
		}
	}
	return sets, nil
}

// found makes the top key of a generation, has the custodians make theirs, and lets them wrap the shares. It may be
// repeated: a generation of which no record won is made anew.
func (c *custody) found(ctx context.Context, generation uint64, present [][]string, random io.Reader) (*keyroot.Top, *keyroot.Custody, error) {
	sets, err := c.setsAfter(present)
	if err != nil {
		return nil, nil, err
	}
	top, err := keyroot.NewTop(random)
	if err != nil {
		return nil, nil, err
	}
	pieces, err := keyroot.Split(&top, sets, random)
	if err != nil {
		return nil, nil, err
	}
	out := &keyroot.Custody{Sets: sets, Shares: []keyroot.Share{}}
	made := map[string]bool{}
	for _, p := range pieces {
		m := c.members[p.Custodian]
		if !made[p.Custodian] {
			if _, err := m.Create(ctx, generation); err != nil {
				return nil, nil, fmt.Errorf("custodian %s: key of generation %d: %w", p.Custodian, generation, err)
			}
			made[p.Custodian] = true
		}
		blob, err := m.Wrap(ctx, generation, p.Share)
		if err != nil {
			return nil, nil, fmt.Errorf("custodian %s: share of generation %d: %w", p.Custodian, generation, err)
		}
		out.Shares = append(out.Shares, keyroot.Share{Set: p.Set, Custodian: p.Custodian, Share: blob})
	}
	return &top, out, nil
}

// tops asks each authorised set for the top key of a record's generation. A set that cannot be asked has no entry; the
// error says why.
func (c *custody) tops(ctx context.Context, r *keyroot.Record) (tops map[int]keyroot.Top, err error) {
	tops = map[int]keyroot.Top{}
	for n, set := range r.Custody.Sets {
		var shares [][32]byte
		for _, s := range r.Custody.Shares {
			if s.Set != n {
				continue
			}
			m := c.members[s.Custodian]
			if m == nil {
				err = errors.Join(err, fmt.Errorf("custodian %s: no URL is given for it; see 'custodians' in stele.yaml", s.Custodian))
				continue
			}
			share, failed := m.Unwrap(ctx, r.Generation, s.Share)
			if failed != nil {
				err = errors.Join(err, failed) // which says whose it is
				continue
			}
			shares = append(shares, share)
		}
		if len(shares) == len(set) {
			tops[n] = keyroot.Join(shares...)
		}
	}
	return tops, err
}

// top gets the top key of a record's generation from the first set that can be asked and opens the record.
func (c *custody) top(ctx context.Context, r *keyroot.Record) (top keyroot.Top, err error) {
	tops, failed := c.tops(ctx, r)
	for n := range r.Custody.Sets {
		t, ok := tops[n]
		if !ok {
			continue
		}
		if _, err := r.Open(&t, nil); err != nil {
			failed = errors.Join(failed, fmt.Errorf("custodians %q: %w", r.Custody.Sets[n], err))
			continue
		}
		return t, nil
	}
	return top, fmt.Errorf("record %d of the key store cannot be opened, no authorised set of custodians answers: %w", r.N, failed)
}

// rollback asks the custodians whether they know of generations that no record speaks of.
func (c *custody) rollback(ctx context.Context, newest uint64) error {
	for name, m := range c.members {
		for _, ask := range []struct {
			generation uint64
			state      custodian.State
		}{{newest + 1, custodian.Destroyed}, {newest + 2, custodian.Live}, {newest + 2, custodian.Destroyed}} {
			status, err := m.Status(ctx, ask.generation)
			if err == nil && status.State == ask.state {
				return fmt.Errorf("custodian %s knows generation %d as %s, and the newest root record (under %s) is of generation %d: newer records were removed. Put them back from a copy",
					name, ask.generation, ask.state, keydepot.Roots, newest)
			}
		}
	}
	return nil
}
