package keyscope

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// breach is a change of a message that is signed again, and what is said against it: nothing if it is still one.
type breach struct {
	name   string
	change func(b []byte) []byte
	says   string
}

// try tries breaches on the signed part of a message.
func try(t *testing.T, data []byte, context string, key ed25519.PrivateKey, parse func([]byte) error, breaches []breach) {
	t.Helper()
	for _, x := range append(breaches, breach{"as it is", func(b []byte) []byte { return b }, ""}) {
		body := x.change(slices.Clone(data[:len(data)-ed25519.SignatureSize]))
		err := parse(sign(body, context, key))
		switch {
		case x.says == "" && err != nil:
			t.Errorf("%s: refused: %v", x.name, err)
		case x.says != "" && err == nil:
			t.Errorf("%s: accepted", x.name)
		case x.says != "" && !strings.Contains(err.Error(), x.says):
			t.Errorf("%s: refused for another reason: %v", x.name, err)
		}
	}
}

func set(at int, c byte) func([]byte) []byte {
	return func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] = c
		return b
	}
}

// cut leaves n bytes, and as many as a signature has are taken for one.
func cut(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }

// TestCertRules: what is refused of a certificate that the service has signed, and at which byte.
func TestCertRules(t *testing.T) {
	v := readVectors(t)
	const durability = 1 + 16 + 4 + 16 + 32 + 32 + 8 + 4
	const names = durability + 1 + 16 + 8 + 32
	try(t, v.Cert, certContext, v.serviceKey(), func(b []byte) error { _, err := ParseCert(b); return err }, []breach{
		{"version 0", set(0, 0), "byte 0: " + ErrVersion.Error() + ": 0"},
		{"version 2", set(0, 2), "byte 0: " + ErrVersion.Error() + ": 2"},
		{"durability 0", set(durability, 0), "byte 113: no such durability: 0"},
		{"in memory", set(durability, byte(Memory)), ""},
		{"acknowledged", set(durability, byte(Acked)), ""},
		{"durability 4", set(durability, 4), "byte 113: no such durability: 4"},
		{"a service that is no text", set(names+1, 0xff), "byte 170: text is not UTF-8"},
		{"a software that is no text", set(-1, 0xff), "byte 175: text is not UTF-8"},
		{"more", func(b []byte) []byte { return append(b, 0) }, "byte 252: bytes after the end"},
		{"less", func(b []byte) []byte { return b[:len(b)-1] }, "ends inside an item"},
		{"another service key", func(b []byte) []byte { b[69]++; return b }, ErrSignature.Error()},
	})
	long := strings.Repeat("x", 255)
	for _, c := range []Cert{{Durability: Memory, Service: long, Software: long}, {Durability: Acked}} {
		cert, err := SignCert(c, v.serviceKey())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseCert(cert.Bytes()); err != nil || again.Service != c.Service || again.Durability != c.Durability {
			t.Errorf("%+v, %v", again, err)
		}
	}
}

// TestGrantsRules: what is refused of a grant message that the stream has signed, and at which byte.
func TestGrantsRules(t *testing.T) {
	v := readVectors(t)
	at := 8 + 16 + 16 + 2 // the certificate
	count := at + len(v.Cert) + 2 + EncapsulationSize
	one := v.Grants[count+2 : len(v.Grants)-ed25519.SignatureSize]
	grants := func(says int, have int) func([]byte) []byte {
		return func(b []byte) []byte {
			return append(binary.LittleEndian.AppendUint16(b[:count], uint16(says)), bytes.Repeat(one, have)...)
		}
	}
	class := len(one) - 1 - len(v.Class) // of its length in a grant
	parse := func(b []byte) error {
		m, err := ParseGrants(b)
		if err == nil && len(m.Grants) != int(binary.LittleEndian.Uint16(b[count:])) {
			t.Errorf("%d grants", len(m.Grants))
		}
		return err
	}
	certificate := "byte 8: "
	try(t, v.Grants, grantsContext, v.streamKey(), parse, []breach{
		{"of a session end", set(3, 'E'), `byte 0: does not start with "STLG"`},
		{"version 2", set(4, 2), "byte 4: " + ErrVersion.Error()},
		{"byte 5", set(5, 1), "byte 5: bytes that must be zero are not"},
		{"byte 6", set(6, 1), "byte 5: bytes that must be zero are not"},
		{"byte 7", set(7, 1), "byte 5: bytes that must be zero are not"},
		{"another archive", set(8, 0), certificate + "archive or stream is not the one in the certificate"},
		{"another stream", set(24, 0), certificate + "archive or stream is not the one in the certificate"},
		{"no certificate", set(at, 0), certificate},
		{"another certificate", set(at+30, 0xee), certificate + "stream certificate: " + ErrSignature.Error()},
		{"cut in the certificate", cut(at + 40), "ends inside an item"},
		{"no grants", grants(0, 0), "0 grants in a message, 1 to 2048 may be"},
		{"two", grants(2, 2), ""},
		{"as many as can be", grants(MaxGrants, MaxGrants), ""},
		{"one more", grants(MaxGrants+1, MaxGrants+1), "2049 grants in a message"},
		{"fewer than it says", grants(3, 2), "ends inside an item"},
		{"more than it says", grants(1, 2), "bytes after the end"},
		{"no class", func(b []byte) []byte { return append(append(b[:count+2], one[:class]...), 0) }, `"" is no class name`},
		{"another class", set(-1, 'T'), "is no class name"},
		{"a class that is no text", set(-1, 0xff), "text is not UTF-8"},
	})
	if _, err := ParseGrants(sign(slices.Clone(v.Grants[:len(v.Grants)-ed25519.SignatureSize]), grantsContext, v.serviceKey())); !errors.Is(err, ErrSignature) {
		t.Errorf("signed by the service: %v", err)
	}
}

