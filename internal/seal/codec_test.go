package seal

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

var packings = []Packing{PackNone, PackS2, PackZstd}

func oneRecord(t testing.TB, s *Scope, seq uint64, body []byte) *Block {
	t.Helper()
	b := new(Block)
	f := &Fields{Body: [][]byte{body}, Attributes: []byte("{}")}
	if err := b.Add(seq, s.Commit(seq, f), f, []Part{{Data: body}}); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSealOpen(t *testing.T) {
	s, at := testScope(t), &Place{Class: "default"}
	for _, thorough := range []bool{false, true} {
		c := NewCodec(Options{Thorough: thorough})
		for _, n := range []int{0, 1, 100, 4_000, 300_000, maxPlaintext - 100} {
			b := oneRecord(t, s, 3, bytes.Repeat([]byte("stone "), n/6))
			for _, p := range packings {
				block, err := c.Seal([]byte("before"), s, at, b, p)
				if err != nil {
					t.Fatal(err)
				}
				block, _ = bytes.CutPrefix(block, []byte("before"))
				again, err := c.Seal(nil, s, at, b, p)
				if err != nil || !bytes.Equal(again, block) {
					t.Fatalf("packing %d of %d bytes: sealing again gives other bytes (%v)", p, n, err)
				}
				plain, err := c.Open([]byte("before"), s, at, 3, block)
				if err != nil || string(plain) != "before"+string(b.plain) {
					t.Fatalf("packing %d of %d bytes: does not come back: %v", p, n, err)
				}
				if p != PackNone && n > 1000 && len(block) > n/4 {
					t.Errorf("packing %d: %d of %d bytes are left", p, len(block), n)
				}
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestPackingThatDoesNotHelp(t *testing.T) {
	s, c := testScope(t), NewCodec(Options{})
	defer c.Close()
	noise := make([]byte, 5000)
	rand.NewChaCha8([32]byte{}).Read(noise)
	b := oneRecord(t, s, 0, noise)
	for _, p := range packings {
		inner, err := c.pack(nil, b.plain, p)
		if err != nil || inner[0] != byte(PackNone) || len(inner) != 3+b.Len() {
			t.Errorf("packing %d: codec %d, %d bytes for %d, %v", p, inner[0], len(inner), b.Len(), err)
		}
	}
	if _, err := c.Seal(nil, s, &Place{}, b, 3); err == nil {
		t.Error("unknown packing is taken")
	}
	if _, err := c.Seal(nil, s, &Place{}, new(Block), PackNone); err == nil {
		t.Error("empty block is sealed")
	}
	if _, err := c.Seal(nil, s, &Place{Class: string(noise)}, b, PackNone); err == nil {
		t.Error("class of 5000 bytes is taken")
	}
}

func TestOpenRefuses(t *testing.T) {
	v := readVectors(t)
	s, c := v.newScope(t), NewCodec(Options{})
	defer c.Close()
	block, first := v.Blocks[1].Block, v.Records[3].Seq
	refused := func(what string, s *Scope, at *Place, first uint64, block []byte) {
		t.Helper()
		if _, err := c.Open(nil, s, at, first, block); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: error is %v", what, err)
		}
	}
	for i := range block {
		changed := bytes.Clone(block)
		changed[i] ^= 1 << (i % 8)
		refused("flipped bit", s, v.place(), first, changed)
	}
	for n := range block {
		refused("cut", s, v.place(), first, block[:n])
	}
	refused("longer", s, v.place(), first, append(bytes.Clone(block), 0))
	refused("other seq", s, v.place(), first+1, block)
	refused("other key", testScope(t), v.place(), first, block)
	for name, move := range map[string]func(*Place){
		"archive":   func(p *Place) { p.Archive[0]++ },
		"partition": func(p *Place) { p.Partition++ },
		"stream":    func(p *Place) { p.Stream[15]++ },
		"scope":     func(p *Place) { p.Scope[3]++ },
		"class":     func(p *Place) { p.Class = "state" },
	} {
		at := v.place()
		move(at)
		refused(name, s, at, first, block)
	}
	if _, err := c.Open(nil, s, v.place(), first, block); err != nil {
		t.Errorf("the block itself: %v", err)
	}
}

func inner(packing Packing, declared uint64, packed []byte) []byte {
	return append(binary.AppendUvarint([]byte{byte(packing)}, declared), packed...)
}

func TestUnpackRefuses(t *testing.T) {
	text := bytes.Repeat([]byte("stone "), 1000)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zs := enc.EncodeAll(text, nil)
	bomb := enc.EncodeAll(make([]byte, 64<<20), nil)
	n := uint64(len(text))
	c := NewCodec(Options{})
	defer c.Close()
	for name, in := range map[string][]byte{
		"nothing":         {},
		"no length":       {0},
		"long varint":     {0, 0x81, 0x00, 'x'},
		"unknown packing": inner(3, n, text),
		"none short":      inner(PackNone, n+1, text),
		"none long":       inner(PackNone, n-1, text),
		"none over limit": inner(PackNone, maxPlaintext+1, make([]byte, maxPlaintext+1)),
		"s2 short":        inner(PackS2, n+1, s2.Encode(nil, text)),
		"s2 long":         inner(PackS2, n-1, s2.Encode(nil, text)),
		"s2 bomb":         inner(PackS2, maxPlaintext, s2.Encode(nil, make([]byte, 64<<20))),
		"s2 garbage":      inner(PackS2, n, text),
		"zstd short":      inner(PackZstd, n+1, zs),
		"zstd long":       inner(PackZstd, n-1, zs),
		"zstd bomb":       inner(PackZstd, maxPlaintext, bomb),
		"zstd garbage":    inner(PackZstd, n, text),
		"zstd cut":        inner(PackZstd, n, zs[:len(zs)-3]),
		"declared 2^63":   inner(PackZstd, 1<<63, zs),
	} {
		var format *FormatError
		if out, err := c.unpack(nil, in); !errors.As(err, &format) {
			t.Errorf("%s: %d bytes, error is %v", name, len(out), err)
		}
	}
}

// A small block that unpacks to much costs no more memory than the limit.
func TestBombsStaySmall(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 64<<20)
	for p, packed := range map[Packing][]byte{PackS2: s2.Encode(nil, text), PackZstd: enc.EncodeAll(text, nil)} {
		c := NewCodec(Options{})
		in := inner(p, maxPlaintext, packed)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.unpack(nil, in)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err == nil || used > 4*maxPlaintext {
			t.Errorf("packing %d: %d bytes allocated, error is %v", p, used, err)
		}
		c.Close()
	}
}

// nullCipher leaves everything readable.
type nullCipher struct{ cipher.AEAD }

func (nullCipher) NonceSize() int { return nonceSize }
func (nullCipher) Overhead() int  { return tagSize }
func (nullCipher) Seal(dst, _, plain, _ []byte) []byte {
	return append(append(dst, plain...), make([]byte, tagSize)...)
}
func (nullCipher) Open(dst, _, sealed, _ []byte) ([]byte, error) {
	return append(dst, sealed[:len(sealed)-tagSize]...), nil
}

// A sealed block shows nothing of its text; the same test finds the text when the cipher does nothing.
func TestNoPlaintextInBlock(t *testing.T) {
	null := Options{AEAD: func([]byte) (cipher.AEAD, error) { return nullCipher{}, nil }}
	s, canary := testScope(t), []byte("canary 4711")
	for _, p := range packings {
		for opt, want := range map[*Options]bool{{}: false, &null: true} {
			c := NewCodec(*opt)
			block, err := c.Seal(nil, s, &Place{}, oneRecord(t, s, 0, canary), p)
			if err != nil || bytes.Contains(block, canary) != want {
				t.Errorf("packing %d: text in the block is %v, want %v (%v)", p, !want, want, err)
			}
			if _, err := c.Open(nil, s, &Place{}, 0, block); err != nil {
				t.Error(err)
			}
			c.Close()
		}
	}
}

func drawBytes(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, label)
}

func drawPart(t *rapid.T) Part {
	switch kind := PartKind(rapid.IntRange(0, 3).Draw(t, "kind")); kind {
	case Literal:
		return Part{Data: drawBytes(t, "data")}
	case Reference:
		return Part{Kind: kind, Distance: rapid.Uint64Min(1).Draw(t, "distance"), Number: rapid.Uint64Max(MaxParts-1).Draw(t, "number")}
	case Outside:
		p := Part{Kind: kind, Size: rapid.Uint64().Draw(t, "size"), MediaType: drawBytes(t, "type"), URI: drawBytes(t, "uri")}
		copy(p.Hash[:], drawBytes(t, "hash"))
		return p
	default:
		return Part{Kind: kind, Distance: rapid.Uint64Min(1).Draw(t, "distance")}
	}
}

// What went into a block comes out of it, and the sizes that were promised hold.
func TestBlockRoundTrip(t *testing.T) {
	s, c := testScope(t), NewCodec(Options{})
	defer c.Close()
	b, p := new(Block), new(Plaintext)
	rapid.Check(t, func(t *rapid.T) {
		b.Reset()
		header := rapid.Bool().Draw(t, "header")
		tenant := drawBytes(t, "tenant")
		if header {
			if err := b.Scope(tenant, nil, tenant); err != nil {
				t.Fatal(err)
			}
		}
		var want []Fields
		var parts [][]Part
		seq := rapid.Uint64Max(1<<40).Draw(t, "first")
		first := seq
		for range rapid.IntRange(1, 5).Draw(t, "records") {
			f := Fields{CallerID: drawBytes(t, "id"), Trace: drawBytes(t, "trace"), Attributes: drawBytes(t, "attributes"),
				ContentType: drawBytes(t, "content type"), More: drawBytes(t, "more")}
			ps := rapid.SliceOfN(rapid.Custom(drawPart), 0, 6).Draw(t, "parts")
			bound, before := recordSize(&f, ps), b.Len()
			if err := b.Add(seq, s.Commit(seq, &f), &f, ps); err != nil {
				t.Fatal(err)
			}
			if b.Len()-before > bound {
				t.Fatalf("record takes %d bytes, %d at most were promised", b.Len()-before, bound)
			}
			want, parts = append(want, f), append(parts, ps)
			seq += 1 + rapid.Uint64Max(9).Draw(t, "step")
		}
		block, err := c.Seal(nil, s, &Place{}, b, rapid.SampledFrom(packings).Draw(t, "packing"))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := c.Open(nil, s, &Place{}, first, block)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Parse(plain); err != nil {
			t.Fatal(err)
		}
		if p.HasScope != header || header && !(bytes.Equal(p.Tenant, tenant) && bytes.Equal(p.Session, tenant)) {
			t.Fatalf("scope header is %v %q", p.HasScope, p.Tenant)
		}
		compareRecords(t, p.Records, want, parts)
	})
}

func compareRecords(t *rapid.T, got []Record, want []Fields, parts [][]Part) {
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := &got[i], &want[i]
		if !bytes.Equal(g.CallerID, w.CallerID) || !bytes.Equal(g.Trace, w.Trace) || !bytes.Equal(g.Attributes, w.Attributes) ||
			!bytes.Equal(g.ContentType, w.ContentType) || !bytes.Equal(g.More, w.More) || g.PartCount() != len(parts[i]) {
			t.Fatalf("record %d is %+v, want %+v", i, g, w)
		}
		j := 0
		for p := range g.Parts() {
			q := parts[i][j]
			if p.Kind != q.Kind || !bytes.Equal(p.Data, q.Data) || p.Distance != q.Distance || p.Number != q.Number ||
				p.Hash != q.Hash || p.Size != q.Size || !bytes.Equal(p.MediaType, q.MediaType) || !bytes.Equal(p.URI, q.URI) {
				t.Fatalf("part %d of record %d is %+v, want %+v", j, i, p, q)
			}
			j++
		}
	}
}
