package keyroot

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/chain"
)

// All random bytes of the vectors are H(u64 0), H(u64 1), …; what they go into, and in which order, is for the program to
// say, so an implementation elsewhere opens and checks these rather than making them.
var update = flag.Bool("update", false, "make testdata/v1.json anew; only for a new version of the format")

const vectorFile = "testdata/v1.json"

type vectors struct {
	Key     string            // verifier key of the key service
	Archive string            // hex
	Tops    map[uint64]string // hex, by generation
	Records []string
	Packs   map[uint64]string // hex
	List    string            // hex: what record 2 erased
	Live    []string          // hex ids of the scopes that the last record has
}

func makeVectors(t *testing.T) *vectors {
	s := newService(t)
	s.fold(t, 12)
	s.fold(t, 9)
	list := s.erase(t, 1)
	s.fold(t, 2)
	v := &vectors{Archive: hex.EncodeToString(archive[:]), Tops: map[uint64]string{}, Packs: map[uint64]string{},
		List: hex.EncodeToString(list.Marshal(archive))}
	v.Key = s.vkey
	for g, top := range s.tops {
		v.Tops[g] = hex.EncodeToString(top[:])
	}
	for n := range uint64(len(s.space)) {
		v.Records = append(v.Records, string(s.space[n][0]))
	}
	for n, data := range s.packs {
		v.Packs[n] = hex.EncodeToString(data)
	}
	for l, err := range s.ring.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		v.Live = append(v.Live, hex.EncodeToString(l.ID[:]))
	}
	return v
}

// TestVectors: the program writes the vectors byte for byte, and reads them.
func TestVectors(t *testing.T) {
	made, err := json.MarshalIndent(makeVectors(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *update {
		if err := os.WriteFile(vectorFile, made, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, data) {
		t.Error("what is written differs from the vectors")
	}
	v := new(vectors)
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
	v.read(t)
}

func (v *vectors) read(t *testing.T) {
	verifier, err := note.NewVerifier(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	p := packs{}
	for n, x := range v.Packs {
		if p[n], err = hex.DecodeString(x); err != nil {
			t.Fatal(err)
		}
	}
	s := NewState(archive)
	by := func(uint64) (note.Verifiers, error) { return note.VerifierList(verifier), nil }
	for n, file := range v.Records {
		_, accept, err := s.Judge(chain.Object{N: uint64(n), Data: []byte(file)}, by)
		if err != nil {
			t.Fatal(err)
		}
		accept()
	}
	last, _ := s.Last()
	var top Top
	if _, err := hex.Decode(top[:], []byte(v.Tops[last.Generation])); err != nil {
		t.Fatal(err)
	}
	ring, err := last.Open(&top, p)
	if err != nil {
		t.Fatal(err)
	}
	live := scopes(t, ring)
	if len(live) != len(v.Live) || last.Live != uint64(len(live)) {
		t.Errorf("%d scopes, want %d", len(live), len(v.Live))
	}
	for _, id := range v.Live {
		b, err := hex.DecodeString(id)
		if err != nil || !live[[16]byte(b)] {
			t.Errorf("scope %s is not there", id)
		}
	}
}
