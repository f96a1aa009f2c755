package keyroot

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keytrie"
	"github.com/stelelog/stele/merkle"
)

// Parse reads a record's file and checks its signature against keys, and everything that can be checked in it alone.
func Parse(file []byte, keys note.Verifiers) (*Record, error) {
	if len(file) > MaxLen {
		return nil, fmt.Errorf("keyroot: record of %d bytes", len(file))
	}
	n, err := note.Open(file, keys)
	if err != nil {
		return nil, fmt.Errorf("keyroot: signature: %w", err)
	}
	if !oneSpelling(file) {
		return nil, errors.New("keyroot: the note is not written as it must be")
	}
	r, err := parse(n.Text)
	if err != nil {
		return nil, err
	}
	if r.By != n.Sigs[0].Name {
		return nil, fmt.Errorf("keyroot: signed by %s, not by %s", n.Sigs[0].Name, r.By)
	}
	return r, nil
}

// Peek reads a record without looking at its signature: to find the key that must verify it.
func Peek(file []byte) (*Record, error) {
	text, _, ok := strings.Cut(string(file), "\n\n")
	if !ok || len(file) > MaxLen {
		return nil, errors.New("keyroot: this is no signed note")
	}
	return parse(text + "\n")
}

func parse(text string) (*Record, error) {
	r := new(Record)
	if err := commit.UnmarshalLine(text, version, r); err != nil {
		return nil, err
	}
	// Nothing in the text may be without meaning: it is what writing the record gives.
	if again, err := commit.MarshalLine(r); err != nil || string(again) != text {
		return nil, errors.New("keyroot: the record is not written as it must be")
	}
	return r, r.check()
}

// oneSpelling reports whether a note has one signature, in the one way in which base64 writes its bytes.
func oneSpelling(file []byte) bool {
	_, sigs, _ := strings.Cut(string(file), "\n\n")
	sig, ok := strings.CutSuffix(sigs, "\n")
	if !ok || strings.Contains(sig, "\n") {
		return false
	}
	_, err := base64.StdEncoding.Strict().DecodeString(sig[strings.LastIndexByte(sig, ' ')+1:])
	return err == nil
}

// Hash is the hash of a record's file, by which its child names it.
func Hash(file []byte) commit.Hex32 { return sha256.Sum256(file) }

// check refuses a record that contradicts itself.
func (r *Record) check() error {
	switch {
	case r.Generation == 0 || len(r.Runs) > keyring.MaxRuns || r.Live > r.paths():
		return fmt.Errorf("keyroot: generation %d, %d runs, %d live of %d", r.Generation, len(r.Runs), r.Live, r.paths())
	case r.Runs == nil || r.Packs == nil || r.Custody.Sets == nil || r.Custody.Shares == nil:
		return errors.New("keyroot: a member is missing")
	case len(r.Sealed) != perRun*len(r.Runs)+16:
		return fmt.Errorf("keyroot: %d sealed bytes for %d runs", len(r.Sealed), len(r.Runs))
	case r.Commitment != r.commitment():
		return errors.New("keyroot: the commitment is not that of the runs")
	case r.Recovery != nil && r.Recovery.Lost == nil:
		return errors.New("keyroot: a recovery says what is lost")
	case r.Fold != nil && r.Erased != nil, r.Fold != nil && r.Recovery != nil, r.Erased != nil && r.Recovery != nil:
		return errors.New("keyroot: a record folds, erases or recovers")
	}
	if r.Erased != nil {
		if err := r.Erased.check(); err != nil {
			return err
		}
	}
	if err := r.checkPacks(); err != nil {
		return err
	}
	for i := range r.Runs {
		if err := r.Runs[i].check(); err != nil {
			return fmt.Errorf("keyroot: run %d: %w", i, err)
		}
	}
	return r.Custody.check()
}

