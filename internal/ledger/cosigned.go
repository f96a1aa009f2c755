package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/cosign"
	"github.com/stelelog/stele/internal/objstore"
	"github.com/stelelog/stele/merkle"
)

// CosignedPrefix is where cosigned heads lie.
const CosignedPrefix = "control/cosigned/"

func cosignedKey(size uint64, file []byte) string {
	return fmt.Sprintf("%s%020d.%x", CosignedPrefix, size, sha256.Sum256(file))
}

// Cosigned is a head that witnesses have cosigned, or what lies in the place of one.
type Cosigned struct {
	Key  string
	Size uint64               // 0 if it is none of this log
	Head []byte               // without cosignatures
	By   []cosign.Cosignature // by witnesses of the policy
	Err  error                // why it is none, or how it contradicts the log
}

// Prove proves that the first size entries continue the first old ones.
func (c *Log) Prove(old, size uint64) (p merkle.ConsistencyProof, err error) {
	c.View(func(s *control.State) { p, err = merkle.ProveConsistency(old, size, s.Nodes) })
	return p, err
}

// KeepCosigned puts a published head with the lines of witnesses into the store. It returns when that is durable.
func (c *Log) KeepCosigned(ctx context.Context, size uint64, head []byte, lines ...[]byte) error {
	file := append(bytes.Clone(head), bytes.Join(lines, nil)...)
	c.mu.Lock()
	lock := c.space.Lock()
	c.mu.Unlock()
	_, err := c.store.Create(ctx, cosignedKey(size, file), file, lock)
	if errors.Is(err, fs.ErrExist) {
		return nil // its name is its content
	}
	return err
}

// EachCosigned judges what lies in the place of cosigned heads of more than size entries.
func (c *Log) EachCosigned(ctx context.Context, policy *cosign.Policy, size uint64, use func(Cosigned)) error {
	for out, err := range c.Cosigned(ctx, policy, size) {
		if err != nil {
			return err
		}
		use(out)
	}
	return nil
}

// Cosigned is EachCosigned as an iterator, by ascending size. It ends with the first error.
func (c *Log) Cosigned(ctx context.Context, policy *cosign.Policy, size uint64) iter.Seq2[Cosigned, error] {
	return func(yield func(Cosigned, error) bool) {
		stop := errors.New("enough")
		err := c.cosigned(ctx, policy, size, func(out Cosigned) error {
			if !yield(out, nil) {
				return stop
			}
			return nil
		})
		if err != nil && err != stop {
			yield(Cosigned{}, err)
		}
	}
}

func (c *Log) cosigned(ctx context.Context, policy *cosign.Policy, size uint64, use func(Cosigned) error) error {
	after := ""
	if size > 0 {
		after = fmt.Sprintf("%s%020d.~", CosignedPrefix, size)
	}
	for v, err := range c.store.Versions(ctx, CosignedPrefix, after) {
		if err != nil {
			return err
		}
		if v.Deleted || v.Size > MaxCheckpoint {
			if err := use(Cosigned{Key: v.Key, Err: errors.New("squat: no cosigned head")}); err != nil {
				return err
			}
			continue
		}
		file, err := c.store.Read(ctx, v.Key, v.ID, objstore.Range{})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		out := c.judgeCosigned(policy, v.Key, file)
		if out.Size > c.Size() { // the log may have grown since it was read
			if err := c.Refresh(ctx); err != nil {
				return err
			}
			out = c.judgeCosigned(policy, v.Key, file)
		}
		if err := use(out); err != nil {
			return err
		}
	}
	return nil
}

func (c *Log) judgeCosigned(policy *cosign.Policy, key string, file []byte) (out Cosigned) {
	out.Key = key
	c.View(func(s *control.State) { out.Size, out.Err = s.CheckHead(file) })
	if out.Size == 0 {
		out.Err = fmt.Errorf("squat: %w", out.Err)
		return out
	}
	out.Head, _ = c.signedHead(file)
	var err error
	if out.By, err = policy.Read(file); out.Err == nil && (err != nil || len(out.By) == 0) {
		return Cosigned{Key: key, Err: errors.Join(errors.New("squat: no witness of the trust file has cosigned it"), err)}
	}
	return out
}

// signedHead is a signed head of this log with its own signature alone.
func (c *Log) signedHead(file []byte) ([]byte, error) {
	key, err := c.state.Trust.LogVerifier()
	if err != nil {
		return nil, err
	}
	n, err := note.Open(file, note.VerifierList(key))
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s\n— %s %s\n", n.Text, n.Sigs[0].Name, n.Sigs[0].Base64), nil
}
