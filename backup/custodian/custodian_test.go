package custodian

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestIdentity(t *testing.T) {
	id := Identity{Archive: [16]byte{0: 0xab, 15: 1}, Name: "hsm-1"}
	const want = "7374656c652f637573746f6469616e2f7631" + "ab000000000000000000000000000001" + "0807060504030201" + "05" + "68736d2d31"
	if got := hex.EncodeToString(id.AAD(0x0102030405060708)); got != want {
		t.Errorf("AAD %s, want %s", got, want)
	}
	if got := id.Label(math.MaxUint64); got != "stele-ab000000000000000000000000000001-hsm-1-18446744073709551615" {
		t.Errorf("label %s", got)
	}
	for _, name := range []string{"a", "a-b", "0", strings.Repeat("x", 32)} {
		if err := (Identity{Archive: id.Archive, Name: name}).Check(); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "-a", "a-", "A", "a b", "a/b", "a.b", "ä", "a\n", strings.Repeat("x", 33)} {
		if err := (Identity{Archive: id.Archive, Name: name}).Check(); err == nil {
			t.Errorf("took the name %q", name)
		}
	}
	if err := (Identity{Name: "a"}).Check(); err == nil {
		t.Error("took no archive")
	}
}

func TestErasure(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	all := []Class{Immediate, Delayed, BestEffort, Never}
	for _, test := range []struct {
		e    Erasure
		good bool
		from time.Time
	}{
		{Erasure{Class: Immediate}, true, at},
		{Erasure{Class: Immediate, Delay: time.Hour}, false, at},
		{Erasure{Class: Delayed, Delay: time.Hour}, true, at.Add(time.Hour)},
		{Erasure{Class: Delayed}, false, at},
		{Erasure{Class: Delayed, Delay: -time.Hour}, false, at.Add(-time.Hour)},
		{Erasure{Class: BestEffort}, true, time.Time{}},
		{Erasure{Class: Never}, true, time.Time{}},
		{Erasure{}, false, time.Time{}},
		{Erasure{Class: "a"}, false, time.Time{}},
	} {
		if err := test.e.Check(all...); (err == nil) != test.good {
			t.Errorf("%+v: %v", test.e, err)
		}
		if got := test.e.From(at); !got.Equal(test.from) {
			t.Errorf("%+v: irrecoverable from %v", test.e, got)
		}
		if !test.e.From(time.Time{}).IsZero() {
			t.Errorf("%+v: irrecoverable, and not destroyed", test.e)
		}
	}
	if err := (Erasure{Class: Immediate}).Check(Delayed, BestEffort); err == nil {
		t.Error("took a class that is not allowed")
	}
}

func TestAttestation(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600))
	a := Attestation{
		Identity: Identity{Archive: [16]byte{1}, Name: "vault"}, Kind: "vault", Generation: math.MaxUint64, State: Destroyed,
		Class: Delayed, Declared: true, Time: at, Destroyed: at, From: at.Add(time.Hour), Evidence: map[string]string{"b": "<2>", "a": "1"},
	}
	data, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"stele":"custodian/v1","custodian":"vault","kind":"vault","archive":"01000000000000000000000000000000",` +
		`"generation":18446744073709551615,"state":"destroyed","class":"B","declared":true,"time":"2026-01-02T02:04:05.0000006Z",` +
		`"destroyed":"2026-01-02T02:04:05.0000006Z","irrecoverable":"2026-01-02T03:04:05.0000006Z","evidence":{"a":"1","b":"<2>"}}`
	if string(data) != want {
		t.Errorf("statement\n%s, want\n%s", data, want)
	}
	got, err := ParseAttestation(data)
	if err != nil {
		t.Fatal(err)
	}
	a.Time, a.Destroyed, a.From = a.Time.UTC(), a.Destroyed.UTC(), a.From.UTC()
	if !reflect.DeepEqual(got, a) {
		t.Errorf("read back %+v, want %+v", got, a)
	}
	for _, bad := range []string{
		"", "{}", want[:len(want)-1], strings.Replace(want, "v1", "v2", 1), strings.Replace(want, `"destroyed",`, `"gone",`, 1),
		strings.Replace(want, "0100", "01", 1), strings.Replace(want, `"kind"`, `"kinds"`, 1), want[:1] + strings.Repeat(" ", MaxAttestation) + want[1:],
	} {
		if _, err := ParseAttestation([]byte(bad)); err == nil {
			t.Errorf("read %.80s", bad)
		}
	}
}

func TestAttestationOfALoudDevice(t *testing.T) {
	a := Attestation{Identity: Identity{Archive: [16]byte{1}, Name: "hsm"}, Evidence: map[string]string{
		"long": strings.Repeat("ü", 1000), "rude": "a\x00b\nc\xffd", "short": "x",
	}}
	keep := maps.Clone(a.Evidence)
	data, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseAttestation(data)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Evidence["long"]); n != 256 || got.Evidence["rude"] != "a?b?c?d" || got.Evidence["short"] != "x" {
		t.Errorf("%d bytes, %q", n, got.Evidence["rude"])
	}
	if !maps.Equal(a.Evidence, keep) {
		t.Error("the caller's evidence was changed")
	}
	for i := range 20 {
		a.Evidence[fmt.Sprint(i)] = strings.Repeat("x", 256)
	}
	if data, err := a.Marshal(); err == nil {
		t.Errorf("made a statement of %d bytes", len(data))
	}
}

func TestShareIsNotPrinted(t *testing.T) {
	s := Share{1, 2, 3}
	for _, format := range []string{"%v", "%s", "%+v", "%#v", "%x", "%d", "%q"} {
		if text := fmt.Sprintf(format, s); strings.Contains(text, "1 2 3") || strings.Contains(text, "010203") || strings.Contains(text, "0x1") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

func TestError(t *testing.T) {
	err := error(&Error{Custodian: "hsm", Op: "unwrap", Generation: 7, Err: fmt.Errorf("%w: why", ErrBlob)})
	if !errors.Is(err, ErrBlob) || err.Error() != "custodian hsm: unwrap generation 7: the blob does not open under this generation's key: why" {
		t.Error(err)
	}
	if err := (&Error{Custodian: "hsm", Op: "open", Err: ErrUnavailable}); err.Error() != "custodian hsm: open: the custodian is not available" {
		t.Error(err)
	}
}

func TestClassesSayWhatTheyMean(t *testing.T) {
	for _, c := range []Class{Immediate, Delayed, BestEffort, Never} {
		if text := c.String(); !strings.HasPrefix(text, string(c)+" (") {
			t.Errorf("class %q prints %q", string(c), text)
		}
	}
}

func FuzzParseAttestation(f *testing.F) {
	data, err := Attestation{Identity: Identity{Archive: [16]byte{1}, Name: "a"}, Kind: "file", Evidence: map[string]string{"a": "b"}}.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"stele":"custodian/v1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAttestation(data)
		if err != nil {
			return
		}
		out, err := a.Marshal()
		if err != nil {
			return // longer than it was: escapes, times
		}
		again, err := ParseAttestation(out)
		if err != nil || again.Identity != a.Identity || again.State != a.State || again.Class != a.Class || !again.Time.Equal(a.Time) {
			t.Errorf("read %+v, wrote it, and read %+v, %v", a, again, err)
		}
	})
}
