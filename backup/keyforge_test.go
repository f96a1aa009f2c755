package backup_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keydepot"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/ledger"
)

// forger has the signing key of the key service, and the store.
type forger struct {
	*testArchive
	mem    *storetest.Memory
	stream *testStream
	asked  [2][32]byte  // approved requests
	out    *keys.Erased // what the first of them did: subject-2 is erased
}

func (f *forger) record(n uint64) *keyroot.Record {
	f.t.Helper()
	r, err := keyroot.Peek(read(f.t, f.mem, rootKey(n)))
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// signed is a record as the key service would write it.
func (f *forger) signed(r *keyroot.Record) []byte {
	f.t.Helper()
	sum := binary.LittleEndian.AppendUint32([]byte("stele/keys/v1"), uint32(len(r.Runs)))
	for _, run := range r.Runs {
		sum = append(binary.LittleEndian.AppendUint64(sum, run.Count), run.Hash[:]...)
	}
	r.Commitment = [32]byte(commit.Hash(sum))
	line, err := commit.MarshalLine(r)
	if err != nil {
		f.t.Fatal(err)
	}
	file, err := note.Sign(&note.Note{Text: string(line)}, f.keyService())
	if err != nil {
		f.t.Fatal(err)
	}
	return file
}

// instead puts another record in the place of the erasure's, and another list in the place of its list: run is the one that
// lost keys.
func (f *forger) instead(change func(r *keyroot.Record, list *keyring.Erased, run int)) {
	f.t.Helper()
	r := f.record(f.out.After.N)
	list, err := keyring.ParseErased(r.Archive, read(f.t, f.mem, keydepot.Lists+r.Erased.List.String()))
	if err != nil {
		f.t.Fatal(err)
	}
	change(r, list, slices.IndexFunc(list.Removed, func(paths [][]byte) bool { return len(paths) > 0 }))
	raw := list.Marshal(r.Archive)
	r.Erased.List, r.Erased.Root, r.Erased.Size = commit.Hash(raw), list.Root(), int64(len(raw))
	f.mem.Remove(rootKey(r.N), "")
	f.mem.Overwrite(keydepot.Lists+r.Erased.List.String(), raw)
	f.mem.Overwrite(rootKey(r.N), f.signed(r))
}

// pathOf is the path under which the key of a scope of a subject lay before the erasure.
func (f *forger) pathOf(subject string) []byte {
	f.t.Helper()
	for name, scope := range f.stream.scopes {
		if strings.HasPrefix(name, subject+"\x00") {
			r := f.record(f.out.Before.N)
			ring := r.Public(keydepot.Open(keydepot.Config{Store: f.mem, Archive: r.Archive}).Source(r.Packs))
			checks, err := ring.Checks(f.t.Context(), [][16]byte{scope.id})
			if err != nil || len(checks[scope.id]) != 1 {
				f.t.Fatalf("%v, %v", checks, err)
			}
			path := append([]byte{0x10, scope.id[0], scope.id[1]}, scope.id[:]...)
			return append(path, checks[scope.id][0][:]...)
		}
	}
	f.t.Fatal("no scope of " + subject)
	return nil
}

// TestForgedGeneration: a key service that signs what it did not do, or did not say, is named, whatever it signs: in its
// root records, in the list of what went, and in the control log.
func TestForgedGeneration(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	service := a.keys()
	stream := a.stream(keyscope.Link{})
	stream.send(some(30)...)
	stream.close()
	a.once(service)
	asked := [2][32]byte{a.approvedRequest(), a.approvedRequest()}
	tags := keyscope.MakeTags((*[32]byte)(stream.cred.Pepper), nil, []byte("subject-2"), nil)
	out, err := service.Erase(t.Context(), keys.Erasure{Requests: [][32]byte{asked[0]}, Tags: [][16]byte{tags.Subject}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name         string
		code         int
		verdict, key string // of what is said
		words        []string
		forge        func(f *forger)
		also         string // of the scope whose key is gone
	}{
		{"as it is", 0, "", "", nil, func(*forger) {}, ""},
		{"the list names another's key", 14, "erasure", keydepot.Roots, []string{"generation 2 does not follow", "path"}, func(f *forger) {
			other := f.pathOf("subject-1")
			f.instead(func(_ *keyroot.Record, list *keyring.Erased, run int) {
				list.Removed[run][0] = other
				slices.SortFunc(list.Removed[run], bytes.Compare)
			})
		}, "no approved erasure lists it"},
		{"the list names a forged check value", 14, "erasure", keydepot.Roots, []string{"generation 2 does not follow", "path"}, func(f *forger) {
			f.instead(func(_ *keyroot.Record, list *keyring.Erased, run int) { list.Removed[run][0][25] ^= 1 })
		}, "no approved erasure lists it"},
		{"the list names fewer than went", 14, "erasure", keydepot.Roots, []string{"the list is not what the root record says"}, func(f *forger) {
			f.instead(func(_ *keyroot.Record, list *keyring.Erased, run int) { list.Removed[run] = list.Removed[run][1:] })
		}, ""},
		{"nothing was left out", 14, "erasure", keydepot.Roots, []string{"generation 2 does not follow"}, func(f *forger) {
			before := f.record(f.out.Before.N)
			f.instead(func(r *keyroot.Record, _ *keyring.Erased, run int) {
				count := r.Runs[run].Count
				r.Runs[run] = before.Runs[run]
				r.Runs[run].Count = count
				r.Packs = append(before.Packs, r.Packs[len(r.Packs)-1])
			})
		}, ""},
		{"the control log is told of another request", 14, "erasure", keydepot.Roots, []string{"control entry", "something else"}, func(f *forger) { f.says(f.asked[1]) }, ""},
		{"an approval is used twice", 14, "erasure", keydepot.Roots, []string{"generation 3 left out the keys", "no approved request"}, func(f *forger) {
			f.says(f.asked[0])
			tags := keyscope.MakeTags((*[32]byte)(f.stream.cred.Pepper), nil, []byte("subject-1"), nil)
			out, err := f.keys().Erase(t.Context(), keys.Erasure{Requests: [][32]byte{f.asked[1]}, Tags: [][16]byte{tags.Subject}})
			if err != nil {
				t.Fatal(err)
			}
			f.out = out
			f.instead(func(r *keyroot.Record, _ *keyring.Erased, _ int) { r.Erased.Requests[0].Request = f.asked[0] })
		}, ""},
		{"an approval is used twice, by an older control log", 14, "erasure", keydepot.Roots, []string{"generation 3 left out the keys", "no approved request"}, func(f *forger) {
			first := f.out.After.N
			approved := f.record(first).Control // when the first of them was not done
			f.says(f.asked[0])
			tags := keyscope.MakeTags((*[32]byte)(f.stream.cred.Pepper), nil, []byte("subject-1"), nil)
			out, err := f.keys().Erase(t.Context(), keys.Erasure{Requests: [][32]byte{f.asked[1]}, Tags: [][16]byte{tags.Subject}})
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range keysOf(f.t, f.mem, "control/inbox/") {
				f.mem.Remove(key, "")
			}
			f.out = out
			var last commit.Hex32
			for n := first + 1; n < out.After.N; n++ { // nor do the records in between say that they have read on
				r := f.record(n)
				if r.Control = approved; n > first+1 {
					r.Prev = last
				}
				file := f.signed(r)
				f.mem.Remove(rootKey(n), "")
				f.mem.Overwrite(rootKey(n), file)
				last = commit.Hash(file)
			}
			f.instead(func(r *keyroot.Record, _ *keyring.Erased, _ int) {
				r.Control, r.Prev, r.Erased.Requests[0].Request = approved, last, f.asked[0]
			})
			f.out.Before.Hash = last
			f.out.After.Hash = commit.Hash(read(f.t, f.mem, rootKey(f.out.After.N)))
			f.says(f.asked[0])
		}, ""},
		{"the control log is told of another control log", 14, "erasure", keydepot.Roots, []string{"control entry", "something else"}, func(f *forger) {
			f.instead(func(r *keyroot.Record, _ *keyring.Erased, _ int) { r.Control++ })
			f.out.After.Hash = commit.Hash(read(f.t, f.mem, rootKey(f.out.After.N)))
			for _, key := range keysOf(f.t, f.mem, "control/inbox/") {
				f.mem.Remove(key, "")
			}
			f.saysAt(f.asked[0], f.record(f.out.After.N).Control-1)
		}, ""},
		{"an approval of a policy", 14, "erasure", keydepot.Roots, []string{"generation 2 left out the keys", "no approved request"}, func(f *forger) { f.passesOff(control.WhatPolicy) }, ""},
		{"an approval of a release", 14, "erasure", keydepot.Roots, []string{"generation 2 left out the keys", "no approved request"}, func(f *forger) { f.passesOff(control.WhatRelease) }, ""},
		{"an approval of a recovery", 14, "erasure", keydepot.Roots, []string{"generation 2 left out the keys", "no approved request"}, func(f *forger) { f.passesOff(control.WhatRecovery) }, ""},
		{"a number is skipped", 0, "integrity", keydepot.Roots, []string{"an erasure after generation 1 makes 3"}, func(f *forger) {
			f.instead(func(r *keyroot.Record, _ *keyring.Erased, _ int) { r.Generation = 3 })
		}, ""},
		{"a number has two records", 0, "integrity", keydepot.Roots, []string{"version"}, func(f *forger) {
			r := f.record(f.out.After.N)
			r.Time = r.Time.Add(time.Second)
			f.mem.Overwrite(rootKey(r.N), f.signed(r))
		}, ""},
		{"a number has another record than the control log knows", 10, "integrity", keydepot.Roots, []string{"the control log holds root record", "generation 2"}, func(f *forger) {
			f.says(f.asked[0])
			r := f.record(f.out.After.N)
			r.Time = r.Time.Add(time.Second)
			f.mem.Remove(rootKey(r.N), "")
			f.mem.Overwrite(rootKey(r.N), f.signed(r))
		}, ""},
		{"a record has two children", 10, "integrity", keydepot.Roots, []string{"fork"}, func(f *forger) {
			r := f.record(f.out.After.N)
			r.N, r.Time = r.N+1, r.Time.Add(time.Second)
			f.mem.Overwrite(rootKey(r.N), f.signed(r))
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := a.clone(t)
			did := *out
			f := &forger{testArchive: c, mem: c.store.(*storetest.Memory), stream: stream, asked: asked, out: &did}
			test.forge(f)
			r := f.verify(VerifyOptions{Now: time.Now().Add(25 * time.Hour)})
			wantExit(t, r, test.code, "integrity", "erasure")
			if test.verdict != "" {
				wantFault(t, append(r.Faults, r.Notices...), test.verdict, test.key, test.words...)
			}
			if test.also != "" {
				wantFault(t, r.Faults, "erasure", "commits/", test.also)
			}
		})
	}
}

// passesOff calls an approved request for something else the one that the erasure was for, in the root record and in the control
// log.
func (f *forger) passesOff(what string) {
	f.t.Helper()
	var root identity.Root
	if err := identity.Parse(f.file("admin", "root.stele"), identity.RootFormat, &root); err != nil {
		f.t.Fatal(err)
	}
	for _, key := range keysOf(f.t, f.mem, "control/inbox/") { // of the record that another takes the place of
		f.mem.Remove(key, "")
	}
	by := signer(f.t, identity.RootName("test"), root.Key)
	body := control.RequestBody{What: what, Until: time.Now().Add(time.Hour)}
	switch what {
	case control.WhatPolicy:
		log, err := ledger.Open(f.t.Context(), f.mem, f.parsedTrust())
		if err != nil {
			f.t.Fatal(err)
		}
		next := *log.Policy()
		base := next.Governed()
		next.Version, next.Writers, next.Intake, next.Classes = 0, nil, nil, append(slices.Clone(next.Classes), control.Class{Name: "other", Keep: 30})
		body.Base, body.Policy = &base, &next
	case control.WhatRelease:
		hold := commit.Hash([]byte(f.drop(control.TypeHold, control.HoldBody{Selection: control.Selection{Kind: control.KindSubject, Salted: commit.Hex32{1},
			Week: keyscope.Week(time.Now()), Sealed: commit.Hex32{2}}}, by)))
		f.once(nil)
		body.Hold = &hold
	case control.WhatRecovery:
		body.Recovery = &control.Recovery{RootRef: control.RootRef{N: 1, Hash: commit.Hex32{1}}, Generation: 2, Lost: []control.RootRef{}, Packs: []commit.Hex32{{1}}}
	}
	id := commit.Hash([]byte(f.drop(control.TypeRequest, body, by)))
	f.once(nil)
	f.drop(control.TypeApprove, control.Decision{Request: id}, by)
	f.once(nil)
	size := uint64(f.controlSize())
	f.instead(func(r *keyroot.Record, _ *keyring.Erased, _ int) { r.Control, r.Erased.Requests[0].Request = size, id })
	f.out.After.Hash = commit.Hash(read(f.t, f.mem, rootKey(f.out.After.N)))
	entry := f.told(f.out, id)
	f.once(nil)
	if f.controlSize() != int(size) {
		f.t.Errorf("the control log took in %s", entry)
	}
	log, err := ledger.Open(f.t.Context(), f.mem, f.parsedTrust())
	if err != nil {
		f.t.Fatal(err)
	}
	log.View(func(s *control.State) {
		if _, ok := s.Request(id).ApprovedAt(size); !ok {
			f.t.Errorf("request %v is not approved, so the test says nothing", id)
		}
	})
}

func (f *forger) parsedTrust() (trust identity.Trust) {
	f.t.Helper()
	if err := trust.UnmarshalText(f.trust()); err != nil {
		f.t.Fatal(err)
	}
	return trust
}

// says tells the control log that the erasure was for a request.
func (f *forger) says(request [32]byte) {
	f.t.Helper()
	f.saysAt(request, f.record(f.out.After.N).Control)
}

// saysAt does so, and says by what size of the control log.
func (f *forger) saysAt(request [32]byte, size uint64) {
	f.t.Helper()
	entry := f.toldAt(f.out, request, size)
	f.once(nil)
	log, err := ledger.Open(f.t.Context(), f.mem, f.parsedTrust())
	if err == nil {
		err = log.Effective(entry)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}
