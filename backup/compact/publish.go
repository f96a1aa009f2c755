package compact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/objstore"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/merkle"
)

// Every how many commits all tips and lanes are repeated.
const fullEvery = 64

// publish is the commit protocol of docs/formats/commit.md: upload the objects, then try for the number, once. If
// another took it, the segment is thrown away and the worker starts anew behind the other's commit.
func (w *worker) publish(ctx context.Context) error {
	if _, err := w.c.control.CommitKeys(w.c.signer.Name()); err != nil {
		return err
	}
	seg, err := w.finish()
	if err != nil {
		return err
	}
	c, err := w.draft(ctx, seg)
	if err != nil {
		return err
	}
	if c.Objects, err = w.upload(ctx, seg, c); err != nil {
		return err
	}
	file, err := c.Sign(w.c.signer)
	if err != nil {
		return err
	}
	won, err := w.try(ctx, file)
	if err != nil {
		return err
	}
	if !won {
		w.log.Info("another compactor took this number; reading on", "commit", c.N)
		w.c.stats.lost.Add(1)
		return w.load(ctx)
	}
	return w.won(ctx, c, file, seg)
}

// finish completes the segment, with the encapsulations of its streams.
func (w *worker) finish() (*segment.Segment, error) {
	next := w.chain.Tail.Next
	for id := range w.batch.streams {
		for _, e := range w.table.Encaps(id) {
			w.seg.AddEncap(segment.Encap{Stream: id, Day: e.Day, Year: e.Year, Enc: e.Enc})
		}
		w.table.Repeated(id, next)
	}
	return w.seg.Finish()
}

// draft makes the commit but for its objects.
func (w *worker) draft(ctx context.Context, seg *segment.Segment) (*commit.Commit, error) {
	last := w.chain.Last
	before, err := w.chain.Frontier()
	if err != nil {
		return nil, err
	}
	grants, err := w.src.grantsEnd(ctx)
	if err != nil {
		return nil, fmt.Errorf("end of the grants transport: %w", err)
	}
	w.hashLast()
	now := w.c.now().UTC()
	cluster, topic := w.src.identity()
	c := &commit.Commit{
		Archive: w.c.trust.Archive, Log: w.origin(), N: w.chain.Tail.Next, Prev: w.chain.LastHash,
		Burnt: w.chain.Tail.Burnt, By: w.c.signer.Name(), Time: now, SourceTime: w.batch.sourceTime,
		Control: w.batch.control,
		Tree: commit.Tree{First: before.Size(), Size: seg.After.Size(), Root: seg.After.Root(),
			Before: before.Hashes(), After: seg.After.Hashes()},
		Records: seg.Records, Pieces: seg.Pieces, Source: commit.Source{Cluster: cluster, Topic: topic, Lanes: map[string]commit.Lane{}},
		GrantsEnd: grants, Streams: w.table.Changed(),
		Quarantined: uint64(len(w.batch.set)), Duplicates: w.batch.duplicates,
	}
	if seg.Records+seg.Pieces > 0 {
		from, until := time.Unix(0, seg.From).UTC(), time.Unix(0, seg.Until).UTC()
		c.From, c.Until = &from, &until
	}
	c.Spans = c.SpansAfter(last)
	if last == nil || c.N%fullEvery == 0 {
		maps.Copy(c.Source.Lanes, w.batch.lanes)
		c.Streams = w.table.Open()
	}
	if b := w.chain.Before; last == nil && b != nil {
		c.Prev, c.Continues = b.Hash, &commit.End{Log: b.Commit.Log, N: b.Commit.N}
		c.Streams = w.table.All()
	}
	if next, over := w.nextPeriod(); over && last != nil && !w.dirty() {
		partition, _ := commit.SplitOrigin(w.origin())
		c.Final = &commit.Final{Next: partition + next}
	}
	for lane := range w.batch.moved {
		c.Source.Lanes[lane] = w.batch.lanes[lane]
	}
	if c.SourceTime.IsZero() {
		c.SourceTime = now
	}
	return c, nil
}

