package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/merkle"
)

// inLog makes the proof of a leaf in its log, under the head that the control log has.
func (p *prover) inLog(ctx context.Context, f *provable) ([]byte, error) {
	proof, err := merkle.ProveInclusion(f.index, f.head.size, func(nodes []merkle.Node, hashes []merkle.Hash) error {
		return p.tree(f.l).read(ctx, nodes, hashes)
	})
	if err != nil {
		return nil, err
	}
	if err := proof.Verify(merkle.LeafHash(f.leaf.Append(nil)), f.head.root); err != nil {
		return nil, fmt.Errorf("the archive does not hold what its head says: 'stele verify' says more: %w", err)
	}
	return merkle.TLogProof{Index: f.index, Path: proof.Path, Checkpoint: []byte(f.head.Checkpoint)}.MarshalText()
}

// commitOf finds the commit that holds a leaf.
func (l *openLog) commitOf(leaf uint64) (*logCommit, error) {
	i := sort.Search(len(l.commits), func(i int) bool { return l.commits[i].Tree.Size > leaf })
	if i == len(l.commits) || l.commits[i].Tree.First > leaf || len(l.commits[i].Proof) < segment.Sections {
		return nil, fmt.Errorf("no commit of %s holds leaf %d", l.chain.Origin, leaf)
	}
	return &l.commits[i], nil
}

// certificate reads the certificate of a stream from its first leaf, in whatever log that is.
func (p *prover) certificate(ctx context.Context, stream [16]byte) (*keyscope.Cert, error) {
	for _, l := range p.a.logs {
		for _, n := range l.chain.Holding(stream, 0, 1) {
			c, err := l.commitAt(n)
			if err != nil {
				continue
			}
			if cert, err := p.certificateIn(ctx, &c, stream); err != nil || cert != nil {
				return cert, err
			}
		}
	}
	return nil, fmt.Errorf("the first leaf of stream %x is not in the archive, so its certificate is not", stream)
}

// certificateIn reads it if its leaf is in a commit.
func (p *prover) certificateIn(ctx context.Context, c *logCommit, stream [16]byte) (*keyscope.Cert, error) {
	for b, err := range p.a.batches(ctx, c) {
		if err != nil {
			return nil, err
		}
		for i := range b.Len() {
			if b.Type(i) == record.Open && b.Stream(i) == stream {
				var leaf record.Leaf
				b.Leaf(i, &leaf)
				return keyscope.ParseCert(leaf.Detail)
			}
		}
	}
	return nil, nil
}

// openScope shows the scope of a record, with those of its names that are disclosed.
func (p *prover) openScope(ctx context.Context, f *provable, scope *seal.Scope, plain *seal.Plaintext) error {
	var names [3]evidence.Value
	shown := false
	for i, v := range [][]byte{plain.Tenant, plain.Subject, plain.Session} {
		if slices.Contains(p.disclose, DisclosableFields()[seal.FieldCount+i]) {
			names[i] = evidence.Value{Shown: true, Salt: scope.Salt(seal.ScopeSeq, seal.FieldTenant+seal.Field(i)), Value: v}
			shown = true
		}
	}
	if !shown {
		return nil
	}
	part, entry, err := p.scopeOf(ctx, f, names)
	if err == nil && entry == nil {
		err = errors.New("the entry of its scope is not in the archive")
	}
	if err == nil {
		p.parts = append(p.parts, part)
	}
	return err
}

// scopeOf finds the frame in which the scope of a record was first used, and makes the part of its entry there; nil if the
// archive does not hold it.
func (p *prover) scopeOf(ctx context.Context, f *provable, names [3]evidence.Value) (evidence.Part, *frame.ScopeEntry, error) {
	for _, l := range p.a.logs {
		if l.partition != f.l.partition {
			continue
		}
		commits := l.chain.Holding(f.leaf.Stream, 0, f.leaf.Seq+1)
		for _, n := range slices.Backward(commits) {
			c, err := l.commitAt(n)
			if err != nil {
				continue
			}
			part, entry, err := p.scopeIn(ctx, &c, f, names)
			if err != nil || entry != nil {
				return part, entry, err
			}
		}
	}
	return evidence.Part{}, nil, nil
}

func (p *prover) scopeIn(ctx context.Context, c *logCommit, f *provable, names [3]evidence.Value) (part evidence.Part, entry *frame.ScopeEntry, err error) {
	if len(c.Proof) < segment.Sections || c.Proof[segment.SectionEntries].Len == 0 {
		return part, nil, nil
	}
	frames, err := p.frames(ctx, c)
	if err != nil {
		return part, nil, err
	}
	section, err := datalog.FetchSection(ctx, p.a.store, c.Commit, segment.SectionEntries)
	if err != nil {
		return part, nil, err
	}
	for _, x := range frames {
		if x.Stream != f.leaf.Stream || x.First > f.leaf.Seq || uint64(x.Offset)+uint64(x.Length) > uint64(len(section)) {
			continue
		}
		entries, err := segment.ParseEntries(section[x.Offset:][:x.Length])
		if err != nil {
			return part, nil, err
		}
		for i, e := range entries {
			if scope, _, err := frame.ParseEntry(e); err == nil && scope != nil && scope.ID == f.leaf.Scope {
				return evidence.ScopePart(e, x.Signed, steps(entries, i), names), scope, nil
			}
		}
	}
	return part, nil, nil
}

// steps is the path of an entry, with the sides.
func steps(entries [][]byte, at int) (path []evidence.Step) {
	row := make([]merkle.Hash, len(entries))
	for i, e := range entries {
		row[i] = merkle.LeafHash(e)
	}
	var climb func(row []merkle.Hash, at int)
	climb = func(row []merkle.Hash, at int) {
		if len(row) == 1 {
			return
		}
		k := 1
		for 2*k < len(row) {
			k *= 2
		}
		if at < k {
			climb(row[:k], at)
			path = append(path, evidence.Step{Right: true, Hash: merkle.Root(row[k:])})
		} else {
			climb(row[k:], at-k)
			path = append(path, evidence.Step{Hash: merkle.Root(row[:k])})
		}
	}
	climb(row, at)
	return path
}

// provenHead is a head of a data log that the control log has.
type provenHead struct {
	control.Head
	index  uint64 // of the entry
	entry  string
	by     string
	roster commit.Hex32 // that they name
	size   uint64
	root   merkle.Hash
}

// peekHead reads the size and root of a checkpoint of the control log's, whose entry was judged when it was read.
func peekHead(checkpoint string) (cp merkle.Checkpoint, err error) {
	text, _, _ := strings.Cut(checkpoint, "\n\n")
	return cp, cp.UnmarshalText([]byte(text + "\n"))
}
