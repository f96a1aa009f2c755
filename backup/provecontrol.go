package backup

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

// controlProof is what an evidence file needs of the control log.
type controlProof struct {
	state      *control.State
	kept       map[uint64]string // entries of which erasures are made, by index
	hashes     []merkle.Hash     // of all entries
	size       uint64            // of the checkpoint
	checkpoint []byte
	heads      map[uint64]*provenHead // by index
	list       *provenList            // of logs; nil if there is none, and none is wanted
	lists      []provenList           // of logs, oldest first
	rosters    []provenRoster         // oldest first
	writers    [][]byte               // service keys that are to be shown
	more       map[uint64]moreEntry   // other entries, by index
	vouches    []evidence.Part        // who else has seen the head
}

// provenList is a list of logs.
type provenList struct {
	control.LoggedLogs
	entry string
}

// wantList takes the newest list of logs under the checkpoint into the file.
func (log *controlProof) wantList() {
	for i := range log.lists {
		if l := &log.lists[i]; l.Index < log.size {
			log.list = l
		}
	}
}

// listLogs adds the list of logs.
func (log *controlProof) listLogs(p *prover) error {
	if err := log.entry(p, log.list.Index, log.list.entry); err != nil {
		return err
	}
	lines := strings.Join(log.state.LogLines(log.list.Control), "\n") + "\n"
	p.parts = append(p.parts, evidence.Part{Kind: rangeproof.KindLogs, Data: []byte(lines)})
	return nil
}

// provenRoster is an entry that says who the policy names: a roster or, where there is none, the policy itself.
type provenRoster struct {
	index uint64
	entry string
	names []string
	whole bool   // a policy
	shown []int  // of names
	first uint64 // entry by somebody whom it names
}

// replay reads the control log once: hashes, names, what erasures may need, and for each record the first head that covers it.
func (p *prover) replay(ctx context.Context) (*controlProof, error) {
	log := &controlProof{heads: map[uint64]*provenHead{}, kept: map[uint64]string{}, more: map[uint64]moreEntry{}}
	var err error
	log.state, err = p.a.control.Replay(ctx, func(s *control.State, index uint64, entry string) {
		log.add(entry)
		l := &s.Listed[index]
		if l.Unauthorised != nil {
			return
		}
		switch l.Type {
		case control.TypeHeads:
			p.takeHeads(log, l, entry)
		case control.TypeLogs:
			log.lists = append(log.lists, provenList{s.Lists[len(s.Lists)-1], entry})
		case control.TypeRoster, control.TypePolicy:
			log.takeNames(s, l, entry)
		case control.TypeRequest, control.TypeApprove, control.TypeErased, control.TypeDestroyed, control.TypeSupplement:
			log.kept[index] = entry
		}
	})
	if err != nil {
		return nil, err
	}
	log.size, log.checkpoint, err = p.a.control.NewestCheckpoint(ctx, log.state)
	return log, err
}

