package control_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
)

func TestSelector(t *testing.T) {
	archive := [16]byte{1}
	pepper := [32]byte{2}
	tag, err := TagOf(&pepper, KindSubject, "user-17")
	if err != nil {
		t.Fatal(err)
	}
	if tags := keyscope.MakeTags(&pepper, []byte("t"), []byte("user-17"), nil); tags.Subject != tag {
		t.Error("the tag is not that of a grant")
	}
	s := Selector{Archive: archive, Kind: KindSubject, Value: "user-17", Tag: &tag, Reason: "asked for it", Salt: commit.Hex32{3}}
	line, err := s.Line()
	if err != nil {
		t.Fatal(err)
	}
	named := &Selection{Kind: KindSubject, Salted: Salted(line)}
	if got, err := ParseSelector(line, named, archive); err != nil || got.Value != "user-17" || *got.Tag != tag {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := ParseSelector(bytes.Replace(line, []byte("user-17"), []byte("user-18"), 1), named, archive); err == nil {
		t.Error("another selection passes for the one that the entry names")
	}
	if _, err := ParseSelector(line, named, [16]byte{2}); err == nil {
		t.Error("a selection of another archive passes")
	}
	if _, err := ParseSelector(line, &Selection{Kind: KindTenant, Salted: named.Salted}, archive); err == nil {
		t.Error("a selection of another kind passes")
	}
	other := s
	other.Salt = commit.Hex32{4}
	if line2, _ := other.Line(); Salted(line2) == named.Salted {
		t.Error("the salt does not change the hash")
	}
	for name, bad := range map[string]Selector{
		"no salt":         {Kind: KindSubject, Value: "x", Tag: &tag},
		"no tag":          {Kind: KindSubject, Value: "x", Salt: commit.Hex32{1}},
		"zero tag":        {Kind: KindSubject, Value: "x", Tag: &commit.Hex16{}, Salt: commit.Hex32{1}},
		"class with tag":  {Kind: KindClass, Value: "x", Tag: &tag, Salt: commit.Hex32{1}},
		"no scopes":       {Kind: KindScopes, Salt: commit.Hex32{1}},
		"unsorted scopes": {Kind: KindScopes, Scopes: []commit.Hex16{{2}, {1}}, Salt: commit.Hex32{1}},
		"kind":            {Kind: "everything", Salt: commit.Hex32{1}},
	} {
		if _, err := bad.Line(); err == nil {
			t.Errorf("%s: is a selection", name)
		}
	}
}

func TestSealedSelector(t *testing.T) {
	key, err := keyscope.KEM().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := keyscope.KEM().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	archive := [16]byte{1}
	short, err := keyscope.SealSelector(key.PublicKey(), archive, 7, []byte("u"))
	if err != nil {
		t.Fatal(err)
	}
	line := slices.Repeat([]byte("u"), 500)
	sealed, err := keyscope.SealSelector(key.PublicKey(), archive, 7, line)
	if err != nil {
		t.Fatal(err)
	}
	if len(short) != len(sealed) {
		t.Errorf("the length of a name shows: %d and %d bytes", len(short), len(sealed))
	}
	if got, err := keyscope.OpenSelector(key, archive, sealed); err != nil || !bytes.Equal(got, line) {
		t.Errorf("%q %v", got, err)
	}
	if week, err := keyscope.SelectorWeek(sealed); err != nil || week != 7 {
		t.Errorf("week %d %v", week, err)
	}
	if _, err := keyscope.OpenSelector(stranger, archive, sealed); err == nil {
		t.Error("another key opens it")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := keyscope.OpenSelector(key, archive, bad); err == nil {
			t.Fatalf("opens with byte %d altered", i)
		}
	}
	for _, n := range []int{0, 8, 25, 26, 1145, 1146, len(sealed) - 1} {
		if _, err := keyscope.OpenSelector(key, archive, sealed[:n]); err == nil {
			t.Errorf("opens when cut to %d bytes", n)
		}
	}
}