// TestSessionEndRules: the same for a session end.
func TestSessionEndRules(t *testing.T) {
	v := readVectors(t)
	try(t, v.SessionEnd, sessionEndContext, v.streamKey(), func(b []byte) error { _, err := ParseSessionEnd(b); return err }, []breach{
		{"of grants", set(3, 'G'), `does not start with "STLE"`},
		{"another archive", set(8, 0), "archive or stream is not the one in the certificate"},
		{"another stream", set(24, 0), "archive or stream is not the one in the certificate"},
		{"a byte less", func(b []byte) []byte { return b[:len(b)-1] }, "ends inside an item"},
		{"a byte more", func(b []byte) []byte { return append(b, 0) }, "bytes after the end"},
	})
}

// TestKeyOfAnotherKind: only the kind of key whose encapsulation fits is wrapped to.
func TestKeyOfAnotherKind(t *testing.T) {
	key, err := hpke.DHKEM(ecdh.X25519()).GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewReadWrap(key.PublicKey(), [16]byte{}, [16]byte{}, 1); err == nil || !strings.Contains(err.Error(), "32 bytes: key of another kind") {
		t.Error(err)
	}
}

// TestMakeGrantRules: a grant has a class.
func TestMakeGrantRules(t *testing.T) {
	v := readVectors(t)
	read, intake := v.openWraps(t)
	tags := v.tags()
	for class, fine := range map[string]bool{"default": true, "No": false, "": false} {
		b := v.binding()
		b.Class = class
		if _, _, err := MakeGrant((*[32]byte)(v.Key), &tags, b, read, intake); (err == nil) != fine {
			t.Errorf("class %q: %v", class, err)
		}
	}
}

// TestIDRules: days, weeks, the bytes of a scope id, and what can be a class name.
func TestIDRules(t *testing.T) {
	long := time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)
	if d, w := Day(long), Week(long); d != 0 || w != 0 {
		t.Errorf("day %d, week %d", d, w)
	}
	id := ScopeID(0x0102, [14]byte{3, 13: 4})
	if want := [16]byte{1, 2, 3, 15: 4}; id != want {
		t.Errorf("%x, want %x", id, want)
	}
	for name, fine := range map[string]bool{
		"a": true, "z": true, "0": true, "9": true, "-": true, "a-z": true, strings.Repeat("x", 32): true,
		"": false, strings.Repeat("x", 33): false,
		"`": false, "{": false, "/": false, ":": false, ",": false, ".": false, "A": false, "Z": false, "aé": false, "a b": false,
	} {
		if validClass(name) != fine {
			t.Errorf("%q is a class name: %v", name, !fine)
		}
	}
}

// TestQuarantineRules: a message that was set aside is whole, and the one that the list names.
func TestQuarantineRules(t *testing.T) {
	v := readVectors(t)
	key := privateKey(t, v.ReadSeed)
	sum := sha256.Sum256([]byte("one"))
	enc, aead, err := encapsulate(key.PublicKey(), quarantineInfo(v.archive(), sum), quarantineLabel)
	if err != nil {
		t.Fatal(err)
	}
	open := func(sealed []byte, says string) {
		t.Helper()
		if _, err := OpenQuarantine(key, v.archive(), sum, sealed); !errors.Is(err, ErrUnwrap) || !strings.Contains(err.Error(), says) {
			t.Errorf("refused for another reason: %v", err)
		}
	}
	open(aead.Seal(slices.Clone(enc[:]), zeroNonce[:], []byte("two"), nil), "quarantined message has another SHA-256")
	open(enc[:EncapsulationSize-1], "quarantined message of 1119 bytes")
	open(enc[:], "quarantined message: cipher")
}

