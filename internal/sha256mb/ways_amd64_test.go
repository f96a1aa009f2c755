//go:build !purego

package sha256mb

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
)

var names = map[way]string{single: "one by one", paired: "paired", eight: "eight", sixteen: "sixteen"}

// ways are those that this processor has, whichever it prefers.
func ways() []way {
	has, ways := features(), []way{single}
	for w, ok := range map[way]bool{paired: has.sha, eight: has.avx2, sixteen: has.avx512} {
		if ok {
			ways = append(ways, w)
		}
	}
	return ways
}

// each calls run with each way, and its name.
func each(run func(name string)) {
	preferred := native
	defer func() { native = preferred }()
	for _, w := range ways() {
		native = w
		run(names[w])
	}
}

// Each lane of each function computes the hash of its own message, whatever is in the others.
func TestLanes(t *testing.T) {
	each(func(name string) {
		if native != eight && native != sixteen {
			return
		}
		for _, n := range []int{1, 2, 7} {
			for lanes := 1; lanes <= native.lanes(); lanes++ {
				var states [8][most]uint32
				var at [most]*byte
				var want [most][32]byte
				for i := range at {
					message := noise(uint64(100*n+i), n*blockSize-9)
					want[i] = sha256.Sum256(message)
					message = binary.BigEndian.AppendUint64(append(message, 0x80), uint64(8*len(message)))
					at[i] = &message[0]
					for w := range states {
						states[w][i] = initial[w]
					}
				}
				blocks(&states, &at, lanes, n)
				for i := range lanes {
					var state [8]uint32
					for w := range state {
						state[w] = states[w][i]
					}
					if sum(state) != want[i] {
						t.Errorf("%s: lane %d of %d, %d blocks: wrong hash", name, i, lanes, n)
					}
				}
			}
		}
		var states [8][most]uint32
		blocks(&states, new([most]*byte), native.lanes(), 0)
		if states != ([8][most]uint32{}) {
			t.Errorf("%s: no blocks change the state", name)
		}
	})
}

func TestParse(t *testing.T) {
	const (
		c    = 1<<9 | 1<<19 | 1<<28
		b    = 1<<5 | 1<<16 | 1<<29 | 1<<30 | 1<<31
		sha  = 1 << 29
		avx2 = 1 << 5
	)
	for _, test := range []struct {
		what        string
		c, b, saved uint32
		want        way
	}{
		{"everything", c, b, 0xe7, paired},
		{"no SHA", c, b &^ sha, 0xe7, sixteen},
		{"no AVX-512 BW", c, b &^ sha &^ (1 << 30), 0xe7, eight},
		{"a system that does not save Z registers", c, b &^ sha, 0x07, eight},
		{"a system that does not save mask registers", c, b &^ sha, 0xc7, eight},
		{"a system that does not save Y registers", c, b &^ sha, 0x03, single},
		{"SHA, and such a system", c, b, 0x03, paired},
		{"no AVX2", c, b &^ sha &^ avx2, 0xe7, single},
		{"SHA without SSSE3", c &^ (1 << 9), b, 0xe7, sixteen},
		{"nothing", 0, 0, 0, single},
	} {
		if got := parse(test.c, test.b, test.saved).way(); got != test.want {
			t.Errorf("%s: %s, want %s", test.what, names[got], names[test.want])
		}
	}
}
