package backup_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/logpipe"
)

// watched is a store that counts what is read of segments, and can change it on the way.
type watched struct {
	worm.Store
	mu    sync.Mutex
	read  map[string]int64 // bytes by kind
	alter func(key string, r worm.Range, data []byte) []byte
}

func watch(s worm.Store) *watched { return &watched{Store: s, read: map[string]int64{}} }

func (w *watched) Read(ctx context.Context, key, id string, r worm.Range) ([]byte, error) {
	data, err := w.Store.Read(ctx, key, id, r)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, kind := range []string{"index", "data", "proof"} {
		if strings.Contains(key, "."+kind) {
			w.read[kind] += int64(len(data))
		}
	}
	if w.alter != nil && err == nil {
		data = w.alter(key, r, slices.Clone(data))
	}
	return data, err
}

// talks is an archive in memory of conversations that resend their history, one large body in pieces, and one subject that
// two tenants have, in two commits.
func talks(t *testing.T) (*testArchive, *keys.Service) {
	t.Helper()
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	p, err := logpipe.Open(t.Context(), logpipe.Config{To: a.url(), Credential: a.dir + "/writer/default.stele"})
	if err != nil {
		t.Fatal(err)
	}
	capture := func(tenant, subject, session string, kind logpipe.Kind, body string) {
		t.Helper()
		err := p.Capture(t.Context(), &logpipe.Record{Kind: kind, Tenant: tenant, Subject: subject, Session: session, Body: []byte(body),
			ContentType: "application/json", Attributes: []byte(`{"gen_ai.request.model":"m-` + subject + `"}`)})
		if err != nil {
			t.Fatal(err)
		}
	}
	said := map[string]string{}
	for turn := range 4 {
		for who := range 20 {
			tenant, subject := "acme", fmt.Sprint("s", who%10)
			if who == 13 {
				tenant = "other" // and its subject s3
			}
			session := fmt.Sprint("c", who)
			said[session] += fmt.Sprintf(`{"role":"user","content":"%s"},`, strings.Repeat(fmt.Sprint(session, " asks ", turn, ". "), 20))
			capture(tenant, subject, session, logpipe.Input, `{"model":"m","messages":[`+strings.TrimSuffix(said[session], ",")+`]}`)
			capture(tenant, subject, session, logpipe.Output, fmt.Sprint(session, " is answered ", turn))
		}
		if turn == 2 {
			capture("acme", "s4", "large", logpipe.Output, strings.Repeat("many words of one body, ", 30_000))
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if turn%2 == 1 {
			a.once(keys)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.once(keys)
	return a, keys
}

// every is the step of a sample: all of it is for long runs.
func every(long, short int) int {
	if os.Getenv("STELE_LONG") != "" {
		return long
	}
	return short
}

// result is what a query gave, a line for each record or error.
func result(t *testing.T, a *testArchive, keys *keys.Service, q Query) (out []string) {
	t.Helper()
	for f, err := range a.reader(keys).Records(t.Context(), q) {
		var broken *RecordError
		switch {
		case errors.As(err, &broken):
			out = append(out, fmt.Sprint(broken.Index, " broken"))
		case err != nil:
			t.Fatal(err)
		default:
			out = append(out, fmt.Sprint(f.Index, f.Stream, f.Seq, f.ID, f.Kind, f.Time.UnixNano(), f.Class, f.Tenant, f.Subject, f.Session, f.Erased, string(f.Body)))
		}
	}
	return out
}

// queries are queries by subject, tenant or session.
func queries() map[string]Query {
	return map[string]Query{
		"subject":       {Subject: "s3"},
		"of one tenant": {Tenant: "acme", Subject: "s3"},
		"of the other":  {Tenant: "other", Subject: "s3"},
		"session":       {Session: "c7"},
		"all three":     {Tenant: "acme", Subject: "s7", Session: "c7"},
		"large":         {Subject: "s4"},
		"kind":          {Subject: "s1", Kind: logpipe.Input},
		"limit":         {Subject: "s1", Limit: 3},
		"nobody":        {Subject: "nobody"},
		"not together":  {Subject: "s1", Session: "c7"},
		"whole tenant":  {Tenant: "acme"},
	}
}

// Queries by subject, session and tenant give just the records that reading everything gives, and read no index for it.
func TestByRuns(t *testing.T) {
	a, keys := talks(t)
	all := []Found{}
	for f, err := range a.reader(keys).Records(t.Context(), Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	if len(all) != 4*20*2+1 {
		t.Fatalf("%d records", len(all))
	}
	w := watch(a.store)
	a.store = w
	for name, q := range queries() {
		for _, from := range []uint64{0, all[70].Index} {
			var want []string
			for _, f := range all {
				if (q.Subject == "" || q.Subject == f.Subject) && (q.Session == "" || q.Session == f.Session) &&
					(q.Tenant == "" || q.Tenant == f.Tenant) && (q.Kind == 0 || q.Kind == f.Kind) && f.Index >= from {
					want = append(want, string(f.Body))
				}
			}
			if q.Limit > 0 {
				want = want[:q.Limit]
			}
			q.From = map[string]uint64{all[0].Log: from}
			clear(w.read)
			var got []string
			for f, err := range a.reader(keys).Records(t.Context(), q) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(f.Body))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s from %d: %d records, want %d", name, from, len(got), len(want))
			}
			if w.read["index"] != 0 && name != "whole tenant" {
				t.Errorf("%s: %d bytes of the index were read", name, w.read["index"])
			}
		}
	}
	// The model is not in the runs: it is the index that tells.
	if got := result(t, a, keys, Query{Subject: "s1", Model: "m-s1"}); len(got) != 16 || w.read["index"] == 0 {
		t.Errorf("%d records of a model", len(got))
	}
}

// Whatever is changed in the sections that lead to a scope, nothing is left out and nothing wrong comes out: the index
// has it all.
func TestByRunsDamaged(t *testing.T) {
	a, keys := talks(t)
	q := Query{Subject: "s3"}
	want := result(t, a, keys, q)
	w := watch(a.store)
	a.store = w
	proofs := map[string][]byte{}
	for _, key := range keysOf(t, a.store, "logs/") {
		if strings.HasSuffix(key, ".proof") {
			proofs[key] = read(t, a.store, key)
		}
	}
	step := every(7, 41)
	for number := range segment.Sections {
		changed := 0
		// The byte at so many per mille of the section is another one, in all proof objects.
		for mille := 0; mille < 1000; mille += step {
			w.alter = func(key string, r worm.Range, data []byte) []byte { // called with w.mu held
				whole, ok := proofs[key]
				if !ok {
					return data
				}
				p, err := segment.ParseProof(whole)
				if err != nil {
					t.Error(err)
				}
				at := int64(len(whole)) // of the section
				for _, s := range p[number:] {
					at -= int64(len(s))
				}
				at += int64(len(p[number])*mille/1000) - r.Off
				if len(p[number]) > 0 && at >= 0 && at < int64(len(data)) {
					data[at] ^= 0x10
					changed++
				}
				return data
			}
			var got []string
			if number != segment.SectionEncaps { // without it nothing can be opened
				got = result(t, a, keys, q)
			} else {
				got = want
			}
			if !slices.Equal(got, want) {
				t.Fatalf("section %d changed at %d per mille: %d records, want %d", number, mille, len(got), len(want))
			}
		}
		switch number {
		case segment.SectionScopes, segment.SectionGroups, segment.SectionRuns:
			if changed == 0 {
				t.Errorf("section %d was never read changed", number)
			}
		}
	}
}

// A store that hides runs by groups that are no longer theirs, with the lists that go with them, hides nothing.
func TestByRunsHidden(t *testing.T) {
	a, keys := talks(t)
	q := Query{Subject: "s3"}
	want := result(t, a, keys, q)
	w := watch(a.store)
	forged := map[string][]byte{}
	for _, key := range keysOf(t, a.store, "logs/") {
		if strings.HasSuffix(key, ".proof") {
			forged[key] = hideRuns(t, read(t, a.store, key))
		}
	}
	a.store = w
	w.alter = func(key string, r worm.Range, data []byte) []byte {
		if f := forged[key]; f != nil && r != (worm.Range{}) {
			return f[r.Off:][:r.Len]
		}
		return data
	}
	if got := result(t, a, keys, q); !slices.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}

// hideRuns gives each run the mark of another scope, and makes the digests of groups anew.
func hideRuns(t *testing.T, proof []byte) []byte {
	t.Helper()
	p, err := segment.ParseProof(proof)
	if err != nil {
		t.Fatal(err)
	}
	d, err := segment.ParseDirectory(p[segment.SectionScopes])
	if err != nil {
		t.Fatal(err)
	}
	at := len(proof) - len(p[segment.SectionGroups]) - len(p[segment.SectionRuns])
	forged := slices.Clone(proof)
	groups := forged[at:][:len(p[segment.SectionGroups])]
	for k := range d.Len() {
		list, group := d.Parts(k)
		g := groups[group.Off:][:group.Len]
		g[4+22*(k%8)] ^= 1
		sum := sha256.Sum256(g)
		copy(groups[list.Off:][k%64/8*16:][:16], sum[:])
	}
	return forged
}

// A block that was changed costs its records and no others.
func TestByRunsDamagedBlock(t *testing.T) {
	a, keys := talks(t)
	q := Query{Session: "c7"}
	want := result(t, a, keys, q)
	w := watch(a.store)
	a.store = w
	first := worm.Range{}
	w.alter = func(key string, r worm.Range, data []byte) []byte {
		if strings.Contains(key, ".data.") {
			if first == (worm.Range{}) {
				first = r
			}
			if r == first {
				data[len(data)/2] ^= 1
			}
		}
		return data
	}
	got := result(t, a, keys, q)
	broken := 0
	for i := range want {
		switch {
		case i >= len(got):
			t.Fatalf("%d records, want %d", len(got), len(want))
		case strings.HasSuffix(got[i], " broken"):
			broken++
		case got[i] != want[i]:
			t.Errorf("record %d is another one", i)
		}
	}
	if broken == 0 || broken == len(want) {
		t.Errorf("%d of %d records broken", broken, len(want))
	}
}

// An erased subject is not found any more, and nothing is read for it; its records are left as stubs without a name.
func TestByRunsErased(t *testing.T) {
	a, keys := talks(t)
	w := watch(a.store)
	a.store = w
	all := len(result(t, a, keys, Query{Subject: "s3"}))
	var writer identity.Writer
	if err := identity.Parse(a.file("writer", "default.stele"), identity.WriterFormat, &writer); err != nil {
		t.Fatal(err)
	}
	if _, err := eraseSubject(t.Context(), keys, writer.Pepper, "s3"); err != nil {
		t.Fatal(err)
	}
	clear(w.read)
	if got := result(t, a, keys, Query{Subject: "s3"}); len(got) != 0 {
		t.Errorf("%d erased records", len(got))
	}
	if len(w.read) != 0 {
		t.Errorf("read for nothing: %v", w.read)
	}
	stubs := 0
	for f, err := range a.reader(keys).Records(t.Context(), Query{Erased: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Erased {
			stubs++
		}
	}
	if stubs != all {
		t.Errorf("%d stubs, want %d", stubs, all)
	}
}

// A scope of several runs: where one of them is broken, the records of the others come once.
func TestByRunsLongScope(t *testing.T) {
	a := newTestArchive(t, storetest.NewMemory())
	keys := a.keys()
	s := a.stream(keyscope.Link{})
	const n = 300
	for range n / 10 {
		s.send(slices.Repeat([]testRecord{{subject: "long", session: "one", body: "body"}}, 10)...)
	}
	s.close()
	a.once(keys)
	w := watch(a.store)
	a.store = w
	want := result(t, a, keys, Query{Subject: "long"})
	if len(want) != n || w.read["index"] != 0 {
		t.Fatalf("%d records, %d bytes of the index read", len(want), w.read["index"])
	}
	// The last block is in the second run.
	last := int64(0)
	w.alter = func(key string, r worm.Range, data []byte) []byte {
		if strings.Contains(key, ".data.") {
			last = max(last, r.Off+r.Len)
			if r.Off+r.Len == last {
				data[len(data)-1] ^= 1
			}
		}
		return data
	}
	result(t, a, keys, Query{Subject: "long"})
	got := result(t, a, keys, Query{Subject: "long"})
	broken := 0
	for i := range want {
		if i < len(got) && strings.HasSuffix(got[i], " broken") {
			broken++
		} else if i >= len(got) || got[i] != want[i] {
			t.Fatalf("record %d of %d is another one", i, len(got))
		}
	}
	if len(got) != n || broken == 0 || broken > 44 {
		t.Errorf("%d records, %d broken", len(got), broken)
	}
}

// Verify opens every record, however objects are read, and says which cannot be opened; those that were erased are no
// fault.
func TestVerifyUnlocked(t *testing.T) {
	a, keys := talks(t)
	const all = 4*20*2 + 1
	verify := func(piece int64) *Report {
		t.Helper()
		r, err := VerifyInPieces(t.Context(), a.open(), VerifyOptions{Reader: a.reader(keys)}, piece)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, piece := range []int64{320, 4096, 4 << 20} {
		r := verify(piece)
		wantExit(t, r, 0, "integrity", "readability")
		if r.Opened != all || r.Erased != 0 {
			t.Errorf("in pieces of %d: %d opened, %d erased, want %d", piece, r.Opened, r.Erased, all)
		}
	}
	var writer identity.Writer
	if err := identity.Parse(a.file("writer", "default.stele"), identity.WriterFormat, &writer); err != nil {
		t.Fatal(err)
	}
	if _, err := eraseSubject(t.Context(), keys, writer.Pepper, "s3"); err != nil {
		t.Fatal(err)
	}
	r := verify(320)
	wantExit(t, r, 0, "integrity", "readability")
	if r.Erased != 16 || r.Opened != all-16 {
		t.Errorf("%d opened, %d erased, want %d and 16", r.Opened, r.Erased, all-16)
	}
	// Without its data, no record of a commit can be opened, and each is counted; the erased ones among them still are.
	w, store := watch(a.store), a.store.(*storetest.Memory)
	a.store = w
	first := ""
	w.alter = func(key string, _ worm.Range, data []byte) []byte {
		if strings.Contains(key, ".data.") && (first == "" || key == first) {
			first = key
			for i := range data {
				data[i] ^= 1
			}
		}
		return data
	}
	r = verify(4 << 20)
	wantExit(t, r, 10)
	broken := r.Verdicts["readability"].Faults
	if r.Erased != 16 || broken < 70 || r.Opened+r.Erased+broken != all {
		t.Errorf("%d opened, %d erased, %d broken, want %d together", r.Opened, r.Erased, broken, all)
	}
	// Another version of the object is the right one: what was opened of the first counts once.
	store.Overwrite(first, read(t, store, first))
	reads := 0
	w.alter = func(key string, _ worm.Range, data []byte) []byte {
		if key == first {
			if reads++; reads == 1 {
				data[0] ^= 1
			}
		}
		return data
	}
	r = verify(4 << 20)
	wantExit(t, r, 0, "integrity", "readability")
	if r.Erased != 16 || r.Opened != all-16 || reads != 2 {
		t.Errorf("%d opened, %d erased in %d reads", r.Opened, r.Erased, reads)
	}
}
