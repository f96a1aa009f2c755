package keyscope

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"time"
)

// Encapsulations are random, so the vectors are what was once made; tests open them and make again what follows from them.
// A second implementation in another language, written from the format pages, agreed with every value of the file.
var update = flag.Bool("update", false, "make testdata/v1.json anew; only for a new version of a format")

const vectorFile = "testdata/v1.json"

// hexBytes is a byte string that stands as hex digits in a vector file.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

type vectors struct {
	// Seeds and public keys of the read, intake and reader keys; Ed25519 seeds of the service and the stream.
	ReadSeed, IntakeSeed, ReaderSeed       hexBytes
	ReadPublic, IntakePublic, ReaderPublic hexBytes
	ServiceSeed, StreamSeed                hexBytes

	Pepper                             hexBytes
	Tenant, Subject, Session           string
	TenantTag, SubjectTag, SessionTag  hexBytes
	Archive, Stream, Scope, Key        hexBytes
	Start                              int64
	Class                              string
	Day, Week, Year                    uint16
	ReadEncapsulation, EncapsulationID hexBytes
	IntakeEncapsulation                hexBytes
	Inner, Outer, KeyCheck, GrantHash  hexBytes

	Cert, Grants, SessionEnd       hexBytes
	ReaderEncapsulation, SealedKey hexBytes
	Quarantined, QuarantineSealed  hexBytes
}

func readVectors(t testing.TB) *vectors {
	t.Helper()
	data, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	v := new(vectors)
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
	return v
}

