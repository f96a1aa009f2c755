package cosign

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

func witnessKey(name string, seed byte) (ed25519.PrivateKey, string) {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), 32)))
	public := append([]byte{4}, key.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256([]byte(name + "\n" + string(public)))
	return key, fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(public))
}

func cosignature(key ed25519.PrivateKey, vkey, text string, at uint64) string {
	sig := binary.BigEndian.AppendUint64(nil, at)
	sig = append(sig, ed25519.Sign(key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))...)
	v, _ := NewVerifier(vkey)
	return fmt.Sprintf("— %s %s\n", v.Name(), base64.StdEncoding.EncodeToString(append(binary.BigEndian.AppendUint32(nil, v.KeyHash()), sig...)))
}

func TestPolicy(t *testing.T) {
	_, a := witnessKey("a.example", 0)
	_, b := witnessKey("b.example", 1)
	_, c := witnessKey("c.example", 2)
	all := []string{"witness A " + a + " https://a.example/w/", "witness B " + b, "witness C " + c, "group two 2 A B C"}
	with := func(lines ...string) []string { return append(append([]string{}, all...), lines...) }
	for _, c := range []struct {
		lines []string
		has   string
		met   bool
	}{
		{nil, "", true},
		{[]string{"quorum none"}, "", true},
		{with("quorum none"), "", true},
		{with("quorum A"), "A", true},
		{with("quorum A"), "BC", false},
		{with("quorum two"), "A", false},
		{with("quorum two"), "AC", true},
		{with("group any any two", "quorum any"), "AB", true},
		{[]string{all[0], all[1], all[2], "group ab all A B", "group top any ab C", "quorum top"}, "A", false},
		{[]string{all[0], all[1], all[2], "group ab all A B", "group top any ab C", "quorum top"}, "C", true},
	} {
		p, err := Parse(c.lines)
		if err != nil {
			t.Errorf("%q: %v", c.lines, err)
			continue
		}
		if met := p.Met(func(w string) bool { return strings.Contains(c.has, w) }); met != c.met {
			t.Errorf("%q with %q: %v", c.lines[max(0, len(c.lines)-2):], c.has, met)
		}
	}
	p, err := Parse(with("quorum two"))
	if err != nil || p.Witnesses[0].URL != "https://a.example/w" || !p.Wants() {
		t.Fatalf("%+v, %v", p, err)
	}
	sizes := map[string]uint64{"A": 10, "B": 7, "C": 3}
	if n := p.Reached(func(w string) uint64 { return sizes[w] }); n != 7 {
		t.Errorf("two of 10, 7 and 3 reach %d", n)
	}
	for _, bad := range [][]string{
		all, with("quorum four"), with("quorum two", "quorum two"), {"witness A"}, {"witness none " + a, "quorum none"}, {all[0], all[0], "quorum A"},
		{all[0], "witness B " + a, "quorum A"}, {"witness A " + a + " ftp://a", "quorum A"}, {"witness A " + a + " https://u:p@a", "quorum A"},
		{all[0], "group g 2 A", "quorum g"}, {all[0], "group g 0 A", "quorum g"}, {all[0], "group g any B", "quorum g"}, {"group g any g", "quorum g"},
		with("group other any A", "quorum other"), {"log x"}, {""}, {"quorum"},
	} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("accepted: %q", bad)
		}
	}
}

func TestCosignatures(t *testing.T) {
	const text = "log.example\n7\nSuGRk59UjZk0dAuI3qLFy4m7iHD8RQXNed7Gu/qu6cs=\n"
	keyA, a := witnessKey("a.example", 0)
	keyB, b := witnessKey("b.example", 1)
	p, err := Parse([]string{"witness A " + a, "quorum A"})
	if err != nil {
		t.Fatal(err)
	}
	lineA, lineB := cosignature(keyA, a, text, 1700000000), cosignature(keyB, b, text, 1)
	got, err := p.Read([]byte(text + "\n" + lineB + lineA))
	if err != nil || len(got) != 1 || got[0].Witness != "A" || !got[0].Time.Equal(time.Unix(1700000000, 0)) || got[0].Line != lineA {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := p.Read([]byte(text + "\n" + lineB)); err != nil || len(got) != 0 {
		t.Errorf("a stranger's: %+v, %v", got, err)
	}
	for name, file := range map[string]string{
		"another head":  strings.Replace(text, "7", "8", 1) + "\n" + lineA,
		"another time":  text + "\n" + cosignature(keyA, a, text, 2)[:30] + lineA[30:],
		"another key's": text + "\n" + cosignature(keyB, a, text, 1),
		"no note":       text,
	} {
		if got, err := p.Read([]byte(file)); err == nil && len(got) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, bad := range []string{"", "a", "a+b+c", strings.Replace(a, "a.example", "b.example", 1), "log.example+d85f6874+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"} {
		if _, err := NewVerifier(bad); err == nil {
			t.Errorf("key %q is accepted", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	_, a := witnessKey("a.example", 0)
	_, b := witnessKey("b.example", 1)
	f.Add("witness A " + a + " https://a.example\nwitness B " + b + "\ngroup both all A B\nquorum both")
	f.Add("quorum none")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(strings.Split(text, "\n"))
		if err != nil {
			return
		}
		if p.Wants() && p.Met(func(string) bool { return false }) {
			t.Errorf("nobody is enough for %q", text)
		}
		if !p.Met(func(string) bool { return true }) {
			t.Errorf("everybody is not enough for %q", text)
		}
	})
}

func FuzzRead(f *testing.F) {
	const text = "log.example\n7\nSuGRk59UjZk0dAuI3qLFy4m7iHD8RQXNed7Gu/qu6cs=\n"
	key, a := witnessKey("a.example", 0)
	p, err := Parse([]string{"witness A " + a, "quorum A"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(text + "\n" + cosignature(key, a, text, 1700000000)))
	f.Fuzz(func(t *testing.T, file []byte) {
		if got, err := p.Read(file); err == nil && len(got) > 0 && !strings.HasPrefix(string(file), text+"\n") {
			t.Errorf("a cosignature on another text: %q", file)
		}
	})
}
