package keydepot

import (
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyroot"
)

// TestCheckRecovery: a record stands in for lost ones as two approvers have decided it, and in no other way.
func TestCheckRecovery(t *testing.T) {
	until := time.Date(2026, 10, 5, 8, 0, 0, 0, time.UTC)
	id, hash := commit.Hex32{9}, func(n byte) commit.Hex32 { return commit.Hex32{n} }
	made := func() (*control.State, *control.Request, *keyroot.Recovered) {
		r := &control.Request{ID: id, Effect: 20, RequestBody: control.RequestBody{What: control.WhatRecovery, Until: until,
			Recovery: &control.Recovery{RootRef: control.RootRef{N: 2, Hash: hash(2)}, Generation: 3, Missing: 4, Lost: []control.RootRef{{N: 3, Hash: hash(3)}, {N: 4, Hash: hash(4)}}}}}
		c := &control.State{Requests: []*control.Request{r}}
		for n, live := range map[byte]uint64{3: 12, 4: 14, 5: 99} {
			c.KeyRoots = append(c.KeyRoots, control.LoggedKeyRoot{KeyRoot: control.KeyRoot{N: uint64(n), Hash: hash(n), Live: live}})
		}
		x := &keyroot.Recovered{N: 6, Generation: 3, Control: 20, Time: until, Stood: keyroot.Lost{N: 2, Hash: hash(2)}, Live: 10, Had: 11,
			Recovery: keyroot.Recovery{From: 2, Missing: 4, Approval: id, Lost: []keyroot.Lost{{N: 3, Hash: hash(3)}, {N: 4, Hash: hash(4)}}}}
		return c, r, x
	}
	for _, c := range []struct {
		name   string
		change func(*control.State, *control.Request, *keyroot.Recovered)
		says   string
	}{
		{"as decided", func(*control.State, *control.Request, *keyroot.Recovered) {}, ""},
		{"no such request", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Approval[1]++ }, "holds no request"},
		{"a request for an erasure", func(_ *control.State, r *control.Request, _ *keyroot.Recovered) { r.What = control.WhatErase }, "holds no request"},
		{"never approved", func(_ *control.State, r *control.Request, _ *keyroot.Recovered) { r.Effect = 0 }, "was not approved when"},
		{"approved later", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Control = 19 }, "was not approved when"},
		{"used too late", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Time = until.Add(time.Second) }, "could be used until"},
		{"another record stands in", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Stood.N = 1 }, "is to let record 2"},
		{"another record under its number", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Stood.Hash = hash(1) }, "is to let record 2"},
		{"in another generation", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Generation = 4 }, "of generation 3 stand in"},
		{"fewer are lost", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Lost = x.Lost[:1] }, "that other records are lost"},
		{"more are lost", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) {
			x.Lost = append(x.Lost, keyroot.Lost{N: 5, Hash: hash(5)})
		}, "that other records are lost"},
		{"another one is lost", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Lost[1].Hash = hash(7) }, "that other records are lost"},
		{"fewer are missing", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Missing = 3 }, "4 scopes were missing"},
		{"fewer were said to be missing", func(_ *control.State, r *control.Request, _ *keyroot.Recovered) { r.Recovery.Missing = 3 }, "4 scopes were missing"},
		{"the record before had more", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Had = 15 }, "5 scopes were missing"},
		{"it has fewer", func(_ *control.State, _ *control.Request, x *keyroot.Recovered) { x.Live = 9 }, "5 scopes were missing"},
	} {
		s, r, x := made()
		c.change(s, r, x)
		err := CheckRecovery(s, x)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	s, _, x := made()
	if n := LostScopes(s, x.Lost, 0, 20); n != 0 {
		t.Errorf("%d scopes are missing of fewer than there are", n)
	}
}
