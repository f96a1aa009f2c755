package seal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// hexBytes is a byte string that stands as hex digits in a vector file.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

type vectorPart struct {
	Kind             PartKind
	Data, Hash, URI  hexBytes
	Distance, Number uint64
	Size             uint64
	MediaType        hexBytes `json:"media_type"`
}

type vectorRecord struct {
	Seq                     uint64
	Body                    []hexBytes
	CallerID                hexBytes `json:"caller_id"`
	Trace, Attributes, More hexBytes
	ContentType             hexBytes `json:"content_type"`
	Parts                   []vectorPart
	Salts, Hashes           []hexBytes
	Commitment              hexBytes
}

func (v *vectorRecord) fields() *Fields {
	f := &Fields{CallerID: v.CallerID, Trace: v.Trace, Attributes: v.Attributes, ContentType: v.ContentType, More: v.More}
	for _, b := range v.Body {
		f.Body = append(f.Body, b)
	}
	return f
}

func (v *vectorRecord) parts() (parts []Part) {
	for _, p := range v.Parts {
		part := Part{Kind: p.Kind, Data: p.Data, Distance: p.Distance, Number: p.Number, Size: p.Size,
			MediaType: p.MediaType, URI: p.URI}
		copy(part.Hash[:], p.Hash)
		parts = append(parts, part)
	}
	return parts
}

// vectors is testdata/v1.json, which a second implementation in another language computed from the format page.
type vectors struct {
	Key, Archive, Stream, Scope hexBytes
	Partition                   uint32
	Class                       string
	Tenant, Subject, Session    hexBytes
	ScopeCommitments            []hexBytes `json:"scope_commitments"`
	Records                     []vectorRecord
	Blocks                      []struct {
		Header    bool
		Slots     []int
		Plaintext hexBytes
		Block     hexBytes
	}
	// Packed holds block 0 under the packings that may come out differently with another version of a compressor, so they
	// are only opened.
	Packed []struct {
		Packing Packing
		Block   hexBytes
	}
}

func readVectors(t testing.TB) *vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/v1.json")
	if err != nil {
		t.Fatal(err)
	}
	v := new(vectors)
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *vectors) place() *Place {
	return &Place{[16]byte(v.Archive), v.Partition, [16]byte(v.Stream), [16]byte(v.Scope), v.Class}
}

func (v *vectors) newScope(t testing.TB) *Scope {
	t.Helper()
	s, err := NewScope([32]byte(v.Key))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (v *vectors) block(t testing.TB, i int) *Block {
	t.Helper()
	b := new(Block)
	if v.Blocks[i].Header {
		if err := b.Scope(v.Tenant, v.Subject, v.Session); err != nil {
			t.Fatal(err)
		}
	}
	for _, slot := range v.Blocks[i].Slots {
		r := &v.Records[slot]
		if err := b.Add(r.Seq, [32]byte(r.Commitment), r.fields(), r.parts()); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestVectorCommitments(t *testing.T) {
	v := readVectors(t)
	s := v.newScope(t)
	for i := range v.Records {
		r := &v.Records[i]
		f := r.fields()
		hashes := s.FieldHashes(r.Seq, f)
		values := [][]byte{bytes.Join(f.Body, nil), f.CallerID, f.Trace, f.Attributes, f.ContentType, f.More}
		for j, want := range r.Hashes {
			field := Field(j + 1)
			salt := s.Salt(r.Seq, field)
			if !bytes.Equal(salt[:], r.Salts[j]) {
				t.Errorf("record %d: salt of field %d is %x, want %x", i, field, salt, r.Salts[j])
			}
			if !bytes.Equal(hashes[j][:], want) {
				t.Errorf("record %d: hash of field %d is %x, want %x", i, field, hashes[j], want)
			}
			if h := FieldHash(salt, field, values[j]); h != hashes[j] {
				t.Errorf("record %d: field %d without the key is %x, with it %x", i, field, h, hashes[j])
			}
		}
		if c := s.Commit(r.Seq, f); !bytes.Equal(c[:], r.Commitment) {
			t.Errorf("record %d: commitment is %x, want %x", i, c, r.Commitment)
		}
	}
	for i, h := range s.CommitScope(v.Tenant, v.Subject, v.Session) {
		if !bytes.Equal(h[:], v.ScopeCommitments[i]) {
			t.Errorf("commitment %d of the scope is %x, want %x", i, h, v.ScopeCommitments[i])
		}
	}
}

func TestVectorBlocks(t *testing.T) {
	v := readVectors(t)
	s, c := v.newScope(t), NewCodec(Options{})
	defer c.Close()
	for i := range v.Blocks {
		want := &v.Blocks[i]
		b := v.block(t, i)
		if !bytes.Equal(b.plain, want.Plaintext) {
			t.Errorf("block %d: plaintext is\n%x, want\n%x", i, b.plain, want.Plaintext)
		}
		got, err := c.Seal(nil, s, v.place(), b, PackNone)
		if err != nil || !bytes.Equal(got, want.Block) {
			t.Errorf("block %d: sealed is\n%x, want\n%x (%v)", i, got, want.Block, err)
		}
		plain, err := c.Open(nil, s, v.place(), v.Records[want.Slots[0]].Seq, want.Block)
		if err != nil || !bytes.Equal(plain, want.Plaintext) {
			t.Errorf("block %d does not open: %v", i, err)
		}
	}
	if len(v.Packed) == 0 {
		t.Error("no packed blocks in the vectors")
	}
	for _, p := range v.Packed {
		plain, err := c.Open(nil, s, v.place(), v.Records[0].Seq, p.Block)
		if err != nil || !bytes.Equal(plain, v.Blocks[0].Plaintext) {
			t.Errorf("block in packing %d does not open: %v", p.Packing, err)
		}
		if len(p.Block) >= len(v.Blocks[0].Block) {
			t.Errorf("block in packing %d is not packed", p.Packing)
		}
	}
}
