package backup_test

import (
	"bytes"
	"context"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/byurl"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keyroot"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
	"github.com/stelelog/stele/internal/seal"
)

// attacker has every version of every object ever written, all packs and root records, every message that ever was in a spool,
// the secret that the custodian has for the generation that lives, the wraps in a writer's memory, and the readers' identities.
type attacker struct {
	tb        *testing.T
	mem       *storetest.Memory
	archive   [16]byte
	custodian custodian.Custodian
	transport [][]byte

	packs   map[uint64]commit.Hex32
	records []*keyroot.Record
	from    uint64            // packs before it have no nodes that are not noted
	nodes   [2][]keytrie.Root // of key tries, of index tries, with the keys under which they were written
	seen    [2]map[keytrie.Link]bool
}

func newAttacker(t *testing.T, mem *storetest.Memory, archive [16]byte, url string) attacker {
	c, err := byurl.Open(url, custodian.Identity{Archive: archive, Name: "default"}, byurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return attacker{tb: t, mem: mem, archive: archive, custodian: c, packs: map[uint64]commit.Hex32{}, seen: [2]map[keytrie.Link]bool{{}, {}}}
}

// ReadPack reads any pack there ever was.
func (a *attacker) ReadPack(ctx context.Context, pack, offset uint64, n int) ([]byte, error) {
	return a.mem.Read(ctx, "keys/packs/"+a.packs[pack].String(), "", worm.Range{Off: int64(offset), Len: int64(n)})
}

func (a *attacker) trie(kind int) *keytrie.Trie {
	return &keytrie.Trie{Archive: a.archive, Hidden: kind == 1, Source: a}
}

// unseal opens a record of the generation that lives, with what its custodian has.
func (a *attacker) unseal(r *keyroot.Record) *keyring.Ring {
	a.tb.Helper()
	share, err := a.custodian.Unwrap(a.tb.Context(), r.Generation, r.Custody.Shares[0].Share)
	if err != nil {
		a.tb.Fatalf("record %d of generation %d: %v", r.N, r.Generation, err)
	}
	top := keyroot.Join(share)
	ring, err := r.Open(&top, a)
	if err != nil {
		a.tb.Fatal(err)
	}
	return ring
}

// note takes down what was written since: root records, packs, and under which key each node is. An attacker does not know
// these keys. To compare with them says what he would find by trying each key that he has on each node.
func (a *attacker) note() {
	a.tb.Helper()
	for {
		file, err := a.mem.Read(a.tb.Context(), rootKey(uint64(len(a.records))), "", worm.Range{})
		if notExist(err) {
			break
		}
		r, failed := keyroot.Peek(file)
		if err != nil || failed != nil {
			a.tb.Fatal(err, failed)
		}
		a.records = append(a.records, r)
		for _, p := range r.Packs {
			a.packs[p.N] = p.SHA256
		}
	}
	last := a.records[len(a.records)-1]
	for _, run := range a.unseal(last).Runs {
		for kind, root := range []keytrie.Root{run.Keys, run.Index} {
			if root.Count > 0 {
				a.walk(kind, root)
			}
		}
	}
	a.from = last.NextPack
}

func (a *attacker) walk(kind int, r keytrie.Root) {
	if r.Link.Pack < a.from || a.seen[kind][r.Link] {
		return
	}
	a.seen[kind][r.Link] = true
	a.nodes[kind] = append(a.nodes[kind], r)
	_, children, err := a.trie(kind).Open(a.tb.Context(), r)
	if err != nil {
		a.tb.Fatal(err)
	}
	for _, c := range children {
		a.walk(kind, c)
	}
}

// loot is what comes to light: wrapped keys by scope, and seeds of intake keys by week.
type loot struct {
	inner  map[[16]byte][][keyscope.InnerSize]byte
	intake map[uint16][]byte
}

// tries opens every node ever written whose key can be learned from what lives.
func (a *attacker) tries() loot {
	out := loot{map[[16]byte][][keyscope.InnerSize]byte{}, map[uint16][]byte{}}
	known := map[[keytrie.KeySize]byte]bool{}
	last := a.records[len(a.records)-1]
	for _, r := range a.records {
		if r.Generation != last.Generation {
			continue
		}
		for _, run := range a.unseal(r).Runs {
			known[run.Keys.Key], known[run.Index.Key] = true, true
		}
	}
	opened := [2]map[int]bool{{}, {}}
	for more := true; more; {
		more = false
		for kind := range a.nodes {
			for i, r := range a.nodes[kind] {
				if !known[r.Key] || opened[kind][i] {
					continue
				}
				opened[kind][i], more = true, true
				entries, children, err := a.trie(kind).Open(a.tb.Context(), r)
				if err != nil {
					a.tb.Fatal(err)
				}
				for _, c := range children {
					known[c.Key] = true
				}
				if kind == 0 {
					out.take(entries)
				}
			}
		}
	}
	return out
}

// take reads what buckets hold: docs/formats/keys.md, Scope value.
func (l *loot) take(entries []keytrie.Entry) {
	for _, e := range entries {
		switch {
		case keyring.IsScope(e.Path):
			id := [16]byte(e.Path[3:])
			l.inner[id] = append(l.inner[id], [keyscope.InnerSize]byte(e.Value[15:]))
		case e.Path[0] == 0x13:
			l.intake[uint16(e.Path[1])<<8|uint16(e.Path[2])] = e.Value
		}
	}
}

// wraps opens every grant that ever was in a spool, with the intake keys that live and with what a writer has in memory.
func (a *siege) wraps(l *loot) {
	keysOf := map[uint16]hpke.PrivateKey{}
	for week, seed := range l.intake {
		key, err := keyscope.KEM().NewPrivateKey(seed)
		if err != nil {
			a.t.Fatal(err)
		}
		keysOf[week] = key
	}
	for _, msg := range a.transport {
		g, err := keyscope.ParseGrants(msg)
		if err != nil {
			a.t.Fatal(err)
		}
		open := []*keyscope.IntakeWrap{a.stream.intake}
		if key := keysOf[g.Week]; key != nil {
			w, err := keyscope.OpenIntakeWrap(key, a.archive, g.Cert.Stream, g.Week, &g.Intake)
			if err != nil {
				a.t.Fatal(err)
			}
			open = append(open, w)
		}
		for _, w := range open {
			for i := range g.Grants {
				b := g.Binding(i)
				if inner, _, err := w.Unwrap(&g.Grants[i].Outer, &b); err == nil {
					l.inner[b.Scope] = append(l.inner[b.Scope], inner)
				}
			}
		}
	}
}

// attack returns the scopes whose keys the attacker gets, and whose week's intake key lives.
func (a *siege) attack() (opened map[[16]byte]bool, l loot) {
	a.t.Helper()
	l = a.tries()
	a.wraps(&l)
	var id identity.Reader
	if err := json.Unmarshal(a.file("reader", "reader.stele"), &id); err != nil {
		a.t.Fatal(err)
	}
	readKey := a.readKey(&id)
	read := map[[keyscope.EncapsulationSize]byte]*keyscope.ReadWrap{}
	opened = map[[16]byte]bool{}
	for scope, all := range l.inner {
		v := a.byID[scope]
		w := read[v.enc]
		if w == nil {
			var err error
			if w, err = keyscope.OpenReadWrap(readKey, a.archive, v.binding.Stream, v.day, &v.enc); err != nil {
				a.t.Fatal(err)
			}
			read[v.enc] = w
		}
		for i := range all {
			for _, w := range []*keyscope.ReadWrap{w, a.stream.read} {
				if key, err := w.Unwrap(&all[i], &v.binding); err == nil && key == v.key {
					opened[scope] = true
				}
			}
		}
	}
	return opened, l
}

// outcome counts what an attack gives.
type outcome struct{ live, missing, erased, risen, allowed int }

func (a *siege) judge() (o outcome) {
	a.t.Helper()
	opened, l := a.attack()
	now := time.Now()
	for _, v := range a.victims {
		got := opened[v.binding.Scope]
		switch {
		case !v.erased && v.arrived:
			if o.live++; !got {
				o.missing++
			}
		case v.erased:
			o.erased++
			may := l.intake[v.week] != nil
			if got {
				o.risen++
			}
			if got && may && now.Before(v.until) {
				o.allowed++
			}
			if a.broken == sound && got != may {
				a.t.Fatalf("a scope of week %d that was erased opens: %v; the intake key of its week is there: %v; the certificate says until %v, and it is %v",
					v.week, got, may, v.until, now)
			}
		}
	}
	return o
}

// TestAttackOnErasure: an attacker with everything but what custodians destroyed and keys that died opens no scope that was
// erased, once the horizon in its certificate has passed, and before that just those that it says. The same attack on broken
// variants finds what was erased.
func TestAttackOnErasure(t *testing.T) {
	for _, broken := range []string{sound, nodesAgain, staticIntake, noSalts} {
		t.Run(broken, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { besiege(t, broken) })
		})
	}
}

