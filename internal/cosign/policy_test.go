package cosign

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// TestPolicyRefuses: each line that is wrong is refused for what is wrong with it.
func TestPolicyRefuses(t *testing.T) {
	_, a := witnessKey("a.example", 0)
	_, b := witnessKey("b.example", 1)
	wa, wb := "witness A "+a, "witness B "+b
	shape, taken, url, number, member := "want a witness, group or quorum line", "is taken", "the URL must be", "is no number of members", "is defined nowhere above, or in a group already"
	for _, x := range []struct {
		lines []string
		says  string
	}{
		{[]string{"quorum none"}, ""},
		{[]string{wa, "quorum none"}, ""},
		{[]string{wa, wb, "group g 2 A B", "quorum g"}, ""},
		{[]string{wa, wb, "group g 1 A B", "quorum g"}, ""},
		{[]string{wa + " http://a.example:80/x/", "quorum A"}, ""},
		{[]string{""}, shape},
		{[]string{"log x"}, shape},
		{[]string{"threshold A"}, shape},
		{[]string{"quorum"}, shape},
		{[]string{"quorum none none"}, shape},
		{[]string{"quorum none", "quorum none"}, shape},
		{[]string{wa, "quorum B"}, `names "B", which is defined nowhere above`},
		{[]string{"quorum A", wa}, `names "A", which is defined nowhere above`},
		{[]string{wa}, "witnesses without a quorum line"},
		{[]string{"witness A"}, "want: witness <name> <key>"},
		{[]string{wa + " https://a.example x"}, "want: witness <name> <key>"},
		{[]string{"witness none " + a}, taken},
		{[]string{wa, "witness A " + b}, taken},
		{[]string{wa, "group g any A", "witness g " + b}, taken},
		{[]string{wa, "witness B " + a}, "one would count for two"},
		{[]string{wa + " ftp://a.example"}, url},
		{[]string{wa + " a.example"}, url},
		{[]string{wa + " https://"}, url},
		{[]string{wa + " https:///x"}, url},
		{[]string{wa + " https://u:p@a.example"}, url},
		{[]string{wa + " https://a.example/?x"}, url},
		{[]string{wa + " https://a.example/?x=1"}, url},
		{[]string{wa + " https://a.example/#x"}, url},
		{[]string{wa + " https://a.example:x"}, url},
		{[]string{wa, "group g"}, "want: group <name>"},
		{[]string{wa, "group g any"}, "want: group <name>"},
		{[]string{wa, "group none any A"}, taken},
		{[]string{wa, "group A any A"}, taken},
		{[]string{wa, wb, "group g any A", "group g any B"}, taken},
		{[]string{wa, "group g 0 A"}, number},
		{[]string{wa, "group g -1 A"}, number},
		{[]string{wa, "group g 2 A"}, number},
		{[]string{wa, "group g some A"}, number},
		{[]string{wa, "group g any B"}, member},
		{[]string{"group g any g"}, member},
		{[]string{wa, "group g 2 A A"}, member},
		{[]string{wa, "group g any A", "group h any A"}, member},
	} {
		p, err := Parse(x.lines)
		switch {
		case x.says == "" && (err != nil || p.Quorum == ""):
			t.Errorf("%q: %v", x.lines, err)
		case x.says != "" && (err == nil || !strings.Contains(err.Error(), x.says)):
			t.Errorf("%q: %v, and not %q", x.lines, err, x.says)
		}
	}
	if p, err := Parse(nil); err != nil || p.Wants() || p.Quorum != "none" {
		t.Errorf("no lines: %+v, %v", p, err)
	}
}

// TestTime: it is as late as the latest time at which enough witnesses have cosigned; nobody's word alone moves it.
func TestTime(t *testing.T) {
	_, a := witnessKey("a.example", 0)
	_, b := witnessKey("b.example", 1)
	_, c := witnessKey("c.example", 2)
	lines := []string{"witness A " + a, "witness B " + b, "witness C " + c, "group two 2 A B C"}
	for _, x := range []struct {
		quorum string
		at     map[string]int64
		want   int64
	}{
		{"two", map[string]int64{"A": 10, "B": 7, "C": 3}, 7},
		{"two", map[string]int64{"A": 3, "B": 10, "C": 3}, 3},
		{"two", map[string]int64{"A": 10, "B": 10, "C": 3}, 10},
		{"two", map[string]int64{"C": 1 << 40}, 0},
		{"B", map[string]int64{"A": 10, "B": 7, "C": 13}, 7},
		{"B", map[string]int64{"A": 10, "C": 3}, 0},
		{"none", map[string]int64{"A": 10, "B": 7, "C": 3}, 0},
	} {
		p, err := Parse(append(lines[:4:4], "quorum "+x.quorum))
		if err != nil {
			t.Fatal(err)
		}
		at := func(n int64) (t time.Time) {
			if n > 0 {
				t = time.Unix(n, 0)
			}
			return t
		}
		if got := p.Time(func(w string) time.Time { return at(x.at[w]) }); !got.Equal(at(x.want)) {
			t.Errorf("quorum %s of %v: %v, not %v", x.quorum, x.at, got, at(x.want))
		}
	}
}

