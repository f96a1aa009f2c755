// Package trillian puts the heads of an archive's control log into a log on a Trillian server, and records in the archive that
// they are there: docs/formats/anchor.md. It is for the operator of the anchor, who should be somebody else than that of the
// archive. The server is not trusted: every root that it gives is verified against the ones before, and signed by the operator
// only then.
package trillian

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/anchorlog"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/durable"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
	"github.com/stelelog/stele/merkle"
)

const (
	roleFormat = "anchor-role/v1"
	// RoleFile is the name of the operator's identity in the folder of the role.
	RoleFile = "anchor.stele"
	lastFile = "last.record"
)

// Config configures an [Anchor]. All but TLS and Logger are required.
type Config struct {
	Store  worm.Store  // of the archive: to read, and to create under control/anchors/
	Trust  []byte      // content of trust.stele, which names the operator's key
	Dir    string      // folder of the role: its identity, and the newest record
	Server string      // host:port of the Trillian log server
	TLS    *tls.Config // nil: none
	Logger *slog.Logger
}

// Anchor puts heads into the log of an anchor. It is safe for concurrent use, and must be the only one of its operator.
type Anchor struct {
	cfg    Config
	trust  identity.Trust
	vkey   string
	signer note.Signer
	log    *ledger.Log
	server *server

	mu sync.Mutex // held while heads are anchored
}

