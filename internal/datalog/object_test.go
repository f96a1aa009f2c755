package datalog_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	. "github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/segment"
)

func newStore() *store { return &store{objects: map[string][]version{}} }

func named(version, data string) *commit.Object {
	return &commit.Object{Kind: commit.KindData, Key: "k", Size: int64(len(data)), SHA256: commit.Hash([]byte(data)), Version: version}
}

// TestFetch: what a commit names is read, whichever version has become it; what is lost is told from what cannot be read.
func TestFetch(t *testing.T) {
	gone := fmt.Errorf("reading: %w", fs.ErrNotExist)
	good := version{id: "a", data: []byte("good")}
	for _, x := range []struct {
		name      string
		version   string
		have      []version
		relocated bool
		err       error
		reads     string
	}{
		{"the named version", "a", []version{good}, false, nil, "a"},
		{"under a newer one", "a", []version{good, {id: "b", data: []byte("evil")}}, false, nil, "a"},
		{"under a marker", "a", []version{good, {id: "b", deleted: true}}, false, nil, "a"},
		{"another version", "z", []version{{id: "b", data: []byte("evil")}, good}, true, nil, "z b a"},
		{"another of the same bytes", "b", []version{good, {id: "b", data: []byte("evil")}}, true, nil, "b a"},
		{"others of another size", "z", []version{{id: "b", data: []byte("goodly")}, {id: "c", data: nil}, good}, true, nil, "z a"},
		{"altered", "a", []version{{id: "a", data: []byte("evil")}}, false, ErrAltered, "a"},
		{"altered, and longer", "a", []version{{id: "a", data: []byte("good?")}}, false, ErrAltered, "a"},
		{"altered, and another version too", "a", []version{{id: "a", data: []byte("evil")}, {id: "b", data: []byte("eviL")}}, false, ErrAltered, "a b"},
		{"not there", "a", nil, false, ErrNoObject, "a"},
		{"only a marker", "a", []version{{id: "b", deleted: true}}, false, ErrNoObject, "a"},
		{"gone while it was read", "a", []version{{id: "a", data: []byte("good"), err: gone}}, false, ErrAltered, "a a"},
		{"not to be read", "a", []version{{id: "a", data: []byte("good"), err: errDown}}, false, errDown, "a a"},
		{"another not to be read", "a", []version{{id: "a", data: []byte("evil")}, {id: "b", data: []byte("good"), err: errDown}}, false, errDown, "a b"},
		{"one not to be read, another altered", "z", []version{{id: "a", data: []byte("good"), err: errDown}, {id: "b", data: []byte("evil")}}, false, errDown, "z a b"},
		{"one not to be read, another right", "a", []version{{id: "a", data: []byte("good"), err: errDown}, {id: "b", data: []byte("good")}}, true, nil, "a a b"},
	} {
		s := newStore()
		for _, v := range x.have {
			s.add("k", v)
		}
		s.add("kk", version{data: []byte("good")}) // another object
		data, relocated, err := Fetch(t.Context(), s, named(x.version, "good"))
		var reads []string
		for _, r := range s.reads {
			reads = append(reads, strings.TrimPrefix(r, "k "))
		}
		if !errors.Is(err, x.err) || relocated != x.relocated || (err == nil) != (string(data) == "good") || strings.Join(reads, " ") != x.reads {
			t.Errorf("%s: %q, %v, %v; read %q", x.name, data, relocated, err, reads)
		}
		if Faulty(err) != (err != nil && !errors.Is(err, errDown)) {
			t.Errorf("%s: faulty is %v", x.name, Faulty(err))
		}
	}
	s := newStore()
	s.down = "k"
	if _, _, err := Fetch(t.Context(), s, named("a", "good")); !errors.Is(err, errDown) || Faulty(err) {
		t.Errorf("not to be listed: %v", err)
	}
}

// TestFetchNewest: where a commit names no version, the newest is read as what it names.
func TestFetchNewest(t *testing.T) {
	s := newStore()
	s.add("k", version{data: []byte("good")})
	if data, relocated, err := Fetch(t.Context(), s, named("", "good")); string(data) != "good" || relocated || err != nil {
		t.Errorf("%q, %v, %v", data, relocated, err)
	}
}

