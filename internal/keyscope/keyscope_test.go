package keyscope

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDaysAndWeeks(t *testing.T) {
	for _, test := range []struct {
		at        string
		day, week uint16
	}{
		{"1969-12-31T23:59:59Z", 0, 0},
		{"1970-01-01T00:00:00Z", 0, 0},
		{"1970-01-07T23:59:59Z", 6, 0},
		{"1970-01-08T00:00:00Z", 7, 1},
		{"1970-01-09T01:00:00+02:00", 7, 1},
		{"2026-11-22T17:00:00Z", 20779, 2968},
		{"2149-06-06T23:59:59Z", 65535, 9362},
		{"2200-01-01T00:00:00Z", 65535, 12000},
		{"9999-01-01T00:00:00Z", 65535, 65535},
	} {
		at, err := time.Parse(time.RFC3339, test.at)
		if err != nil {
			t.Fatal(err)
		}
		if d, w := Day(at), Week(at); d != test.day || w != test.week {
			t.Errorf("%s is day %d, week %d; want %d, %d", test.at, d, w, test.day, test.week)
		}
	}
	for _, n := range []uint16{0, 1, 20779, math.MaxUint16} {
		if Day(DayStart(n)) != n || Day(DayStart(n).Add(-1)) > n {
			t.Errorf("day %d starts at %v", n, DayStart(n))
		}
		if Week(WeekStart(n)) != n || WeekStart(n).Weekday() != time.Thursday {
			t.Errorf("week %d starts at %v", n, WeekStart(n))
		}
	}
}

// Scope ids sort by day.
func TestScopeID(t *testing.T) {
	a, b := ScopeID(255, [14]byte{0xff}), ScopeID(256, [14]byte{})
	if bytes.Compare(a[:], b[:]) >= 0 || ScopeDay(a) != 255 || ScopeDay(b) != 256 {
		t.Errorf("%x (day %d), %x (day %d)", a, ScopeDay(a), b, ScopeDay(b))
	}
}

func TestTags(t *testing.T) {
	pepper := &[32]byte{1}
	same := MakeTags(pepper, []byte("x"), []byte("x"), []byte("x"))
	if same.Tenant == same.Subject || same.Subject == same.Session || same.Tenant == same.Session {
		t.Error("kinds share tags")
	}
	if MakeTags(&[32]byte{2}, []byte("x"), nil, nil).Tenant == same.Tenant {
		t.Error("the pepper does not matter")
	}
	if MakeTags(pepper, nil, nil, nil) != (Tags{}) {
		t.Error("an empty value has a tag")
	}
}

func TestUnwrapRefuses(t *testing.T) {
	v := readVectors(t)
	read, intake := v.openWraps(t)
	inner, outer := [InnerSize]byte(v.Inner), [OuterSize]byte(v.Outer)
	refused := func(what string, read *ReadWrap, intake *IntakeWrap, b *Binding) {
		t.Helper()
		if key, err := read.Unwrap(&inner, b); !errors.Is(err, ErrUnwrap) || key != [32]byte{} {
			t.Errorf("%s: inner: %v", what, err)
		}
		if _, _, err := intake.Unwrap(&outer, b); !errors.Is(err, ErrUnwrap) {
			t.Errorf("%s: outer: %v", what, err)
		}
	}
	for what, change := range map[string]func(*Binding){
		"archive": func(b *Binding) { b.Archive[0]++ },
		"stream":  func(b *Binding) { b.Stream[0]++ },
		"scope":   func(b *Binding) { b.Scope[0]++ },
		"start":   func(b *Binding) { b.Start++ },
		"class":   func(b *Binding) { b.Class = "state" },
	} {
		b := v.binding()
		change(b)
		refused(what, read, intake, b)
	}
	rk, ik := privateKey(t, v.ReadSeed), privateKey(t, v.IntakeSeed)
	re, ie := &read.Encapsulation, &intake.Encapsulation
	flippedR, flippedI := *re, *ie
	flippedR[3] ^= 1
	flippedI[1119] ^= 1
	for what, w := range map[string]struct {
		read   *ReadWrap
		intake *IntakeWrap
	}{
		"keys swapped": {must(OpenReadWrap(ik, v.archive(), v.stream(), v.Day, re)), must(OpenIntakeWrap(rk, v.archive(), v.stream(), v.Week, ie))},
		"day, week":    {must(OpenReadWrap(rk, v.archive(), v.stream(), v.Day+1, re)), must(OpenIntakeWrap(ik, v.archive(), v.stream(), v.Week+1, ie))},
		"info archive": {must(OpenReadWrap(rk, v.stream(), v.stream(), v.Day, re)), must(OpenIntakeWrap(ik, v.stream(), v.stream(), v.Week, ie))},
		"info stream":  {must(OpenReadWrap(rk, v.archive(), v.archive(), v.Day, re)), must(OpenIntakeWrap(ik, v.archive(), v.archive(), v.Week, ie))},
		"flipped":      {must(OpenReadWrap(rk, v.archive(), v.stream(), v.Day, &flippedR)), must(OpenIntakeWrap(ik, v.archive(), v.stream(), v.Week, &flippedI))},
	} {
		refused(what, w.read, w.intake, v.binding())
	}
	for i := range inner {
		inner[i] ^= 4
		outer[2*i] ^= 4
		refused("changed bytes", read, intake, v.binding())
		inner[i] ^= 4
		outer[2*i] ^= 4
	}
}