func counted(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func privateKey(t testing.TB, seed []byte) hpke.PrivateKey {
	t.Helper()
	key, err := KEM().NewPrivateKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (v *vectors) archive() [16]byte { return [16]byte(v.Archive) }
func (v *vectors) stream() [16]byte  { return [16]byte(v.Stream) }

func (v *vectors) binding() *Binding {
	return &Binding{v.archive(), v.stream(), [16]byte(v.Scope), v.Start, v.Class}
}

func (v *vectors) tags() Tags {
	return MakeTags((*[32]byte)(v.Pepper), []byte(v.Tenant), []byte(v.Subject), []byte(v.Session))
}

func (v *vectors) serviceKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(v.ServiceSeed) }
func (v *vectors) streamKey() ed25519.PrivateKey  { return ed25519.NewKeyFromSeed(v.StreamSeed) }

func (v *vectors) makeCert(t testing.TB) *Cert {
	t.Helper()
	cert, err := SignCert(Cert{
		Archive:    v.archive(),
		Partition:  2,
		Stream:     v.stream(),
		StreamKey:  [32]byte(v.streamKey().Public().(ed25519.PublicKey)),
		Time:       v.Start,
		BeatEvery:  10_000,
		Durability: Spooled,
		Prev:       Link{Stream: [16]byte(counted(0x70, 16)), Seq: 41, Head: [32]byte(counted(0x90, 32))},
		Service:    "chat",
		Software:   "stele-test/1",
	}, v.serviceKey())
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// openWraps opens both wraps from the stored encapsulations.
func (v *vectors) openWraps(t testing.TB) (*ReadWrap, *IntakeWrap) {
	t.Helper()
	read, err := OpenReadWrap(privateKey(t, v.ReadSeed), v.archive(), v.stream(), v.Day, (*[EncapsulationSize]byte)(v.ReadEncapsulation))
	if err != nil {
		t.Fatal(err)
	}
	intake, err := OpenIntakeWrap(privateKey(t, v.IntakeSeed), v.archive(), v.stream(), v.Week, (*[EncapsulationSize]byte)(v.IntakeEncapsulation))
	if err != nil {
		t.Fatal(err)
	}
	return read, intake
}

// makeGrants makes the grant message with one grant of the vectors.
func (v *vectors) makeGrants(t testing.TB, read *ReadWrap, intake *IntakeWrap) (*Grants, [32]byte) {
	t.Helper()
	tags := v.tags()
	g, check, err := MakeGrant((*[32]byte)(v.Key), &tags, v.binding(), read, intake)
	if err != nil {
		t.Fatal(err)
	}
	return &Grants{Cert: v.makeCert(t), Week: intake.Week, Intake: intake.Encapsulation, Grants: []Grant{g}}, check
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestUpdateVectors(t *testing.T) {
	if !*update {
		return
	}
	start := time.Date(2026, 11, 22, 17, 0, 0, 123456789, time.UTC)
	v := &vectors{
		ReadSeed: counted(1, 32), IntakeSeed: counted(2, 32), ReaderSeed: counted(3, 32),
		ServiceSeed: counted(4, 32), StreamSeed: counted(5, 32), Pepper: counted(6, 32),
		Tenant: "acme", Subject: "alice@example.org", Archive: counted(0xa0, 16), Stream: counted(0x50, 16),
		Key: counted(0, 32), Start: start.UnixNano(), Class: "default", Day: Day(start), Week: Week(start), Year: 2026,
		Quarantined: []byte("no frame at all"),
	}
	scope := ScopeID(v.Day, [14]byte(counted(0xc0, 14)))
	v.Scope = scope[:]
	read, intake, reader := privateKey(t, v.ReadSeed), privateKey(t, v.IntakeSeed), privateKey(t, v.ReaderSeed)
	v.ReadPublic, v.IntakePublic, v.ReaderPublic = read.PublicKey().Bytes(), intake.PublicKey().Bytes(), reader.PublicKey().Bytes()
	tags := v.tags()
	v.TenantTag, v.SubjectTag, v.SessionTag = tags.Tenant[:], tags.Subject[:], tags.Session[:]
	r := must(NewReadWrap(read.PublicKey(), v.archive(), v.stream(), v.Day))
	i := must(NewIntakeWrap(intake.PublicKey(), v.archive(), v.stream(), v.Week))
	v.ReadEncapsulation, v.EncapsulationID, v.IntakeEncapsulation = r.Encapsulation[:], r.ID[:], i.Encapsulation[:]
	inner := r.Wrap((*[32]byte)(v.Key), v.binding())
	outer := i.Wrap(&inner, &tags, v.binding())
	v.Inner, v.Outer = inner[:], outer[:]
	m, check := v.makeGrants(t, r, i)
	hash := m.Grants[0].Hash()
	v.KeyCheck, v.GrantHash, v.Cert = check[:], hash[:], m.Cert.Bytes()
	v.Grants = must(m.Sign(v.streamKey()))
	v.SessionEnd = must((&SessionEnd{Cert: m.Cert, Time: v.Start, Tags: tags}).Sign(v.streamKey()))
	sealed := must(SealReadKey(reader.PublicKey(), v.archive(), v.Year, (*[32]byte)(v.ReadSeed)))
	v.ReaderEncapsulation, v.SealedKey = sealed.Encapsulation[:], sealed.Sealed[:]
	v.QuarantineSealed = must(SealQuarantine(read.PublicKey(), v.archive(), v.Quarantined))
	data := append(must(json.MarshalIndent(v, "", " ")), '\n')
	if err := os.WriteFile(vectorFile, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is %x, want %x", what, got, want)
	}
}

func TestVectorKeys(t *testing.T) {
	v := readVectors(t)
	for _, k := range []struct{ seed, public hexBytes }{
		{v.ReadSeed, v.ReadPublic}, {v.IntakeSeed, v.IntakePublic}, {v.ReaderSeed, v.ReaderPublic},
	} {
		key := privateKey(t, k.seed)
		equal(t, "public key", key.PublicKey().Bytes(), k.public)
		seed, err := key.Bytes()
		if err != nil || len(k.public) != 1216 {
			t.Errorf("public key of %d bytes, %v", len(k.public), err)
		}
		equal(t, "bytes of the private key", seed, k.seed)
	}
}

func TestVectorWraps(t *testing.T) {
	v := readVectors(t)
	read, intake := v.openWraps(t)
	equal(t, "encapsulation id", read.ID[:], v.EncapsulationID)
	inner := read.Wrap((*[32]byte)(v.Key), v.binding())
	equal(t, "inner", inner[:], v.Inner)
	tags := v.tags()
	equal(t, "tenant tag", tags.Tenant[:], v.TenantTag)
	equal(t, "subject tag", tags.Subject[:], v.SubjectTag)
	equal(t, "session tag", tags.Session[:], v.SessionTag)
	outer := intake.Wrap(&inner, &tags, v.binding())
	equal(t, "outer", outer[:], v.Outer)
	check := KeyCheck([16]byte(v.Scope), read.ID, &inner)
	equal(t, "key check value", check[:], v.KeyCheck)

	gotInner, gotTags, err := intake.Unwrap((*[OuterSize]byte)(v.Outer), v.binding())
	if err != nil || gotTags != tags || gotInner != inner {
		t.Errorf("outer unwraps to %x %v, %v", gotInner, gotTags, err)
	}
	key, err := read.Unwrap((*[InnerSize]byte)(v.Inner), v.binding())
	if err != nil {
		t.Error(err)
	}
	equal(t, "scope key", key[:], v.Key)
}

func TestVectorMessages(t *testing.T) {
	v := readVectors(t)
	read, intake := v.openWraps(t)
	m, check := v.makeGrants(t, read, intake)
	equal(t, "certificate", m.Cert.Bytes(), v.Cert)
	equal(t, "key check value", check[:], v.KeyCheck)
	hash := m.Grants[0].Hash()
	equal(t, "grant hash", hash[:], v.GrantHash)
	equal(t, "grant message", must(m.Sign(v.streamKey())), v.Grants)
	end := &SessionEnd{Cert: m.Cert, Time: v.Start, Tags: v.tags()}
	equal(t, "session end", must(end.Sign(v.streamKey())), v.SessionEnd)

	got, err := ParseGrants(v.Grants)
	if err != nil {
		t.Fatal(err)
	}
	if got.Week != v.Week || len(got.Grants) != 1 || got.Grants[0] != m.Grants[0] || got.Binding(0) != *v.binding() {
		t.Errorf("grant message is read as %+v", got)
	}
	equal(t, "intake encapsulation", got.Intake[:], v.IntakeEncapsulation)
	equal(t, "certificate in the message", got.Cert.Bytes(), v.Cert)
	back, err := ParseSessionEnd(v.SessionEnd)
	if err != nil || back.Time != v.Start || back.Tags != end.Tags {
		t.Errorf("session end is read as %+v, %v", back, err)
	}
}

func TestVectorReadKey(t *testing.T) {
	v := readVectors(t)
	s := &SealedReadKey{[EncapsulationSize]byte(v.ReaderEncapsulation), [SeedSize + 16]byte(v.SealedKey)}
	reader := privateKey(t, v.ReaderSeed)
	seed, err := s.Open(reader, v.archive(), v.Year)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "seed of the read key", seed[:], v.ReadSeed)
	for what, open := range map[string]func() ([32]byte, error){
		"year":    func() ([32]byte, error) { return s.Open(reader, v.archive(), v.Year+1) },
		"archive": func() ([32]byte, error) { return s.Open(reader, v.stream(), v.Year) },
		"reader":  func() ([32]byte, error) { return s.Open(privateKey(t, v.ReadSeed), v.archive(), v.Year) },
		"bytes":   func() ([32]byte, error) { c := *s; c.Sealed[5] ^= 1; return c.Open(reader, v.archive(), v.Year) },
		"encapsulation": func() ([32]byte, error) {
			c := *s
			c.Encapsulation[1119] ^= 1
			return c.Open(reader, v.archive(), v.Year)
		},
	} {
		if seed, err := open(); !errors.Is(err, ErrUnwrap) || seed != [32]byte{} {
			t.Errorf("other %s: error is %v", what, err)
		}
	}
}

func TestVectorQuarantine(t *testing.T) {
	v := readVectors(t)
	key, sum := privateKey(t, v.ReadSeed), sha256.Sum256(v.Quarantined)
	got, err := OpenQuarantine(key, v.archive(), sum, v.QuarantineSealed)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "quarantined message", got, v.Quarantined)
	again := must(SealQuarantine(key.PublicKey(), v.archive(), nil))
	if got, err := OpenQuarantine(key, v.archive(), sha256.Sum256(nil), again); err != nil || len(got) != 0 {
		t.Errorf("empty message: %x, %v", got, err)
	}
	flipped := bytes.Clone(v.QuarantineSealed)
	flipped[1130] ^= 1
	for what, open := range map[string]func() ([]byte, error){
		"hash":    func() ([]byte, error) { return OpenQuarantine(key, v.archive(), [32]byte{}, v.QuarantineSealed) },
		"archive": func() ([]byte, error) { return OpenQuarantine(key, v.stream(), sum, v.QuarantineSealed) },
		"bytes":   func() ([]byte, error) { return OpenQuarantine(key, v.archive(), sum, flipped) },
		"length":  func() ([]byte, error) { return OpenQuarantine(key, v.archive(), sum, flipped[:1119]) },
	} {
		if _, err := open(); !errors.Is(err, ErrUnwrap) {
			t.Errorf("other %s: error is %v", what, err)
		}
	}
}
