package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/cosign"
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

// Cosigned judges what lies in the place of cosigned heads of more than from entries, and at most to, by ascending size. It
// ends with the first error.
func (c *Log) Cosigned(ctx context.Context, policy *cosign.Policy, from, to uint64) iter.Seq2[Cosigned, error] {
	return func(yield func(Cosigned, error) bool) {
		after, end := "", fmt.Sprintf("%s%020d.~", CosignedPrefix, to)
		if from > 0 {
			after = fmt.Sprintf("%s%020d.~", CosignedPrefix, from)
		}
		for v, err := range c.store.Versions(ctx, CosignedPrefix, after) {
			if err == nil && v.Key > end {
				return
			}
			var out Cosigned
			if err == nil {
				out, err = c.cosigned(ctx, policy, v)
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

// cosigned judges one version.
func (c *Log) cosigned(ctx context.Context, policy *cosign.Policy, v worm.Version) (Cosigned, error) {
	if v.Deleted || v.Size > MaxCheckpoint {
		return Cosigned{Key: v.Key, Err: errors.New("squat: no cosigned head")}, nil
	}
	file, err := c.store.Read(ctx, v.Key, v.ID, worm.Range{})
	if err != nil {
		return Cosigned{}, err
	}
	out := c.judgeCosigned(policy, v.Key, file)
	if out.Size > c.Size() { // the log may have grown since it was read
		if err := c.Refresh(ctx); err != nil {
			return Cosigned{}, err
		}
		out = c.judgeCosigned(policy, v.Key, file)
	}
	return out, nil
}

// lookBack is how many entries back cosigned heads are read at first.
const lookBack = 512

// NewestCosigned is Cosigned from the newest head back, until the policy is met: a witness vouches for every smaller head
// of the log that it has cosigned, so older ones say nothing new. from is how far back it went.
func (c *Log) NewestCosigned(ctx context.Context, policy *cosign.Policy, use func(Cosigned)) (from uint64, err error) {
	seen := map[string]bool{}
	met := func() bool { return policy.Wants() && policy.Met(func(w string) bool { return seen[w] }) }
	to := uint64(math.MaxUint64) // heads of a log that is longer than this one lie there, too
	for span := uint64(lookBack); ; span *= 8 {
		from = c.Size() - min(c.Size(), span)
		for x, err := range c.Cosigned(ctx, policy, from, to) {
			if err != nil {
				return from, err
			}
			for _, by := range x.By {
				seen[by.Witness] = seen[by.Witness] || x.Err == nil
			}
			use(x)
		}
		if from == 0 || met() {
			return from, nil
		}
		to = from
	}
}

// Witnessed is how late it is at least, by those who have cosigned heads of the log.
type Witnessed struct {
	Time time.Time
	By   []string // key names of those who say so, sorted
	Size uint64   // least of the heads on which they do
}

// Witnessed reads how late it is by the quorum of a policy; the zero Witnessed if nobody says.
func (c *Log) Witnessed(ctx context.Context, policy *cosign.Policy) (w Witnessed, err error) {
	type word struct {
		time time.Time
		size uint64
	}
	said := map[string]word{}
	_, err = c.NewestCosigned(ctx, policy, func(x Cosigned) {
		for _, by := range x.By {
			if x.Err == nil && by.Time.After(said[by.Witness].time) {
				said[by.Witness] = word{by.Time, x.Size}
			}
		}
	})
	if w.Time = policy.Time(func(name string) time.Time { return said[name].time }); err != nil || w.Time.IsZero() {
		return Witnessed{}, err
	}
	for _, one := range policy.Witnesses {
		if s := said[one.Name]; !s.time.Before(w.Time) {
			w.By = append(w.By, one.Key.Name())
			if w.Size == 0 || s.size < w.Size {
				w.Size = s.size
			}
		}
	}
	slices.Sort(w.By)
	return w, nil
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