func besiege(t *testing.T, broken string) {
	scopes, erasures, days, each := 500, 2, 12, 2 // erasures of a day, of which so many pass each time
	switch {
	case long() && broken == sound:
		scopes, erasures, days, each = 104_000, 13, 40, 1
	case long():
		scopes, erasures = 10_000, 5
	case broken != sound:
		scopes, days = 50, 4
	}
	a := newSiege(t, broken)
	before := outcome{}
	for day := range days {
		a.day(day, scopes/days)
		for range erasures {
			a.erase()
		}
		if day%8 == 1 {
			a.certified()
		}
		time.Sleep(time.Duration(each) * 24 * time.Hour)
		if broken != staticIntake && day*each%7 == 6 {
			a.works()
		}
		if day == days/2 || day == days-1 {
			a.stream.newDay(keyscope.Week(time.Now())) // what was erased is older than a day
			if broken != staticIntake {
				a.works()
			}
			if before = a.judge(); broken == sound && (before.missing > 0 || before.risen != before.allowed || before.allowed == 0 || day*each > 21 && before.allowed == before.erased) {
				t.Errorf("day %d: %+v", day, before)
			}
		}
	}
	for range 5 {
		time.Sleep(7 * 24 * time.Hour)
		if broken != staticIntake {
			a.works()
		}
	}
	after := a.judge()
	found, wrong := a.dictionary()
	t.Logf("%d scopes, %d erasures, %d root records, %d nodes; within the horizon %+v; after it %+v; of 12 persons a dictionary finds %d",
		len(a.victims), a.erasures, len(a.records), len(a.nodes[0])+len(a.nodes[1]), before, after, found)
	if after.missing > 0 || after.erased < a.erasures || wrong > 0 {
		t.Errorf("%d of %d live scopes do not open, %d were erased, a dictionary of other words finds %d", after.missing, after.live, after.erased, wrong)
	}
	if weak := after.risen > 0; weak != (broken == nodesAgain || broken == staticIntake) {
		t.Errorf("%d of %d erased scopes open", after.risen, after.erased)
	}
	if (found > 0) != (broken == noSalts) {
		t.Errorf("a dictionary finds %d persons", found)
	}
	if broken == sound {
		a.restores()
	}
}

