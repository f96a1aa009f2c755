package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stelelog/stele/merkle"
)

// FuzzMarshal: whatever parts hold, they come back byte for byte.
func FuzzMarshal(f *testing.F) {
	for _, name := range fixtures() {
		_, parts, err := Parse(load(f, name))
		if err != nil {
			f.Fatal(err)
		}
		for _, p := range parts {
			f.Add(p.Kind, p.Data, p.Data[:len(p.Data)/2])
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, a, b []byte) {
		parts := []Part{{kind, a}, {kind, b}, {kind + 1, a}, {kind, nil}}
		file, err := Marshal([16]byte{kind}, parts)
		if err != nil {
			return
		}
		archive, back, err := Parse(file)
		if err != nil || archive != [16]byte{kind} || len(back) != len(parts) {
			t.Fatalf("%d parts came back: %v", len(back), err)
		}
		for i := range parts {
			if back[i].Kind != parts[i].Kind || !bytes.Equal(back[i].Data, parts[i].Data) {
				t.Errorf("part %d: %x became %x", i, parts[i].Data, back[i].Data)
			}
		}
	})
}

// Words stand once, in every way in which the formats write them.
func TestWordsStandOnce(t *testing.T) {
	word := bytes.Repeat([]byte{0x5a, 1}, wordLen/2)
	signature := append(append([]byte{1, 2, 3, 4}, word...), word...)
	text := strings.Join([]string{base64.StdEncoding.EncodeToString(word), hex.EncodeToString(word), `\n` + base64.StdEncoding.EncodeToString(word),
		"acme/root+" + string(keyText([]byte("acme/root+"), word)), base64.StdEncoding.EncodeToString(signature)}, `"`)
	words, ops := condense([]Part{{KindEntry, []byte(text)}, {KindRemoved, append([]byte{0, 1}, word...)}})
	if !bytes.Equal(words, word) || len(ops) > 72 {
		t.Errorf("%d words, %d bytes of operations: %q", len(words)/wordLen, len(ops), ops)
	}
	parts, err := expand(words, ops)
	if err != nil {
		t.Fatal(err)
	}
	if string(parts[0].Data) != text {
		t.Errorf("%q came back as %q", text, parts[0].Data)
	}
}

// A record of an archive of a quarter of a million takes no more than 2,560 bytes, cosignatures and what is disclosed aside.
// The benchmark of Prove says what it is; here the parts are those of such an archive.
func TestSize(t *testing.T) {
	_, parts, err := Parse(load(t, "bare.evidence"))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range parts {
		switch p.Kind {
		case KindRecord: // in a frame of a thousand records
			r, err := parseRecord(p.Data)
			if err != nil {
				t.Fatal(err)
			}
			for n := byte(0); len(r.path) < 10; n++ {
				r.path = append(r.path, merkle.Hash(sha256.Sum256([]byte{n})))
			}
			parts[i] = RecordPart(r.leafdata, r.signed, r.path)
		case KindLog:
			proof, err := parseProof(p.Data)
			if err != nil {
				t.Fatal(err)
			}
			text := string(p.Data)
			at := strings.Index(text, "\n\n") + 1
			for n := len(proof.Path); n < 19; n++ {
				text = text[:at] + merkle.Hash(sha256.Sum256([]byte{byte(100 + n)})).String() + "\n" + text[at:]
			}
			parts[i] = Part{KindLog, []byte(text)}
		}
	}
	file, err := Marshal([16]byte{1}, parts)
	if err != nil {
		t.Fatal(err)
	}
	if t.Logf("%d bytes", len(file)); len(file) > 2560 {
		t.Errorf("a record takes %d bytes", len(file))
	}
}
