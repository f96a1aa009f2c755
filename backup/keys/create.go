package keys

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keyscope"
)

// Create makes the key store of a new archive: the first generation at its custodians, and the first root record with the
// intake keys whose seeds are given by week. The access policy must be in the control log. It returns the entry that tells
// the control log of the record. The transport is not needed.
func Create(ctx context.Context, cfg Config, intake map[uint16][]byte) (entry string, err error) {
	cfg.From = ""
	s, err := open(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.signer == nil {
		return "", errReadOnly
	}
	if err := s.depot.Refresh(ctx); err != nil {
		return "", err
	}
	if last, _ := s.depot.State().Last(); last != nil {
		return "", errors.New("the archive has a key store already")
	}
	var batch keyring.Batch
	for week, seed := range intake {
		key, err := keyscope.KEM().NewPrivateKey(seed)
		if err != nil {
			return "", fmt.Errorf("intake key of week %d: %w", week, err)
		}
		sum := sha256.Sum256(key.PublicKey().Bytes())
		batch.Intake = append(batch.Intake, keyring.IntakeKey{Week: week, Public: [16]byte(sum[:]), Seed: [32]byte(seed)})
	}
	top, custody, err := s.custody.found(ctx, 1, nil, s.random)
	if err != nil {
		return "", err
	}
	w := s.depot.Writer(ctx, nil, keydepot.FoldPack, s.random)
	ring, err := (&keyring.Ring{Archive: s.trust.Archive}).Fold(ctx, w.Writer, batch)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", err
	}
	next := keyroot.Next{Ring: ring, Top: top, Packs: w.Named(nil, ring), NextPack: w.Next(), Folded: commit.Source{Lanes: map[string]commit.Lane{}},
		Control: s.control.Size(), Time: s.now(), Custody: custody, Fold: &keyroot.Fold{Intake: uint64(len(batch.Intake))}}
	file, err := s.depot.State().Build(s.depot.Tail(), next, s.random, s.signer)
	if err != nil {
		return "", err
	}
	lost, err := s.put(ctx, file, top)
	if err == nil && lost {
		err = errors.New("somebody else made the key store meanwhile")
	}
	if err != nil {
		return "", err
	}
	return control.Sign(s.trust.Archive, control.TypeKeyRoot, s.now(), s.rootEntry(), s.signer)
}
