package backup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sort"

	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/seal"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/merkle"
)

// Evidence is a file that shows records to whoever has the trust file: package evidence checks it.
type Evidence struct {
	File    []byte
	Records int // in the file: an id may be that of several
	// Salted stands in the control log if fields are disclosed. Salt shows what it is the hash of.
	Salted, Salt [32]byte
}

// Prove makes evidence of the records with these ids. It discloses nothing of what is sealed, and needs no key.
func (a *Archive) Prove(ctx context.Context, ids []logpipe.ID) (*Evidence, error) {
	p := prover{a: a}
	return p.prove(ctx, ids)
}

// DisclosableFields are the names of sealed fields, as Prove takes them.
func DisclosableFields() []string {
	return []string{"body", "id", "trace", "attributes", "content-type", "zone", "tenant", "subject", "session"}
}

// Prove makes evidence of the records with these ids, with sealed fields in clear: names of [DisclosableFields]. Before it
// opens any, an entry that says so is in the inbox of the control log.
func (r *Reader) Prove(ctx context.Context, ids []logpipe.ID, disclose []string) (*Evidence, error) {
	for _, name := range disclose {
		if !slices.Contains(DisclosableFields(), name) {
			return nil, fmt.Errorf("there is no field %q to disclose; there are %q", name, DisclosableFields())
		}
	}
	if len(disclose) == 0 {
		return r.a.Prove(ctx, ids)
	}
	selection, err := json.Marshal(map[string]any{"ids": ids, "fields": disclose})
	if err != nil {
		return nil, err
	}
	var e Evidence
	rand.Read(e.Salt[:])
	e.Salted = sha256.Sum256(slices.Concat([]byte("stele/disclosure/v1\x00"), e.Salt[:], selection))
	if err := r.Disclosed(ctx, "evidence", "", e.Salted, 0); err != nil {
		return nil, fmt.Errorf("note the disclosure in the control log: %w", err)
	}
	p := prover{a: r.a, r: r, disclose: disclose}
	out, err := p.prove(ctx, ids)
	if err != nil {
		return nil, err
	}
	out.Salted, out.Salt = e.Salted, e.Salt
	return out, r.Disclosed(ctx, "evidence", "", e.Salted, uint64(out.Records))
}

// prover makes one evidence file.
type prover struct {
	a        *Archive
	r        *Reader // nil: nothing is disclosed
	disclose []string

	found []*provable
	runs  []*leafRun
	parts []evidence.Part

	trees map[*openLog]*treeNodes

	near struct { // what was read last
		commit string
		frames []segment.FrameAt
		leaves []merkle.Hash
	}
}

// provable is a record that was found.
type provable struct {
	l     *openLog
	c     *logCommit
	index uint64
	leaf  record.Leaf
	block segment.Block
	frame segment.FrameAt
	head  *provenHead
}

func (p *prover) prove(ctx context.Context, ids []logpipe.ID) (*Evidence, error) {
	if err := p.a.unfounded; err != nil {
		return nil, err
	}
	if err := p.find(ctx, ids); err != nil {
		return nil, err
	}
	log, err := p.readControl(ctx)
	if err != nil {
		return nil, err
	}
	gone, err := p.forgotten(ctx, log)
	if err != nil {
		return nil, err
	}
	streams := map[[16]byte]bool{}
	for _, f := range p.found {
		if err := p.record(ctx, f); err != nil {
			return nil, fmt.Errorf("%s leaf %d: %w", f.l.chain.Origin, f.index, err)
		}
		if scope, went := gone[f]; went {
			p.parts = append(p.parts, scope)
		}
		if err := p.stream(ctx, f.leaf.Stream, log, streams); err != nil {
			return nil, err
		}
	}
	if err := log.entries(ctx, p); err != nil {
		return nil, err
	}
	file, err := evidence.Marshal(p.a.trust.Archive, p.parts)
	return &Evidence{File: file, Records: len(p.found)}, err
}

