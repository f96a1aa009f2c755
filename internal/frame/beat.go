package frame

import (
	"crypto/ed25519"

	"github.com/stelelog/stele/merkle"
)

const (
	beatMagic   = "STLB"
	beatContext = "stele/beat/v1\n"
	beatLen     = 8 + 16 + 4 + 16 + 8 + 32 + 8
	// BeatLen is the length of a beat in bytes.
	BeatLen = beatLen + ed25519.SignatureSize
)

// Beat says that a stream lives. Only the newest of a stream counts.
type Beat struct {
	Archive   [16]byte
	Partition uint32
	Stream    [16]byte
	Seq       uint64 // of the last leaf
	Head      merkle.Hash
	Time      int64 // ns, the writer's clock
}

// IsBeat reports whether raw is meant to be a beat.
func IsBeat(raw []byte) bool { return len(raw) >= 4 && string(raw[:4]) == beatMagic }

// Append appends the beat, signed.
func (b *Beat) Append(dst []byte, key ed25519.PrivateKey) []byte {
	start := len(dst)
	dst = append(append(dst, beatMagic...), version, 0, 0, 0)
	dst = append(dst, b.Archive[:]...)
	dst = le.AppendUint32(dst, b.Partition)
	dst = append(dst, b.Stream[:]...)
	dst = le.AppendUint64(dst, b.Seq)
	dst = append(dst, b.Head[:]...)
	dst = le.AppendUint64(dst, uint64(b.Time))
	msg := append([]byte(beatContext), dst[start:]...)
	return append(dst, ed25519.Sign(key, msg)...)
}

// ParseBeat reads a beat. The signature is checked by VerifyBeat.
func ParseBeat(raw []byte) (b Beat, err error) {
	switch {
	case len(raw) != BeatLen || string(raw[:4]) != beatMagic:
		return b, bad(0, "this is no beat")
	case raw[4] != version:
		return b, bad(4, "beat version %d is not known here, update stele", raw[4])
	case raw[5]|raw[6]|raw[7] != 0:
		return b, bad(5, "reserved bytes are set")
	}
	copy(b.Archive[:], raw[8:])
	b.Partition = le.Uint32(raw[24:])
	copy(b.Stream[:], raw[28:])
	b.Seq = le.Uint64(raw[44:])
	copy(b.Head[:], raw[52:])
	b.Time = int64(le.Uint64(raw[84:]))
	return b, nil
}

// VerifyBeat reports whether raw is signed by the stream key.
func VerifyBeat(raw []byte, key ed25519.PublicKey) bool {
	if len(raw) != BeatLen || len(key) != ed25519.PublicKeySize {
		return false
	}
	msg := append([]byte(beatContext), raw[:beatLen]...)
	return ed25519.Verify(key, msg, raw[beatLen:])
}