// upload puts the objects of the segment into the store, each under the lock of its class.
func (w *worker) upload(ctx context.Context, seg *segment.Segment, c *commit.Commit) ([]commit.Object, error) {
	policy := w.c.control.Policy()
	keep := policy.Longest()
	type put struct {
		obj  commit.Object
		data []byte
		lock worm.Lock
	}
	var puts []put
	add := func(kind, class, suffix string, data []byte, sum commit.Hex32, keep time.Duration) {
		puts = append(puts, put{commit.Object{Kind: kind, Class: class, Key: fmt.Sprintf("%sobjects/%s.%s",
			datalog.Prefix(w.partition, w.period), sum, suffix), SHA256: sum, Size: int64(len(data))}, data,
			objstore.LockFor(policy.Lock.Mode, keep, w.c.now())})
	}
	if seg.After.Size() > c.Tree.First {
		c.Index, c.Proof = &seg.IndexSpans, seg.ProofSpans[:]
		add(commit.KindIndex, "", "index.arrow", seg.Index, seg.IndexHash, keep)
		for _, d := range seg.Data {
			add(commit.KindData, d.Class, "data."+d.Class+".arrow", d.Bytes, d.Hash, policy.Class(d.Class).Keep.Duration())
		}
		add(commit.KindProof, "", "proof", seg.Proof, seg.ProofHash, keep)
	}
	if len(w.batch.set) > 0 {
		data, err := w.quarantine()
		if err != nil {
			return nil, err
		}
		add(commit.KindQuarantine, "", "quarantine", data, commit.Hash(data), 30*24*time.Hour)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := range puts {
		p := &puts[i]
		g.Go(func() error { return w.store(ctx, &p.obj, p.data, p.lock) })
	}
	err := g.Wait()
	out := make([]commit.Object, len(puts))
	for i := range puts {
		out[i] = puts[i].obj
	}
	return out, err
}

// store makes one object. One that is there with the same content is ours, from an attempt that did not get far; its
// lock is made to last.
func (w *worker) store(ctx context.Context, obj *commit.Object, data []byte, lock worm.Lock) error {
	var v worm.Version
	err := w.retry(ctx, func() (err error) {
		v, err = w.c.cfg.Store.Create(ctx, obj.Key, data, lock)
		if errors.Is(err, fs.ErrExist) {
			v, err = w.adopt(ctx, obj.Key, data, lock)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("upload %s: %w", obj.Key, err)
	}
	obj.Version, obj.Lock = v.ID, string(lock.Mode)
	if lock.Mode != worm.LockNone {
		obj.Until = &lock.Until
	}
	w.c.stats.uploaded.Add(uint64(len(data)))
	return nil
}

// adopt finds the version of key that holds data and extends its lock.
func (w *worker) adopt(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	for v, err := range w.c.cfg.Store.Versions(ctx, key, "") {
		if err != nil {
			return worm.Version{}, err
		}
		if v.Key != key || v.Deleted || v.Size != int64(len(data)) {
			continue
		}
		got, err := w.c.cfg.Store.Read(ctx, key, v.ID, worm.Range{})
		if err != nil {
			return worm.Version{}, err
		}
		if bytes.Equal(got, data) {
			if lock.Mode == worm.LockNone {
				return v, nil
			}
			return v, w.c.cfg.Store.Extend(ctx, key, v.ID, lock)
		}
	}
	return worm.Version{}, fmt.Errorf("something else lies at %s", key)
}

// try puts the commit at its number until it is decided who won.
func (w *worker) try(ctx context.Context, file []byte) (won bool, err error) {
	err = w.retry(ctx, func() (err error) {
		won, err = chain.Append(ctx, w.space, w.chain.Tail, file)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("commit %d of %s: %w", w.chain.Tail.Next, w.origin(), err)
	}
	return won, nil
}

// won goes on behind a commit that is in the store.
func (w *worker) won(ctx context.Context, c *commit.Commit, file []byte, seg *segment.Segment) error {
	w.chain.Tail = chain.Tail{Next: c.N + 1}
	w.chain.Accept(chain.Object{N: c.N, Data: file}, c)
	w.table.Settle()
	w.seg.Reset(w.c.trust.Archive, w.origin(), seg.After)
	next := map[string]int64{}
	for lane, at := range w.batch.lanes {
		next[lane] = at.Next
	}
	if len(w.batch.reasons) > 0 {
		w.c.notice(control.TypeQuarantine, control.Quarantine{Log: w.origin(), Commit: c.N,
			Count: c.Quarantined, Reasons: w.batch.reasons})
	}
	w.reset()
	w.src.committed(ctx, next)
	w.c.stats.commits.Add(1)
	w.log.Info("committed", "commit", c.N, "leaves", c.Tree.Size-c.Tree.First, "size", c.Tree.Size)
	if err := w.c.head(c, w.chain.LastHash); err != nil || c.Final == nil {
		return err
	}
	w.log.Info("the period is over", "log", c.Log, "next", c.Final.Next)
	return w.load(ctx)
}

// head signs the checkpoint of a commit that won.
func (c *Compactor) head(cm *commit.Commit, hash commit.Hex32) error {
	cp, err := merkle.Checkpoint{Origin: cm.Log, Size: cm.Tree.Size, Root: cm.Tree.Root}.Sign(c.signer)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heads[cm.Log] = control.Head{Log: cm.Log, Commit: cm.N, Hash: hash, Checkpoint: string(cp)}
	return nil
}