// tree is the tree of a log, as far as it was read.
func (p *prover) tree(l *openLog) *treeNodes {
	if p.trees[l] == nil {
		if p.trees == nil {
			p.trees = map[*openLog]*treeNodes{}
		}
		p.trees[l] = newTreeNodes(p.a.store, l)
	}
	return p.trees[l]
}

// stream adds the certificate of a stream, if it is not there yet.
func (p *prover) stream(ctx context.Context, id [16]byte, log *controlProof, have map[[16]byte]bool) error {
	if have[id] {
		return nil
	}
	have[id] = true
	cert, err := p.certificate(ctx, id)
	if err != nil {
		return err
	}
	log.writers = append(log.writers, cert.ServiceKey[:])
	p.parts = append(p.parts, evidence.Part{Kind: evidence.KindStream, Data: cert.Bytes()})
	return nil
}

// find looks for the ids in the indexes of all segments.
func (p *prover) find(ctx context.Context, ids []logpipe.ID) error {
	left := map[[16]byte]bool{}
	for _, id := range ids {
		left[id] = true
	}
	want := len(left)
	if want == 0 {
		return fmt.Errorf("no record to prove")
	}
	for _, l := range p.a.logs {
		for i := range l.commits {
			if err := p.findIn(ctx, l, &l.commits[i], left); err != nil {
				return err
			}
		}
	}
	for id := range left {
		if left[id] {
			return fmt.Errorf("the archive has no record %x; what was captured just now is not committed yet", id)
		}
	}
	return nil
}

func (p *prover) findIn(ctx context.Context, l *openLog, c *logCommit, left map[[16]byte]bool) error {
	if c.Index == nil || c.Records == 0 {
		return nil
	}
	for b, err := range p.a.batches(ctx, c) {
		if err != nil {
			return err
		}
		for i := range b.Len() {
			if _, wanted := left[b.ID(i)]; !wanted || b.Type(i) != record.Plain {
				continue
			}
			left[b.ID(i)] = false
			f := &provable{l: l, c: c, index: b.first + uint64(i)}
			b.Leaf(i, &f.leaf)
			f.block, _ = b.Block(i)
			p.found = append(p.found, f)
		}
	}
	return nil
}

// record makes the parts of one record.
func (p *prover) record(ctx context.Context, f *provable) error {
	path, err := p.inFrame(ctx, f)
	if err != nil {
		return err
	}
	p.parts = append(p.parts, evidence.RecordPart(f.leaf.Append(nil), f.frame.Signed, path))
	if f.head != nil {
		proof, err := p.inLog(ctx, f)
		if err != nil {
			return err
		}
		p.parts = append(p.parts, evidence.Part{Kind: evidence.KindLog, Data: proof})
	}
	if p.r == nil {
		return nil
	}
	return p.open(ctx, f)
}

// inFrame finds the frame of a leaf, and its path there.
func (p *prover) inFrame(ctx context.Context, f *provable) ([]merkle.Hash, error) {
	var err error
	if f.frame, err = p.frameOf(ctx, f.c, f.index); err != nil {
		return nil, err
	}
	hashes := p.near.leaves
	at := f.frame.Leaf - f.c.Tree.First
	if at+uint64(f.frame.Count) > uint64(len(hashes)) {
		return nil, fmt.Errorf("the frame in %s lies outside of it", f.c.key)
	}
	return pathIn(hashes[at:][:f.frame.Count], f.index-f.frame.Leaf)
}

// frameOf finds the frame of a leaf.
func (p *prover) frameOf(ctx context.Context, c *logCommit, leaf uint64) (segment.FrameAt, error) {
	if err := p.readFrames(ctx, c); err != nil {
		return segment.FrameAt{}, err
	}
	frames := p.near.frames // ascend
	i := sort.Search(len(frames), func(i int) bool { return frames[i].Leaf > leaf }) - 1
	if i < 0 || leaf-frames[i].Leaf >= uint64(frames[i].Count) {
		return segment.FrameAt{}, fmt.Errorf("no frame in %s holds it", c.key)
	}
	return frames[i], nil
}