// Two encapsulations to one key never give the same secret, so a wrap made anew wraps differently.
func TestEncapsulationsDiffer(t *testing.T) {
	v := readVectors(t)
	public := privateKey(t, v.ReadSeed).PublicKey()
	a := must(NewReadWrap(public, v.archive(), v.stream(), v.Day))
	b := must(NewReadWrap(public, v.archive(), v.stream(), v.Day))
	key := (*[32]byte)(v.Key)
	if a.ID == b.ID || a.Wrap(key, v.binding()) == b.Wrap(key, v.binding()) {
		t.Error("two encapsulations are one")
	}
	opened := must(OpenReadWrap(privateKey(t, v.ReadSeed), v.archive(), v.stream(), v.Day, &a.Encapsulation))
	if opened.Wrap(key, v.binding()) != a.Wrap(key, v.binding()) {
		t.Error("the two ends of an encapsulation differ")
	}
}

func parsers(v *vectors) map[string]struct {
	data  []byte
	parse func([]byte) error
} {
	return map[string]struct {
		data  []byte
		parse func([]byte) error
	}{
		"certificate": {v.Cert, func(b []byte) error { _, err := ParseCert(b); return err }},
		"grants":      {v.Grants, func(b []byte) error { _, err := ParseGrants(b); return err }},
		"session end": {v.SessionEnd, func(b []byte) error { _, err := ParseSessionEnd(b); return err }},
	}
}