func (e *Erased) check() error {
	if e.Size < 1 || e.Size > keyring.MaxList || e.Requests == nil || len(e.Requests) > MaxBatch {
		return fmt.Errorf("keyroot: a list of %d bytes, %d requests", e.Size, len(e.Requests))
	}
	if !slices.Contains([]string{"request", "session", "ttl"}, e.Cause) || e.Cause != "request" && len(e.Requests) > 0 {
		return fmt.Errorf("keyroot: an erasure by %q with %d requests", e.Cause, len(e.Requests))
	}
	for i := range e.Requests {
		o := &e.Requests[i]
		if i > 0 && bytes.Compare(e.Requests[i-1].Request[:], o.Request[:]) >= 0 || o.Erased == 0 || o.Erased > e.Scopes || o.Whole > o.Erased {
			return fmt.Errorf("keyroot: request %v, of which %d of %d scopes went, or is out of order", o.Request, o.Erased, e.Scopes)
		}
	}
	return nil
}

// checkPacks: the packs of the record are those of its runs.
func (r *Record) checkPacks() error {
	named := map[uint64]bool{}
	for i := range r.Runs {
		for _, n := range r.Runs[i].Packs {
			named[n] = true
		}
	}
	last := uint64(0)
	for i, p := range r.Packs {
		if i > 0 && p.N <= last || p.N >= r.NextPack || !named[p.N] || p.Size < 1 || p.Size > keytrie.MaxPack {
			return fmt.Errorf("keyroot: pack %d of %d bytes, before pack %d", p.N, p.Size, r.NextPack)
		}
		last = p.N
	}
	if len(named) != len(r.Packs) {
		return fmt.Errorf("keyroot: runs lie in %d packs, %d are named", len(named), len(r.Packs))
	}
	return nil
}

func (r *Run) check() error {
	if r.Packs == nil || !slices.IsSorted(r.Packs) || len(slices.Compact(slices.Clone(r.Packs))) != len(r.Packs) {
		return fmt.Errorf("packs %v", r.Packs)
	}
	if r.Count > 1<<48 || (r.Count == 0) != (r.Keys == [4]uint64{}) || (r.Count == 0) != (r.Hash == merkle.Hash{}) {
		return fmt.Errorf("%d paths at %v", r.Count, r.Keys)
	}
	for _, l := range [...][4]uint64{r.Keys, r.Index} {
		if l != [4]uint64{} && (!slices.Contains(r.Packs, l[0]) || l[1] > keytrie.MaxPack || l[2] > keytrie.MaxPack || l[3] > keytrie.MaxPack) {
			return fmt.Errorf("a link to %v", l)
		}
	}
	return nil
}

// paths is how many paths all key tries have.
func (r *Record) paths() (n uint64) {
	for i := range r.Runs {
		n += r.Runs[i].Count
	}
	return n
}

// follows checks c against its parent p; p is nil for the first record.
func (c *Record) follows(p *Record) error {
	if p == nil {
		p = &Record{Generation: 1, Custody: c.Custody}
		if c.Generation != 1 || c.Erased != nil || c.Recovery != nil {
			return errors.New("the first record is a fold of generation 1")
		}
	}
	if c.Archive != p.Archive && p.Stele != "" || c.Control < p.Control || c.NextPack < p.NextPack || c.Time.Before(p.Time) {
		return errors.New("it is of another archive, or goes back in control log, packs or time")
	}
	switch {
	case c.Erased != nil:
		return errors.Join(c.keepsPacks(p), c.erases(p))
	case c.Generation != p.Generation || !c.Custody.equal(&p.Custody):
		return errors.New("a generation changes with an erasure only, and custody with the generation")
	case c.Recovery != nil:
		return nil // what stands in for what is checked by State
	}
	return errors.Join(c.keepsPacks(p), c.folds(p))
}

func (c *Record) keepsPacks(p *Record) error {
	old := map[uint64]Pack{}
	for _, x := range p.Packs {
		old[x.N] = x
	}
	for _, x := range c.Packs {
		if was, ok := old[x.N]; ok && was != x || !ok && x.N < p.NextPack {
			return fmt.Errorf("pack %d is not what it was", x.N)
		}
	}
	return nil
}