// TestKeyRefused: a key is refused for what is wrong with it.
func TestKeyRefused(t *testing.T) {
	_, a := witnessKey("a.example", 0)
	parts := strings.SplitN(a, "+", 3)
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	key := func(name, hash string, bytes []byte) string {
		return name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(bytes)
	}
	form, kind := "is name+hash+base64", "not one for Ed25519 cosignatures"
	for _, x := range []struct{ key, says string }{
		{a, ""},
		{"", form},
		{"a.example", form},
		{parts[0] + "+" + parts[1], kind},
		{key("", parts[1], raw), form},
		{key("a b", parts[1], raw), form},
		{key("a\nb", parts[1], raw), form},
		{key(parts[0], "0"+parts[1], raw), form},
		{key(parts[0], "1234567", raw), form},
		{key(parts[0], "1234567g", raw), form},
		{a + "!", form},
		{key(parts[0], parts[1], append([]byte{1}, raw[1:]...)), kind},
		{key(parts[0], parts[1], raw[:32]), "has 31 bytes, not 32"},
		{key(parts[0], parts[1], append(raw[:33:33], 0)), "has 33 bytes, not 32"},
		{key("b.example", parts[1], raw), "is not that of its name and bytes"},
	} {
		v, err := NewVerifier(x.key)
		switch {
		case x.says == "" && (err != nil || v.String() != x.key):
			t.Errorf("%q: %v", x.key, err)
		case x.says != "" && (err == nil || !strings.Contains(err.Error(), x.says)):
			t.Errorf("%q: %v, and not %q", x.key, err, x.says)
		}
	}
}

// TestCosignatureLength: bytes that are no cosignature are refused, and not looked into.
func TestCosignatureLength(t *testing.T) {
	const text = "log.example\n7\nSuGRk59UjZk0dAuI3qLFy4m7iHD8RQXNed7Gu/qu6cs=\n"
	key, a := witnessKey("a.example", 0)
	v, err := NewVerifier(a)
	if err != nil {
		t.Fatal(err)
	}
	line := cosignature(key, a, text, 5)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]))
	if err != nil {
		t.Fatal(err)
	}
	sig := raw[4:]
	if !v.Verify([]byte(text), sig) {
		t.Fatal("a good one is refused")
	}
	for n := range sig {
		if v.Verify([]byte(text), sig[:n]) {
			t.Fatalf("%d bytes of it hold", n)
		}
	}
	if v.Verify([]byte(text), append(sig, 0)) {
		t.Error("one with a byte more holds")
	}
	// What is signed is no checkpoint, whoever signed it.
	const other = "stele\nnot a number\n"
	line = cosignature(key, a, other, 5)
	raw, _ = base64.StdEncoding.DecodeString(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]))
	if v.Verify([]byte(other), raw[4:]) {
		t.Error("a cosignature of no checkpoint holds")
	}
}

// TestTwoWitnessesOfOneName: each is known by name and key.
func TestTwoWitnessesOfOneName(t *testing.T) {
	const text = "log.example\n7\nSuGRk59UjZk0dAuI3qLFy4m7iHD8RQXNed7Gu/qu6cs=\n"
	_, a := witnessKey("w.example", 0)
	keyB, b := witnessKey("w.example", 1)
	keyC, c := witnessKey("c.example", 1)
	p, err := Parse([]string{"witness A " + a, "witness B " + b, "quorum none"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Read([]byte(text + "\n" + cosignature(keyB, b, text, 9) + cosignature(keyC, c, text, 9)))
	if err != nil || len(got) != 1 || got[0].Witness != "B" || !got[0].Time.Equal(time.Unix(9, 0)) {
		t.Errorf("%+v, %v", got, err)
	}
}