// restores reads everything as a reader does: what lives is there, and nothing else.
func (a *siege) restores() {
	a.t.Helper()
	var want []testRecord
	for _, v := range a.victims {
		if v.arrived && !v.erased {
			want = append(want, v.record)
		}
	}
	got, all := bodies(a.t, a.reader(a.svc), Query{}), wantBodies(want)
	slices.Sort(got)
	slices.Sort(all)
	if !slices.Equal(got, all) {
		a.t.Errorf("restored %d records, %d live", len(got), len(all))
	}
}

// dictionary looks for erased persons, with what they may have asked, in all that logs and control log hold: leaves, columns,
// commitments, commits, entries. wrong counts what is found of words that nobody used.
func (a *siege) dictionary() (found, wrong int) {
	a.t.Helper()
	var all bytes.Buffer
	for _, prefix := range []string{"logs/", "control/"} {
		for v, err := range a.mem.Versions(a.t.Context(), prefix, "") {
			if err != nil {
				a.t.Fatal(err)
			}
			data, err := a.mem.Read(a.t.Context(), v.Key, v.ID, worm.Range{})
			if err != nil {
				a.t.Fatal(err)
			}
			all.Write(data)
		}
	}
	tried := 0
	for _, v := range a.victims {
		if !v.erased || !v.arrived || tried == 12 {
			continue
		}
		tried++
		if contains(all.Bytes(), a.guesses(v.record)) {
			found++
		}
		if contains(all.Bytes(), a.guesses(testRecord{subject: "person-x" + v.record.subject[8:], session: "session-" + strings.Repeat("x", 7), body: "what is the time of the day??"})) {
			wrong++
		}
	}
	return found, wrong
}

func contains(all []byte, guesses [][]byte) bool {
	return slices.ContainsFunc(guesses, func(g []byte) bool { return bytes.Contains(all, g) })
}

// guesses are what can be computed of known words without a key of the scope: hashes, field hashes and commitments without
// salts, and tags with the pepper, which readers have.
func (a *siege) guesses(r testRecord) (out [][]byte) {
	add := func(h [32]byte) { out = append(out, h[:12]) }
	for i, word := range []string{r.body, r.subject, r.session} {
		f := []seal.Field{seal.FieldBody, seal.FieldSubject, seal.FieldSession}[i]
		add(sha256.Sum256([]byte(word)))
		add(sha256.Sum256(append([]byte{byte(f)}, word...)))
		add(sha256.Sum256(append([]byte{0}, word...)))
		if i > 0 {
			add(unsaltedField(f, []byte(word)))
		}
	}
	fields := &seal.Fields{Body: [][]byte{[]byte(r.body)}, ContentType: []byte("text/plain")}
	add(unsaltedCommitment(fields))
	tags := keyscope.MakeTags((*[32]byte)(a.stream.cred.Pepper), nil, []byte(r.subject), []byte(r.session))
	for _, tag := range [][16]byte{tags.Subject, tags.Session} {
		out = append(out, tag[:12], fmt.Appendf(nil, "%x", tag[:12]))
	}
	return append(out, []byte(r.subject), []byte(r.session), []byte(r.body))
}