// Every changed, missing or additional byte is refused.
func TestMessagesRefuseChanges(t *testing.T) {
	for name, m := range parsers(readVectors(t)) {
		if err := m.parse(m.data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range m.data {
			changed := bytes.Clone(m.data)
			changed[i] ^= 1 << (i % 8)
			if m.parse(changed) == nil {
				t.Errorf("%s: changed byte %d is taken", name, i)
			}
		}
		var format *FormatError
		for n := range m.data {
			if err := m.parse(m.data[:n]); !errors.As(err, &format) {
				t.Errorf("%s: cut at %d: %v", name, n, err)
			}
		}
		if err := m.parse(append(bytes.Clone(m.data), 0)); !errors.As(err, &format) {
			t.Errorf("%s: with a byte more: %v", name, err)
		}
	}
}

func TestUnknownVersion(t *testing.T) {
	for name, m := range parsers(readVectors(t)) {
		at := 4
		if name == "certificate" {
			at = 0
		}
		data := bytes.Clone(m.data)
		data[at] = 2
		err := m.parse(data)
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "version is unknown (this program reads 1): 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A signature for one purpose does not pass for another.
func TestContextsAreDistinct(t *testing.T) {
	v := readVectors(t)
	n := len(v.SessionEnd) - ed25519.SignatureSize
	forged := sign(slices.Clone(v.SessionEnd[:n]), grantsContext, v.streamKey())
	if _, err := ParseSessionEnd(forged); !errors.Is(err, ErrSignature) {
		t.Errorf("session end signed as grants: %v", err)
	}
	n = len(v.Cert) - ed25519.SignatureSize
	forged = sign(slices.Clone(v.Cert[:n]), "stele/frame/v1\n", v.serviceKey())
	if _, err := ParseCert(forged); !errors.Is(err, ErrSignature) {
		t.Errorf("certificate signed as frame: %v", err)
	}
	forged = sign(slices.Clone(v.Cert[:n]), certContext, v.streamKey())
	if _, err := ParseCert(forged); !errors.Is(err, ErrSignature) {
		t.Errorf("certificate signed by the stream: %v", err)
	}
}

// resign changes the body of the grant message and signs it again, as a hostile holder of a stream key can.
func (v *vectors) resign(change func([]byte) []byte) []byte {
	body := slices.Clone(v.Grants[:len(v.Grants)-ed25519.SignatureSize])
	return sign(change(body), grantsContext, v.streamKey())
}

// What is well signed and still breaks the format is refused too.
func TestGrantsRefuseHostileSigner(t *testing.T) {
	v := readVectors(t)
	count := 8 + 16 + 16 + 2 + len(v.Cert) + 2 + EncapsulationSize
	for name, change := range map[string]func([]byte) []byte{
		"archive": func(b []byte) []byte { b[8]++; return b },
		"stream":  func(b []byte) []byte { b[24]++; return b },
		"zero 5":  func(b []byte) []byte { b[5] = 1; return b },
		"zero 6":  func(b []byte) []byte { b[6] = 1; return b },
		"zero 7":  func(b []byte) []byte { b[7] = 1; return b },
		"magic":   func(b []byte) []byte { b[3] = 'E'; return b },
		"none":    func(b []byte) []byte { return append(b[:count], 0, 0) },
		"fewer":   func(b []byte) []byte { b[count] = 2; return b },
		"more":    func(b []byte) []byte { return append(b, 0) },
		"many": func(b []byte) []byte {
			one := b[count+2:]
			out := binary.LittleEndian.AppendUint16(slices.Clone(b[:count]), MaxGrants+1)
			return append(out, bytes.Repeat(one, MaxGrants+1)...)
		},
		"class":    func(b []byte) []byte { b[len(b)-1] = 'T'; return b },
		"no class": func(b []byte) []byte { b = b[:len(b)-len(v.Class)]; b[len(b)-1] = 0; return b },
	} {
		var format *FormatError
		if _, err := ParseGrants(v.resign(change)); !errors.As(err, &format) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	if _, err := ParseGrants(v.resign(func(b []byte) []byte { return b })); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

func TestCertRefusesHostileSigner(t *testing.T) {
	v := readVectors(t)
	body := v.Cert[:len(v.Cert)-ed25519.SignatureSize]
	durability := 1 + 16 + 4 + 16 + 32 + 32 + 8 + 4
	for name, change := range map[string]func([]byte){
		"durability 0": func(b []byte) { b[durability] = 0 },
		"durability 4": func(b []byte) { b[durability] = 4 },
		"no text":      func(b []byte) { b[len(b)-1] = 0xff },
	} {
		b := slices.Clone(body)
		change(b)
		var format *FormatError
		if _, err := ParseCert(sign(b, certContext, v.serviceKey())); !errors.As(err, &format) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	v := readVectors(t)
	m, _ := v.makeGrants(t, must(NewReadWrap(privateKey(t, v.ReadSeed).PublicKey(), v.archive(), v.stream(), 1)),
		must(NewIntakeWrap(privateKey(t, v.IntakeSeed).PublicKey(), v.archive(), v.stream(), 1)))
	if _, err := m.Sign(v.serviceKey()); err == nil {
		t.Error("grants are signed with a key that the certificate does not name")
	}
	if _, err := (&SessionEnd{Cert: m.Cert}).Sign(v.serviceKey()); err == nil {
		t.Error("session end is signed with a key that the certificate does not name")
	}
	unsigned := &Cert{StreamKey: m.Cert.StreamKey}
	if _, err := (&SessionEnd{Cert: unsigned}).Sign(v.streamKey()); err == nil {
		t.Error("session end goes out without a signed certificate")
	}
	g := m.Grants[0]
	m.Grants = slices.Repeat([]Grant{g}, MaxGrants)
	if data, err := m.Sign(v.streamKey()); err != nil || len(data) >= 400<<10 {
		t.Errorf("largest message has %d bytes, %v", len(data), err)
	}
	m.Grants = append(m.Grants, g)
	if _, err := m.Sign(v.streamKey()); err == nil {
		t.Error("too many grants are signed")
	}
	m.Grants = nil
	if _, err := m.Sign(v.streamKey()); err == nil {
		t.Error("a message without grants is signed")
	}
	g.Class = "No"
	m.Grants = []Grant{g}
	if _, err := m.Sign(v.streamKey()); err == nil {
		t.Error("a bad class name is signed")
	}
	for _, c := range []Cert{{}, {Durability: 4}, {Durability: Memory, Service: strings.Repeat("x", 256)}, {Durability: Memory, Software: "\xff"}} {
		if _, err := SignCert(c, v.serviceKey()); err == nil {
			t.Errorf("certificate %+v is signed", c)
		}
	}
}

func FuzzParseCert(f *testing.F) {
	v := readVectors(f)
	f.Add([]byte(v.Cert))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := ParseCert(data); err == nil && !bytes.Equal(append(c.body(), data[len(data)-64:]...), data) {
			t.Fatal("certificate has two encodings")
		}
	})
}

// FuzzParseGrants signs what it is given, so that the fuzzer gets past the signature.
func FuzzParseGrants(f *testing.F) {
	v := readVectors(f)
	f.Add([]byte(v.Grants[:len(v.Grants)-ed25519.SignatureSize]))
	f.Fuzz(func(t *testing.T, data []byte) {
		ParseGrants(data)
		m, err := ParseGrants(sign(slices.Clone(data), grantsContext, v.streamKey()))
		if err != nil {
			return
		}
		again, err := m.Sign(v.streamKey())
		if err != nil || !bytes.Equal(again[:len(data)], data) {
			t.Fatalf("message has two encodings (%v)", err)
		}
	})
}

func FuzzParseSessionEnd(f *testing.F) {
	v := readVectors(f)
	f.Add([]byte(v.SessionEnd[:len(v.SessionEnd)-ed25519.SignatureSize]))
	f.Fuzz(func(t *testing.T, data []byte) {
		ParseSessionEnd(data)
		m, err := ParseSessionEnd(sign(slices.Clone(data), sessionEndContext, v.streamKey()))
		if err != nil {
			return
		}
		again, err := m.Sign(v.streamKey())
		if err != nil || !bytes.Equal(again[:len(data)], data) {
			t.Fatalf("message has two encodings (%v)", err)
		}
	})
}