// readControl reads the control log for records.
func (p *prover) readControl(ctx context.Context) (*controlProof, error) {
	log, err := p.replay(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range p.found {
		if f.head != nil && f.head.index >= log.size {
			f.head = nil // its log's head is not under a checkpoint yet
		}
		if f.head == nil {
			return nil, fmt.Errorf("%s leaf %d is committed and not yet provable: its head is not in the control log. "+
				"A compactor puts it there within seconds", f.l.chain.Origin, f.index)
		}
	}
	return log, nil
}

func (log *controlProof) add(entry string) {
	log.hashes = append(log.hashes, control.LeafHash(entry))
}

func (p *prover) takeHeads(log *controlProof, l *control.Listed, entry string) {
	var heads control.Heads
	if l.Into(&heads) != nil {
		return
	}
	for _, h := range heads.Heads {
		p.takeRunHeads(l, h, heads.Roster, entry)
		for _, f := range p.found {
			if f.head != nil || h.Log != f.l.chain.Origin {
				continue
			}
			cp, err := peekHead(h.Checkpoint)
			c, missing := f.l.commitAt(h.Commit)
			if err != nil || missing != nil || cp.Size <= f.index || c.hash != h.Hash {
				continue
			}
			f.head = &provenHead{Head: h, index: l.Index, entry: entry, by: l.By, roster: heads.Roster, size: cp.Size, root: cp.Root}
			if log.heads[l.Index] == nil {
				log.heads[l.Index] = f.head
			}
		}
	}
}

func (log *controlProof) takeNames(s *control.State, l *control.Listed, entry string) {
	r := provenRoster{index: l.Index, entry: entry, whole: l.Type == control.TypePolicy, first: math.MaxUint64}
	policy := new(control.Policy)
	if r.whole {
		if l.Into(policy) != nil {
			return
		}
	} else if policy = s.PolicyAt(l.Index); policy == nil || control.NewRoster(policy).Root != rosterRoot(l) {
		return
	}
	r.names = policy.Names()
	if last := len(log.rosters) - 1; !r.whole && last >= 0 && log.rosters[last].whole && slices.Equal(log.rosters[last].names, r.names) {
		log.rosters[last] = r // the roster of that policy says the same, and is short
		return
	}
	log.rosters = append(log.rosters, r)
}

func rosterRoot(l *control.Listed) merkle.Hash {
	var r control.Roster
	_ = l.Into(&r) // it was read before it had an effect
	return r.Root
}

// show notes a name that is to be shown, from the newest roster before an entry that has it.
func (log *controlProof) show(before uint64, is func(line string) bool) {
	for i := len(log.rosters) - 1; i >= 0; i-- {
		r := &log.rosters[i]
		if r.index >= before || r.index >= log.size {
			continue
		}
		if n := slices.IndexFunc(r.names, is); n >= 0 {
			if !slices.Contains(r.shown, n) {
				r.shown = append(r.shown, n)
			}
			if !strings.HasPrefix(r.names[n], "writer ") {
				r.first = min(r.first, before)
			}
			return
		}
	}
}

// entries adds the parts of the control log.
func (log *controlProof) entries(ctx context.Context, p *prover) error {
	last := uint64(0)
	for index, h := range log.heads {
		last = max(last, index)
		log.showKey(index, h.by)
	}
	if log.list != nil {
		last = max(last, log.list.Index)
		log.showKey(log.list.Index, log.list.By)
	}
	for _, key := range log.writers {
		log.show(last, func(line string) bool {
			words := strings.Split(line, " ")
			return words[0] == "writer" && len(words) > 2 && words[2] == base64.StdEncoding.EncodeToString(key)
		})
	}
	shown := map[uint64]func() error{}
	named := map[uint64]*provenRoster{}
	for i := range log.rosters {
		if r := &log.rosters[i]; len(r.shown) == 0 {
			continue
		} else if by := log.namedBy(r); by != nil {
			named[by.index] = r
		} else {
			shown[r.index] = func() error { return r.part(p, log) }
		}
	}
	for index, h := range log.heads {
		shown[index] = func() error {
			if r := named[index]; r != nil {
				p.parts = append(p.parts, evidence.Part{Kind: evidence.KindEntry, Data: []byte(r.entry)})
				r.lines(p)
			}
			return log.entry(p, index, h.entry)
		}
	}
	if log.list != nil {
		shown[log.list.Index] = func() error { return log.listLogs(p) }
	}
	for index, m := range log.more {
		shown[index] = func() error {
			err := log.entry(p, index, m.entry)
			p.parts = append(p.parts, m.parts...)
			return err
		}
	}
	indexes := slices.Sorted(maps.Keys(shown))
	if len(indexes) > 0 {
		if err := log.vouch(ctx, p, indexes[len(indexes)-1]+1); err != nil {
			return err
		}
	}
	for _, index := range indexes {
		if err := shown[index](); err != nil {
			return err
		}
	}
	p.parts = append(p.parts, log.vouches...)
	return nil
}

// namedBy is the first head whose compactor named a roster, if nothing before it needs that: then its place in the log need not
// be shown.
func (log *controlProof) namedBy(r *provenRoster) (first *provenHead) {
	if r.whole {
		return nil
	}
	hash := commit.Hash([]byte(r.entry))
	for _, h := range log.heads {
		if h.roster == hash && h.index <= r.first && (first == nil || h.index < first.index) {
			first = h
		}
	}
	return first
}

// part adds a roster with the names that are shown, or a policy.
func (r *provenRoster) part(p *prover, log *controlProof) error {
	err := log.entry(p, r.index, r.entry)
	if err == nil && !r.whole {
		r.lines(p)
	}
	return err
}

// lines adds the names of a roster that are shown.
func (r *provenRoster) lines(p *prover) {
	slices.Sort(r.shown)
	p.parts = append(p.parts, evidence.NamesPart(r.names, r.shown))
}

// entry adds an entry with its proof.
func (log *controlProof) entry(p *prover, index uint64, entry string) error {
	path, err := pathIn(log.hashes[:log.size], index)
	if err != nil {
		return err
	}
	proof, err := merkle.TLogProof{Index: index, Path: path, Checkpoint: bytes.Clone(log.checkpoint)}.MarshalText()
	if err != nil {
		return err
	}
	p.parts = append(p.parts, evidence.Part{Kind: evidence.KindEntry, Data: []byte(entry)}, evidence.Part{Kind: evidence.KindControl, Data: proof})
	return nil
}
