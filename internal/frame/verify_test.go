package frame

import (
	"crypto/ed25519"
	"slices"
	"testing"
)

// TestVerify: a signature is by one key over the signed part. The keys of streams stand in commits, whoever made those: one
// that is none verifies nothing, and kills nobody.
func TestVerify(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public := key.Public().(ed25519.PublicKey)
	other := ed25519.NewKeyFromSeed(slices.Repeat([]byte{1}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	for _, x := range []struct {
		name, context string
		length        int
		verify        func([]byte, ed25519.PublicKey) bool
	}{{"frame", context, headerLen, Verify}, {"beat", beatContext, beatLen, VerifyBeat}} {
		raw := make([]byte, x.length)
		raw = append(raw, ed25519.Sign(key, append([]byte(x.context), raw...))...)
		if !x.verify(raw, public) {
			t.Errorf("%s: its signature is refused", x.name)
		}
		if x.verify(raw[:len(raw)-1], public) || x.verify(nil, public) {
			t.Errorf("%s: a part of it is taken", x.name)
		}
		for at := range raw {
			bad := slices.Clone(raw)
			bad[at]++
			if x.verify(bad, public) {
				t.Errorf("%s: taken with another byte %d", x.name, at)
			}
		}
		for _, bad := range []ed25519.PublicKey{other, nil, public[:31], append(slices.Clone(public), 0)} {
			if x.verify(raw, bad) {
				t.Errorf("%s: taken for one by %x", x.name, bad)
			}
		}
	}
}