// readFrames reads the frames and leaf hashes of a commit, unless they were read last.
func (p *prover) readFrames(ctx context.Context, c *logCommit) error {
	if p.near.commit == c.key {
		return nil
	}
	frames, err := p.frames(ctx, c)
	if err != nil {
		return err
	}
	raw, err := datalog.FetchSection(ctx, p.a.store, c.Commit, segment.SectionLeaves)
	if err != nil {
		return err
	}
	hashes, err := segment.ParseHashes(raw)
	if err == nil {
		p.near.commit, p.near.frames, p.near.leaves = c.key, frames, hashes
	}
	return err
}

func (p *prover) frames(ctx context.Context, c *logCommit) ([]segment.FrameAt, error) {
	data, err := datalog.FetchSection(ctx, p.a.store, c.Commit, segment.SectionFrames)
	if err != nil {
		return nil, err
	}
	return segment.ParseFrames(data)
}

// pathIn is the inclusion path of a leaf in a small tree.
func pathIn(hashes []merkle.Hash, index uint64) ([]merkle.Hash, error) {
	proof, err := merkle.ProveInclusion(index, uint64(len(hashes)), func(nodes []merkle.Node, out []merkle.Hash) error {
		for i, n := range nodes {
			out[i] = merkle.Root(hashes[n.Index<<n.Level:][:1<<n.Level])
		}
		return nil
	})
	return proof.Path, err
}

// open discloses fields of a record.
func (p *prover) open(ctx context.Context, f *provable) error {
	scope, plain, err := p.plaintext(ctx, f)
	if err != nil {
		return err
	}
	rec := &plain.Records[f.leaf.Slot]
	body, _, err := p.r.body(ctx, f.l, &f.leaf, rec)
	if err != nil {
		return err
	}
	fields := seal.Fields{Body: body, CallerID: rec.CallerID, Trace: rec.Trace, Attributes: rec.Attributes, ContentType: rec.ContentType, More: rec.More}
	hashes := scope.FieldHashes(f.leaf.Seq, &fields)
	if seal.Commitment(&hashes) != f.leaf.Commitment {
		return fmt.Errorf("the plaintext is not what the writer committed to")
	}
	var values [seal.FieldCount]evidence.Value
	shown := false
	for i, v := range [][]byte{slices.Concat(body...), rec.CallerID, rec.Trace, rec.Attributes, rec.ContentType, rec.More} {
		values[i] = evidence.Value{Hash: hashes[i]}
		if slices.Contains(p.disclose, DisclosableFields()[i]) {
			values[i] = evidence.Value{Shown: true, Salt: scope.Salt(f.leaf.Seq, seal.Field(i+1)), Value: v}
			shown = true
		}
	}
	if shown {
		p.parts = append(p.parts, evidence.FieldsPart(values))
	}
	return p.openScope(ctx, f, scope, plain)
}

// plaintext opens the block of a record.
func (p *prover) plaintext(ctx context.Context, f *provable) (*seal.Scope, *seal.Plaintext, error) {
	if err := p.r.open(ctx, [][16]byte{f.leaf.Scope}); err != nil {
		return nil, nil, err
	}
	scope, err := p.r.keyOf(ctx, &f.leaf)
	switch {
	case err != nil:
		return nil, nil, err
	case scope == nil:
		return nil, nil, fmt.Errorf("the key service said nothing about its key")
	case scope.state == stateErased:
		return nil, nil, fmt.Errorf("it was erased: nothing of it can be disclosed")
	case scope.scope == nil:
		return nil, nil, scope.err
	}
	blocks := blockReader{r: p.r, c: f.c}
	block, err := blocks.read(ctx, &f.leaf, f.block)
	if err != nil {
		return nil, nil, err
	}
	plain, err := p.r.openBlock(f.l, &f.leaf, f.block.First, block)
	if err == nil {
		p.r.bodies.note(f.leaf.Stream, f.leaf.Seq, f.block.First, f.leaf.Slot)
	}
	return scope.scope, plain, err
}
