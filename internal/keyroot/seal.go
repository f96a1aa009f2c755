package keyroot

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keytrie"
	"github.com/stelelog/stele/merkle"
)

// perRun is what is sealed for each run: key, index key, paths of the index trie.
const perRun = 2*keytrie.KeySize + 8

// zeroNonce serves keys that encrypt once: each record has its own salt.
var zeroNonce [12]byte

func (r *Record) cipher(top *Top) (cipher.AEAD, error) {
	info := append([]byte("stele/keys-top/v1"), r.Archive[:]...)
	info = binary.LittleEndian.AppendUint64(info, r.Generation)
	info = binary.LittleEndian.AppendUint64(info, r.N)
	key, err := hkdf.Key(sha256.New, top[:], r.Salt[:], string(info), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal puts the runs of a ring into the record, their keys under the top key.
func (r *Record) seal(top *Top, ring *keyring.Ring, random io.Reader) error {
	if _, err := io.ReadFull(random, r.Salt[:]); err != nil {
		return fmt.Errorf("keyroot: random bytes for a salt: %w", err)
	}
	r.Runs = []Run{}
	var secret []byte
	for i := range ring.Runs {
		run := &ring.Runs[i]
		r.Runs = append(r.Runs, Run{Count: run.Keys.Count, Hash: run.Keys.Hash, Keys: fromLink(run.Keys.Link),
			Index: fromLink(run.Index.Link), Packs: append([]uint64{}, run.Packs...)})
		secret = append(append(secret, run.Keys.Key[:]...), run.Index.Key[:]...)
		secret = binary.LittleEndian.AppendUint64(secret, run.Index.Count)
	}
	r.Commitment = r.commitment()
	aead, err := r.cipher(top)
	if err != nil {
		return err
	}
	r.Sealed = aead.Seal(nil, zeroNonce[:], secret, r.Commitment[:])
	clear(secret)
	return nil
}

// Open opens the record with the top key of its generation. packs reads the packs that it names. The error wraps
// [ErrTop] if the key is another one.
func (r *Record) Open(top *Top, packs keytrie.Source) (*keyring.Ring, error) {
	aead, err := r.cipher(top)
	if err != nil {
		return nil, err
	}
	secret, err := aead.Open(nil, zeroNonce[:], r.Sealed, r.Commitment[:])
	if err != nil || len(secret) != perRun*len(r.Runs) {
		return nil, fmt.Errorf("%w: record %d of generation %d", ErrTop, r.N, r.Generation)
	}
	ring := r.Public(packs)
	for i := range ring.Runs {
		s := secret[perRun*i:]
		copy(ring.Runs[i].Keys.Key[:], s)
		copy(ring.Runs[i].Index.Key[:], s[keytrie.KeySize:])
		ring.Runs[i].Index.Count = binary.LittleEndian.Uint64(s[2*keytrie.KeySize:])
		ring.Runs[i].Index.Link = toLink(r.Runs[i].Index)
	}
	clear(secret)
	return ring, nil
}

// Public is the ring as far as it can be read without any key: its key tries, and no index.
func (r *Record) Public(packs keytrie.Source) *keyring.Ring {
	ring := &keyring.Ring{Archive: r.Archive, Packs: packs}
	for i := range r.Runs {
		run := &r.Runs[i]
		ring.Runs = append(ring.Runs, keyring.Run{Packs: run.Packs, Keys: keytrie.Root{
			Commitment: keytrie.Commitment{Count: run.Count, Hash: run.Hash}, Link: toLink(run.Keys)}})
	}
	return ring
}

// commitment is over counts and commitments of all runs.
func (r *Record) commitment() merkle.Hash {
	b := binary.LittleEndian.AppendUint32([]byte("stele/keys/v1"), uint32(len(r.Runs)))
	for i := range r.Runs {
		b = binary.LittleEndian.AppendUint64(b, r.Runs[i].Count)
		b = append(b, r.Runs[i].Hash[:]...)
	}
	return sha256.Sum256(b)
}

func fromLink(l keytrie.Link) [4]uint64 {
	return [4]uint64{l.Pack, l.Offset, uint64(l.Clear), uint64(l.Sealed)}
}

func toLink(v [4]uint64) keytrie.Link {
	return keytrie.Link{Pack: v[0], Offset: v[1], Clear: uint32(v[2]), Sealed: uint32(v[3])}
}
