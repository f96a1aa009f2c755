package keytrie

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

// Node keys of the vectors are H(u64 0), H(u64 1), … so that every byte can be made again by another implementation.
var update = flag.Bool("update", false, "make testdata/v1.json anew; only for a new version of the format")

const vectorFile = "testdata/v1.json"

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

type vectorRoot struct {
	Count                  uint64
	Hash                   hexBytes
	Pack, Offset           uint64
	Clear, Sealed          uint32
	Key                    hexBytes
	Pack1Bytes, Pack2Bytes hexBytes `json:",omitempty"`
}

type vector struct {
	Name    string
	Archive hexBytes
	Hidden  bool
	Paths   []hexBytes
	Values  []hexBytes `json:",omitempty"`
	Root    vectorRoot
	Remove  []hexBytes // prefixes
	Left    vectorRoot
	// Proofs, of what is removed, and that it is removed.
	Find, Removal hexBytes `json:",omitempty"`
}

// counting is the random source of the vectors.
type counting struct {
	n   uint64
	buf []byte
}

func (c *counting) Read(p []byte) (int, error) {
	for len(c.buf) < len(p) {
		h := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, c.n))
		c.buf = append(c.buf, h[:]...)
		c.n++
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}

func vectorPaths(n int) (paths, values []hexBytes) {
	for i := range n {
		h := sha256.Sum256(binary.BigEndian.AppendUint32([]byte("path"), uint32(i)))
		p := append([]byte{0x10, byte(i * 4 / n), 0x55}, h[:5]...)
		paths = append(paths, p)
		values = append(values, h[8:8+i%9])
	}
	return paths, values
}

func makeVector(t *testing.T, name string, hidden bool, n int, prefixes ...string) vector {
	v := vector{Name: name, Archive: bytes.Repeat([]byte{0xa5}, 16), Hidden: hidden}
	v.Paths, v.Values = vectorPaths(n)
	if hidden {
		v.Values = nil
	}
	// The vector holds paths in their order.
	sortPairs(v.Paths, v.Values)
	for _, p := range prefixes {
		b, err := hex.DecodeString(p)
		if err != nil {
			t.Fatal(err)
		}
		v.Remove = append(v.Remove, b)
	}
	v.fill(t)
	return v
}

func sortPairs(paths, values []hexBytes) {
	for i := range paths {
		for j := i; j > 0 && bytes.Compare(paths[j-1], paths[j]) > 0; j-- {
			paths[j-1], paths[j] = paths[j], paths[j-1]
			if values != nil {
				values[j-1], values[j] = values[j], values[j-1]
			}
		}
	}
}

// fill computes what follows from the inputs.
func (v *vector) fill(t *testing.T) {
	ctx := context.Background()
	p := packs{}
	trie := &Trie{Archive: [16]byte(v.Archive), Hidden: v.Hidden, Source: p}
	keys := new(counting)
	write := func(number uint64, f func(*Writer) (Root, error)) vectorRoot {
		w := NewWriter(trie.Archive, number, 1<<20, keys, func(n uint64, data []byte) error { p[n] = data; return nil })
		r, err := f(w)
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return vectorRoot{Count: r.Count, Hash: r.Hash[:], Pack: r.Link.Pack, Offset: r.Link.Offset, Clear: r.Link.Clear,
			Sealed: r.Link.Sealed, Key: r.Key[:], Pack1Bytes: p[1], Pack2Bytes: p[2]}
	}
	var root Root
	v.Root = write(1, func(w *Writer) (r Root, err error) {
		root, err = trie.Build(w, func(yield func(Entry, error) bool) {
			for i := range v.Paths {
				e := Entry{Path: v.Paths[i]}
				if v.Values != nil {
					e.Value = v.Values[i]
				}
				if !yield(e, nil) {
					return
				}
			}
		})
		return root, err
	})
	var prefixes [][]byte
	for _, x := range v.Remove {
		prefixes = append(prefixes, x)
	}
	keys.n, keys.buf = 1000, nil
	v.Left = write(2, func(w *Writer) (Root, error) {
		left, _, err := trie.Remove(ctx, w, root, prefixes, nil)
		return left, err
	})
	v.Left.Pack1Bytes = nil
	if v.Hidden {
		return
	}
	for _, x := range []struct {
		out  *hexBytes
		make func(context.Context, Root, [][]byte) (*Proof, error)
	}{{&v.Find, trie.ProveFind}, {&v.Removal, trie.ProveRemove}} {
		proof, err := x.make(ctx, root, prefixes)
		if err != nil {
			t.Fatal(err)
		}
		data, err := proof.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		*x.out = data
	}
}

// TestVectors makes every vector of the file again from its inputs. Keys of the second pack are H(u64 1000) and on.
func TestVectors(t *testing.T) {
	if *update {
		out, err := json.MarshalIndent([]vector{
			makeVector(t, "empty", false, 0, "10"),
			makeVector(t, "one bucket", false, 5, "1000"),
			makeVector(t, "inner nodes", false, 60, "1000552ee07bdbef", "1001", "10025512"),
			makeVector(t, "down to a bucket", false, 40, "1000", "1001", "1002"),
			makeVector(t, "hidden", true, 120, "1000", "10025512"),
		}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, append(out, '\n'), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			again := v
			again.Root, again.Left, again.Find, again.Removal = vectorRoot{}, vectorRoot{}, nil, nil
			again.fill(t)
			want, _ := json.Marshal(v)
			got, err := json.Marshal(again)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v\n got %s\nwant %s", err, got, want)
			}
			v.read(t)
		})
	}
}

// read checks what the vector says by reading the packs, not by making them.
func (v *vector) read(t *testing.T) {
	p := packs{1: v.Root.Pack1Bytes, 2: v.Left.Pack2Bytes}
	trie := &Trie{Archive: [16]byte(v.Archive), Hidden: v.Hidden, Source: p}
	want := map[string]string{}
	for i, path := range v.Paths {
		value := ""
		if v.Values != nil {
			value = string(v.Values[i])
		}
		want[string(path)] = value
	}
	if err := scan(trie, v.Root.root(), want); err != nil {
		t.Error(err)
	}
	for path := range want {
		for _, x := range v.Remove {
			if bytes.HasPrefix([]byte(path), x) {
				delete(want, path)
			}
		}
	}
	if err := scan(trie, v.Left.root(), want); err != nil {
		t.Error(err)
	}
}

func (r vectorRoot) root() (out Root) {
	out.Count = r.Count
	copy(out.Hash[:], r.Hash)
	copy(out.Key[:], r.Key)
	out.Link = Link{r.Pack, r.Offset, r.Clear, r.Sealed}
	return out
}