// TestFetchSpan: a range is read that lies in the object, and checked against its own digest.
func TestFetchSpan(t *testing.T) {
	const data = "0123456789"
	s := newStore()
	s.add("k", version{id: "a", data: []byte(data)})
	outside := " lies outside it"
	for _, x := range []struct {
		off, length int64
		says        string
	}{
		{0, 10, ""}, {0, 1, ""}, {9, 1, ""}, {4, 6, ""}, {1, 8, ""},
		{0, 0, outside}, {0, -1, outside}, {-1, 2, outside}, {0, 11, outside}, {1, 10, outside}, {10, 1, outside}, {9, 2, outside}, {1<<63 - 1, 2, outside}, {2, 1<<63 - 1, outside},
	} {
		span := commit.Span{Off: x.off, Len: x.length}
		want := ""
		if x.says == "" {
			want = data[x.off:][:x.length]
			span.SHA256 = commit.Hash([]byte(want))
		}
		s.reads = nil
		got, relocated, err := FetchSpan(t.Context(), s, named("a", data), span)
		if string(got) != want || relocated || (err != nil) != (x.says != "") || err != nil && (!strings.Contains(err.Error(), x.says) || !errors.Is(err, ErrAltered) || len(s.reads) > 0) {
			t.Errorf("%d at %d: %q, %v, %v; read %q", x.length, x.off, got, relocated, err, s.reads)
		}
		if x.says == "" {
			span.SHA256[0]++
			if _, _, err := FetchSpan(t.Context(), s, named("a", data), span); !errors.Is(err, ErrAltered) {
				t.Errorf("%d at %d, altered: %v", x.length, x.off, err)
			}
		}
	}
	absurd := named("a", data)
	absurd.Size = -1 << 63
	if _, _, err := FetchSpan(t.Context(), s, absurd, commit.Span{Len: 1, SHA256: commit.Hash([]byte("0"))}); err == nil || !strings.Contains(err.Error(), outside) {
		t.Errorf("of an object of no size: %v", err)
	}
	// A range is that of an object of the size that the commit names, and the whole is never less.
	s.add("k", version{id: "b", data: []byte(data[:9])})
	if _, _, err := FetchRange(t.Context(), s, named("b", data), worm.Range{Len: 10}, func(b []byte) bool { return len(b) == 9 }); !errors.Is(err, ErrAltered) {
		t.Errorf("a part of it was taken for the whole: %v", err)
	}
}

// proved is a commit whose proof object has two sections: frames, and repeated encapsulations.
func proved(s *store, frames, encaps []byte) *commit.Commit {
	data := slices.Concat(frames, encaps)
	s.add("k", version{id: "a", data: data})
	obj := *named("a", string(data))
	obj.Kind = commit.KindProof
	c := &commit.Commit{N: 4, Log: "acme/0/2026Q4", Objects: []commit.Object{obj}, Proof: make([]commit.Span, segment.Sections)}
	c.Proof[segment.SectionFrames] = commit.Span{Len: int64(len(frames)), SHA256: commit.Hash(frames)}
	c.Proof[segment.SectionEncaps] = commit.Span{Off: int64(len(frames)), Len: int64(len(encaps)), SHA256: commit.Hash(encaps)}
	return c
}

// TestFrames: what frames have signed is read, without what the section says beside it.
func TestFrames(t *testing.T) {
	signed := make([]byte, frame.SignedLen)
	copy(signed, "STLF\x01")
	signed[28] = 1 // leaf
	second := slices.Clone(signed)
	second[48] = 1
	s := newStore()
	at := make([]byte, 16)
	frames, err := Frames(t.Context(), s, proved(s, slices.Concat(signed, at, second, at), nil))
	if err != nil || len(frames) != 2 || string(frames[0]) != string(signed) || string(frames[1]) != string(second) {
		t.Errorf("%x, %v", frames, err)
	}
}

func TestSections(t *testing.T) {
	encaps := make([]byte, 2*(20+frame.EncapLen))
	encaps[0], encaps[20+frame.EncapLen] = 1, 2
	s := newStore()
	c := proved(s, make([]byte, 7), encaps)
	got, err := Encaps(t.Context(), s, c)
	if err != nil || len(got) != 2 || got[0].Stream != [16]byte{1} || got[1].Stream != [16]byte{2} {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Frames(t.Context(), s, c); err == nil || Faulty(err) { // not even their number fits
		t.Errorf("frames of rubbish: %v", err)
	}
	for name, edit := range map[string]func(c *commit.Commit){
		"another digest": func(c *commit.Commit) {
			c.Proof[segment.SectionEncaps].SHA256[0]++
			c.Proof[segment.SectionFrames].SHA256[0]++
		},
		"no sections":            func(c *commit.Commit) { c.Proof = nil },
		"sections are missing":   func(c *commit.Commit) { c.Proof = c.Proof[:segment.Sections-1] },
		"another object instead": func(c *commit.Commit) { c.Objects[0].Key = "other" },
	} {
		bad := *c
		bad.Objects, bad.Proof = slices.Clone(c.Objects), slices.Clone(c.Proof)
		edit(&bad)
		if _, err := Encaps(t.Context(), s, &bad); !Faulty(err) {
			t.Errorf("%s: encapsulations: %v", name, err)
		}
		if _, err := Frames(t.Context(), s, &bad); !Faulty(err) {
			t.Errorf("%s: frames: %v", name, err)
		}
	}
	none := commit.Commit{N: 4, Log: "acme/0/2026Q4"}
	if frames, err := Frames(t.Context(), s, &none); len(frames) > 0 || err != nil {
		t.Errorf("a commit without a proof: %v, %v", frames, err)
	}
	if _, err := Encaps(t.Context(), s, &none); err == nil || !strings.Contains(err.Error(), "commit 4 of acme/0/2026Q4 names no proof") {
		t.Errorf("a commit without a proof: %v", err)
	}
	if _, _, err := FetchSpan(t.Context(), s, none.Object(commit.KindIndex, ""), commit.Span{Len: 1}); !errors.Is(err, ErrNoObject) {
		t.Errorf("an object that a commit does not name: %v", err)
	}
}