// TestSelectorRules: what is refused of a selection, sealed by whoever has the public key.
func TestSelectorRules(t *testing.T) {
	v := readVectors(t)
	key, archive := privateKey(t, v.IntakeSeed), v.archive()
	seal := func(plain []byte) []byte {
		head := binary.LittleEndian.AppendUint16(append(appendHead(nil, selectorMagic), archive[:]...), 7)
		enc, aead, err := encapsulate(key.PublicKey(), append([]byte(selectorLabel), head[8:]...), selectorLabel)
		if err != nil {
			t.Fatal(err)
		}
		head = append(head, enc[:]...)
		return aead.Seal(head, zeroNonce[:], plain, head)
	}
	good := must(SealSelector(key.PublicKey(), archive, 7, []byte("ann")))
	other := must(SealSelector(key.PublicKey(), v.stream(), 7, []byte("ann")))
	altered := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	none, mangled, sealed := "no sealed selection that this version can read", "cut, or of another archive", "sealed selection: cipher"
	for _, x := range []struct {
		name   string
		sealed []byte
		want   string
		says   string
	}{
		{"as it is", good, "ann", ""},
		{"nothing in it", seal([]byte{0, 0, 0, 0}), "", ""},
		{"no padding", seal([]byte{3, 0, 0, 0, 'a', 'n', 'n'}), "ann", ""},
		{"padding", seal([]byte{2, 0, 0, 0, 'a', 'n', 0}), "an", ""},
		{"longer than it is", seal([]byte{4, 0, 0, 0, 'a', 'n', 'n'}), "", "sealed selection of 4 bytes in 7"},
		{"far longer", seal([]byte{0xff, 0xff, 0xff, 0xff, 'a'}), "", "sealed selection of 4294967295 bytes in 5"},
		{"no length", seal([]byte{0, 0, 0}), "", "sealed selection without a length"},
		{"empty", seal(nil), "", "sealed selection without a length"},
		{"another magic", altered(3), "", none},
		{"another version", altered(4), "", none},
		{"a reserved byte", altered(7), "", none},
		{"of another archive", other, "", mangled},
		{"another week", altered(24), "", sealed},
		{"another encapsulation", altered(1145), "", sealed},
		{"other bytes", altered(1146), "", sealed},
		{"cut in the head", good[:selectorHead-1], "", none},
		{"cut behind the head", good[:selectorHead], "", mangled},
		{"cut in the encapsulation", good[:selectorHead+EncapsulationSize-1], "", mangled},
		{"cut behind it", good[:selectorHead+EncapsulationSize], "", sealed},
	} {
		got, err := OpenSelector(key, archive, x.sealed)
		switch {
		case x.says == "" && (err != nil || string(got) != x.want):
			t.Errorf("%s: %q, %v", x.name, got, err)
		case x.says != "" && (!errors.Is(err, ErrUnwrap) || !strings.Contains(err.Error(), x.says) || strings.Contains(err.Error(), "%!")):
			t.Errorf("%s: %q, refused for another reason: %v", x.name, got, err)
		}
	}
	if week, err := SelectorWeek(good[:selectorHead]); err != nil || week != 7 {
		t.Errorf("week %d, %v", week, err)
	}
	for n, size := range map[int]int{0: 512, 508: 512, 509: 1024, maxSelector: maxSelector + 512} {
		line := bytes.Repeat([]byte("u"), n)
		b, err := SealSelector(key.PublicKey(), archive, 7, line)
		if err != nil || len(b) != selectorHead+EncapsulationSize+size+16 {
			t.Fatalf("%d bytes become %d: %v", n, len(b), err)
		}
		if got, err := OpenSelector(key, archive, b); err != nil || !bytes.Equal(got, line) {
			t.Errorf("%d bytes come back as %d: %v", n, len(got), err)
		}
	}
	if _, err := SealSelector(key.PublicKey(), archive, 7, make([]byte, maxSelector+1)); err == nil || !strings.Contains(err.Error(), "selection of 1048577 bytes, at most 1048576") {
		t.Errorf("too long: %v", err)
	}
}