// same is how many of the first runs hold the same paths.
func (c *Record) same(p *Record) int {
	n := 0
	for n < len(c.Runs) && n < len(p.Runs) && c.Runs[n].Count == p.Runs[n].Count && c.Runs[n].Hash == p.Runs[n].Hash {
		n++
	}
	return n
}

func (c *Record) folds(p *Record) error {
	f := c.Fold
	if f == nil {
		f = new(Fold)
	}
	// All runs stay and one may be new; or one takes the place of the newest ones. It may have just the paths of one of them:
	// others may hold marks only, which are in no key trie.
	same, rest := c.same(p), len(c.Runs)-1
	grows := same == len(p.Runs) && rest <= same
	merges := rest >= 0 && rest <= same && rest < len(p.Runs)
	if !grows && !merges {
		return fmt.Errorf("of %d runs %d stay, and %d are new", len(p.Runs), same, len(c.Runs)-same)
	}
	if f.Moved > f.Added || max(f.Added, f.Buried, f.Intake) > 1<<48 {
		return fmt.Errorf("it added %d, moved %d, buried %d", f.Added, f.Moved, f.Buried)
	}
	if err := f.checkLate(); err != nil {
		return err
	}
	if c.Live != p.Live+f.Added || c.paths() != p.paths()+f.Added+f.Moved+f.Buried+f.Intake {
		return fmt.Errorf("%d keys and %d paths do not come of %d and %d by what was folded", c.Live, c.paths(), p.Live, p.paths())
	}
	for lane, at := range c.Folded.Lanes {
		if was, ok := p.Folded.Lanes[lane]; ok && at.Next < was.Next {
			return fmt.Errorf("lane %s goes back from %d to %d", lane, was.Next, at.Next)
		}
	}
	if p.Folded.Cluster != "" && (c.Folded.Cluster != p.Folded.Cluster || c.Folded.Topic != p.Folded.Topic) {
		return errors.New("the grants transport is another one")
	}
	return nil
}

// checkLate checks what is said of grants that came too late.
func (f *Fold) checkLate() error {
	for i, l := range f.Late {
		if l.Buried < 1 || l.Buried > f.Buried || i > 0 && bytes.Compare(f.Late[i-1].Request[:], l.Request[:]) >= 0 {
			return fmt.Errorf("%d of %d buried scopes are those of request %s", l.Buried, f.Buried, l.Request)
		}
	}
	if len(f.Weeks) > MaxWeeks || len(f.Weeks) > 0 && f.Dead == 0 {
		return fmt.Errorf("%d grants are dead by %d weeks", f.Dead, len(f.Weeks))
	}
	for i := 1; i < len(f.Weeks); i++ {
		if f.Weeks[i] <= f.Weeks[i-1] {
			return errors.New("weeks that do not ascend")
		}
	}
	return nil
}

func (c *Record) erases(p *Record) error {
	if c.Generation != p.Generation+1 {
		return fmt.Errorf("an erasure after generation %d makes %d", p.Generation, c.Generation)
	}
	if len(c.Runs) < len(p.Runs) || len(c.Runs) > len(p.Runs)+1 {
		return fmt.Errorf("an erasure makes %d runs of %d", len(c.Runs), len(p.Runs))
	}
	for i := range p.Runs {
		if c.Runs[i].Count > p.Runs[i].Count || c.Runs[i].Count == p.Runs[i].Count && c.Runs[i].Hash != p.Runs[i].Hash {
			return fmt.Errorf("run %d did not lose paths only", i)
		}
	}
	e := c.Erased
	if max(e.Scopes, e.Removed, e.Spent) > 1<<48 || c.Live+e.Scopes != p.Live || c.paths()+e.Removed != p.paths()+e.Spent {
		return fmt.Errorf("%d keys and %d paths are not what is left of %d and %d by what was erased", c.Live, c.paths(), p.Live, p.paths())
	}
	if !equalSource(&c.Folded, &p.Folded) {
		return errors.New("an erasure folds nothing")
	}
	return nil
}

func equalSource(a, b *commit.Source) bool {
	x, errX := commit.MarshalLine(a)
	y, errY := commit.MarshalLine(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