// Open reads the identity, the trust file and the control log.
func Open(ctx context.Context, cfg Config) (*Anchor, error) {
	a := &Anchor{cfg: cfg}
	if a.cfg.Logger == nil {
		a.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := a.trust.UnmarshalText(cfg.Trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	id, err := readRole(filepath.Join(cfg.Dir, RoleFile))
	if err != nil {
		return nil, err
	}
	if id.Archive != identity.ID(a.trust.Archive) {
		return nil, &identity.ForeignError{Why: "the identity of the anchor and the trust file are of different archives"}
	}
	key := ed25519.NewKeyFromSeed(id.Key)
	if a.signer, err = merkle.NewSigner(id.Origin, key); err != nil {
		return nil, err
	}
	if a.vkey, err = note.NewEd25519VerifierKey(id.Origin, key.Public().(ed25519.PublicKey)); err != nil {
		return nil, err
	}
	if a.log, err = ledger.Open(ctx, cfg.Store, a.trust); err != nil {
		return nil, err
	}
	if err := a.log.Founded(ctx); err != nil {
		return nil, err
	}
	a.server, err = dial(cfg.Server, cfg.TLS, id.Tree)
	return a, err
}

// Close ends the connection to the server.
func (a *Anchor) Close() error { return a.server.conn.Close() }

// A ContradictionError says that one of the three that must agree does not: the archive, the server, and what the operator has
// signed. Nothing is signed then.
type ContradictionError struct {
	Who string // "archive" or "trillian"
	Err error
}

// Error says who contradicts.
func (e *ContradictionError) Error() string { return fmt.Sprintf("%s: %v", e.Who, e.Err) }

// Unwrap returns what is wrong.
func (e *ContradictionError) Unwrap() error { return e.Err }

func contradiction(who, format string, args ...any) error {
	return &ContradictionError{who, fmt.Errorf(format, args...)}
}

// Run anchors the newest head at intervals until ctx ends, and returns ctx.Err() then, or a [*ContradictionError] at once. Other
// failures are logged and tried again.
func (a *Anchor) Run(ctx context.Context, every time.Duration) error {
	for {
		_, err := a.Once(ctx)
		if no := new(ContradictionError); errors.As(err, &no) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			a.cfg.Logger.Error("anchor", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// Once anchors the newest published head, if it is not yet, and returns how many entries of the control log are anchored then.
func (a *Anchor) Once(ctx context.Context) (entries uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	chain, err := a.records(ctx)
	if err != nil {
		return 0, err
	}
	// What lies in the tree behind the last record was queued by a run that died.
	for {
		size, _, _, err := a.latest(ctx, chain)
		if err != nil {
			return chain.Head.Size, err
		}
		if size <= chain.Next {
			break
		}
		if err := a.record(ctx, chain); err != nil {
			return chain.Head.Size, err
		}
	}
	head, size, err := a.log.Published(ctx)
	if err != nil || head == nil || size <= chain.Head.Size {
		return chain.Head.Size, err
	}
	if err := a.server.queue(ctx, anchorlog.Leaf(string(head))); err != nil {
		return chain.Head.Size, err
	}
	if err := a.server.await(ctx, chain.Next); err != nil {
		return chain.Head.Size, err
	}
	err = a.record(ctx, chain)
	return chain.Head.Size, err
}

// records follows the records in the archive, and the newest one on the operator's own disk.
func (a *Anchor) records(ctx context.Context) (*anchorlog.Chain, error) {
	if err := a.log.Refresh(ctx); err != nil {
		return nil, err
	}
	chain, err := anchorlog.NewChain(&a.trust, a.vkey)
	if err != nil {
		return nil, err
	}
	last, err := os.ReadFile(filepath.Join(a.cfg.Dir, lastFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	found := last == nil
	err = ledger.EachAnchored(ctx, a.cfg.Store, a.vkey, chain, func(_ string, _ anchorlog.Record, file []byte) {
		found = found || string(file) == string(last)
	}, func(key string, err error) {
		a.cfg.Logger.Warn("among the records of the anchor", "key", key, "err", err)
	})
	if err != nil {
		return nil, err
	}
	if !found { // it was signed, and a crash or somebody kept it from the archive
		if _, err := chain.Add(last); err != nil {
			return nil, contradiction("archive", "the newest record that this operator signed does not follow those in the archive: records were removed or altered: %w", err)
		}
		if err := a.publish(ctx, chain.Next-1, last); err != nil {
			return nil, err
		}
	}
	return chain, a.continued(chain)
}

// continued checks that the control log still continues what was anchored last.
func (a *Anchor) continued(chain *anchorlog.Chain) error {
	if chain.Next == 0 {
		return nil
	}
	var root merkle.Hash
	var err error
	a.log.View(func(s *control.State) { root, err = s.RootAt(chain.Head.Size) })
	switch {
	case err != nil:
		return contradiction("archive", "a head of size %d is anchored, and the control log ends before it: it was rolled back", chain.Head.Size)
	case root != chain.Head.Root:
		return contradiction("archive", "a head of size %d is anchored, and the control log holds other entries: it was rewritten", chain.Head.Size)
	}
	return nil
}

// latest is the newest root of the server, verified against the newest that was signed.
func (a *Anchor) latest(ctx context.Context, chain *anchorlog.Chain) (size uint64, root merkle.Hash, proof []merkle.Hash, err error) {
	size, root, _, err = a.server.root(ctx, 0) // asked for a proof, it fails if its tree is smaller
	if err != nil {
		return 0, root, nil, err
	}
	if size < chain.Root.Size {
		return 0, root, nil, contradiction("trillian", "its tree has %d leaves, and a root of %d was signed: it was rolled back or dropped; the archive holds all that is needed to rebuild it", size, chain.Root.Size)
	}
	if chain.Root.Size > 0 {
		if size, root, proof, err = a.server.root(ctx, chain.Root.Size); err != nil {
			return 0, root, nil, err
		}
	}
	p := merkle.ConsistencyProof{OldSize: chain.Root.Size, NewSize: size, Path: proof}
	if err := p.Verify(chain.Root.Root, root); err != nil {
		return 0, root, nil, contradiction("trillian", "its root of size %d does not continue the signed one of size %d: %w", size, chain.Root.Size, err)
	}
	return size, root, proof, nil
}

// record records the leaf behind the last record, which is in the tree.
func (a *Anchor) record(ctx context.Context, chain *anchorlog.Chain) error {
	head, err := a.headOf(ctx, chain.Next)
	if err != nil {
		return err
	}
	size, root, consistency, err := a.latest(ctx, chain)
	if err != nil {
		return err
	}
	r := anchorlog.Record{N: chain.Next, Head: string(head), Consistency: consistency}
	if r.Inclusion, err = a.server.inclusion(ctx, r.N, size); err != nil {
		return err
	}
	proof := merkle.InclusionProof{Index: r.N, Size: size, Path: r.Inclusion}
	if err := proof.Verify(merkle.LeafHash(anchorlog.Leaf(r.Head)), root); err != nil {
		return contradiction("trillian", "it does not prove that leaf %d is in its tree: %w", r.N, err)
	}
	signed, err := merkle.Checkpoint{Origin: a.signer.Name(), Size: size, Root: root}.Sign(a.signer)
	if err != nil {
		return err
	}
	r.Root = string(signed)
	file, err := r.Marshal()
	if err == nil {
		_, err = chain.Add(file)
	}
	if err == nil {
		err = durable.WriteFile(filepath.Join(a.cfg.Dir, lastFile), file, 0o600)
	}
	if err != nil {
		return err
	}
	return a.publish(ctx, r.N, file)
}

// headOf is the published head whose text is leaf n.
func (a *Anchor) headOf(ctx context.Context, n uint64) ([]byte, error) {
	leaf, err := a.server.leaf(ctx, n)
	if err != nil {
		return nil, err
	}
	var c merkle.Checkpoint
	if err := c.UnmarshalText(leaf); err != nil || c.Origin != a.trust.Origin() {
		return nil, contradiction("trillian", "leaf %d of its tree is no head of this archive: the tree must hold nothing else", n)
	}
	head, err := a.log.PublishedAt(ctx, c.Size)
	if err == nil && (head == nil || string(anchorlog.Leaf(string(head))) != string(leaf)) {
		err = contradiction("archive", "a head of size %d is in the tree, and the archive does not hold it: it was rewritten or rolled back", c.Size)
	}
	return head, err
}

// publish puts a record into the archive.
func (a *Anchor) publish(ctx context.Context, n uint64, file []byte) error {
	return a.log.KeepAnchored(ctx, a.vkey, n, file)
}

// Rebuild puts the heads of all records into a tree that lacks them, in their order, and checks that the tree then continues
// what was signed. For a server that has lost its tree: the identity names the new one.
func (a *Anchor) Rebuild(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	chain, err := anchorlog.NewChain(&a.trust, a.vkey)
	if err != nil {
		return err
	}
	have, _, _, err := a.server.root(ctx, 0)
	if err != nil {
		return err
	}
	var heads []string
	if err := ledger.EachAnchored(ctx, a.cfg.Store, a.vkey, chain, func(_ string, r anchorlog.Record, _ []byte) { heads = append(heads, r.Head) },
		func(string, error) {}); err != nil {
		return err
	}
	// One after the other: the tree takes them in the order of their arrival.
	for n := have; n < uint64(len(heads)); n++ {
		if err := a.server.queue(ctx, anchorlog.Leaf(heads[n])); err != nil {
			return err
		}
	}
	if len(heads) > 0 {
		if err := a.server.await(ctx, uint64(len(heads)-1)); err != nil {
			return err
		}
	}
	_, _, _, err = a.latest(ctx, chain)
	return err
}
