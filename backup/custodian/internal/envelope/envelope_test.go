package envelope

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestPack(t *testing.T) {
	const want = "53544c43" + "01" + "0c" + "000102030405060708090a0b" +
		"202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f"
	iv, ciphertext := sequence(0, 12), sequence(0x20, Ciphertext)
	blob, err := Pack(iv, ciphertext)
	if err != nil || hex.EncodeToString(blob) != want {
		t.Errorf("packed %x, %v, want %s", blob, err, want)
	}
	for n := range 20 {
		blob, err := Pack(sequence(0, n), ciphertext)
		if (err == nil) != (n >= MinIV && n <= MaxIV) {
			t.Errorf("IV of %d bytes: %v", n, err)
		}
		if err != nil {
			continue
		}
		gotIV, gotText, err := Unpack(blob)
		if err != nil || !bytes.Equal(gotIV, sequence(0, n)) || !bytes.Equal(gotText, ciphertext) {
			t.Errorf("unpacked %x, %x, %v", gotIV, gotText, err)
		}
	}
	if _, err := Pack(iv, ciphertext[1:]); err == nil {
		t.Error("packed a short ciphertext")
	}
}

func TestUnpackRefuses(t *testing.T) {
	blob, err := Pack(sequence(0, 12), sequence(0, Ciphertext))
	if err != nil {
		t.Fatal(err)
	}
	for n := range blob {
		if _, _, err := Unpack(blob[:n]); err == nil {
			t.Errorf("unpacked the first %d bytes", n)
		}
	}
	if _, _, err := Unpack(append(bytes.Clone(blob), 0)); err == nil {
		t.Error("unpacked a byte too many")
	}
	for i := range 6 { // magic, version, length
		bad := bytes.Clone(blob)
		bad[i] ^= 0x10
		if _, _, err := Unpack(bad); err == nil {
			t.Errorf("unpacked with byte %d changed", i)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	blob, _ := Pack(sequence(0, 16), sequence(0, Ciphertext))
	f.Add(blob)
	f.Add([]byte("STLC\x01"))
	f.Fuzz(func(t *testing.T, blob []byte) {
		iv, ciphertext, err := Unpack(blob)
		if err != nil {
			return
		}
		if again, err := Pack(iv, ciphertext); err != nil || !bytes.Equal(again, blob) {
			t.Errorf("packed again: %x, %v", again, err)
		}
	})
}

func sequence(first byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = first + byte(i)
	}
	return out
}
