package keyroot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyring"
)

// TestChain folds and erases through records; whoever reads the chain anew has the same keys, opened with the top key of
// the newest generation and no other.
func TestChain(t *testing.T) {
	s := newService(t)
	s.fold(t, 40)
	want := scopes(t, s.ring)
	for step := range byte(4) {
		s.fold(t, 10)
		before, _ := s.state.Last()
		ring := s.ring
		list := s.erase(t, step)
		after, _ := s.state.Last()
		if err := keyring.AuditErasure(context.Background(), before.Public(s.packs), after.Public(s.packs), list); err != nil {
			t.Fatal(err)
		}
		if list.Scopes() < 10 || len(scopes(t, ring)) != len(scopes(t, s.ring))+int(list.Scopes()) {
			t.Fatalf("%d scopes were erased of %d", list.Scopes(), len(want))
		}
	}
	reader := s.twin(t)
	last, hash := s.state.Last()
	again, hashAgain := reader.state.Last()
	if hash != hashAgain || len(reader.found) > 0 || again.Live != uint64(len(scopes(t, reader.ring))) || again.Live == 0 {
		t.Fatalf("read anew: %s, %s, %v, %d live", hash, hashAgain, reader.found, again.Live)
	}
	if gens := reader.state.Generations(); len(gens) != 5 || gens[4].Number != 5 || gens[4].First != last.N {
		t.Errorf("generations %v", gens)
	}
	for g, top := range s.tops {
		_, err := last.Open(&top, s.packs)
		if (err == nil) != (g == last.Generation) || err != nil && !errors.Is(err, ErrTop) {
			t.Errorf("top key of generation %d on generation %d: %v", g, last.Generation, err)
		}
	}
	if fmt.Sprintf("%v %#v", s.tops[1], s.tops[1]) != "top key keyroot.Top{…}" {
		t.Error("a top key shows itself")
	}
	top := s.tops[1]
	top.Wipe()
	if top != (Top{}) {
		t.Error("not wiped")
	}
}

// TestOldGenerationsAreDead: with every record, every pack, and the newest top key, what was erased is nowhere. If the
// new generation had the top key of the one before, it would be.
func TestOldGenerationsAreDead(t *testing.T) {
	for _, broken := range []bool{false, true} {
		s := newService(t)
		s.fold(t, 50)
		all := scopes(t, s.ring)
		for step := range byte(3) {
			x, _ := s.eraseNext(t, step)
			if broken {
				top := s.tops[1]
				x.Top = &top
				s.tops[uint64(step)+2] = top
			}
			if !s.put(t, x) {
				t.Fatal("lost")
			}
		}
		last, _ := s.state.Last()
		live := scopes(t, s.ring)
		top := s.tops[last.Generation]
		found := map[[16]byte]bool{}
		for _, versions := range s.space {
			r, err := Peek(versions[0])
			if err != nil {
				t.Fatal(err)
			}
			if ring, err := r.Open(&top, s.packs); err == nil {
				for id := range scopes(t, ring) {
					found[id] = true
				}
			}
		}
		if len(live) >= len(all) || len(live) == 0 {
			t.Fatalf("%d of %d live", len(live), len(all))
		}
		if want := len(live); !broken && len(found) != want || broken && len(found) != len(all) {
			t.Errorf("broken=%v: %d of %d scopes found, %d live", broken, len(found), len(all), want)
		}
	}
}

// TestTwoServices build on one record: one wins each number, the other starts again from what won.
func TestTwoServices(t *testing.T) {
	a := newService(t)
	a.fold(t, 10)
	b := a.twin(t)
	xa, _ := a.eraseNext(t, 1)
	b.serial = 1000
	xb := b.foldNext(t, 5)
	if !a.put(t, xa) {
		t.Fatal("a lost, and nobody else was there")
	}
	if b.put(t, xb) {
		t.Fatal("b won a number that a has")
	}
	lastA, hashA := a.state.Last()
	_, hashB := b.state.Last()
	if hashA != hashB || lastA.Generation != 2 {
		t.Fatalf("%s and %s, generation %d", hashA, hashB, lastA.Generation)
	}
	if _, ok := b.tops[2]; ok {
		t.Fatal("b has a key that it cannot have")
	}
	b.tops[2] = a.tops[2] // from the custodians
	b.read(t)
	b.fold(t, 5)
	a.read(t)
	if _, hashA = a.state.Last(); hashA == hashB || len(a.found)+len(b.found) > 0 {
		t.Errorf("%v %v", a.found, b.found)
	}
	// Building on what is not the end any more is noticed before it is written, too.
	if _, err := b.state.Build(b.tail, xb, b.random, b.signer); !errors.Is(err, ErrRule) {
		t.Errorf("a stale fold: %v", err)
	}
}

// TestSquatting: what is put at the next number beforehand burns it, whoever put it; what is put over a record, or
// ahead, changes nothing.
func TestSquatting(t *testing.T) {
	s := newService(t)
	s.fold(t, 10)
	old := s.space[0][0]
	s.space[1] = [][]byte{[]byte("garbage")}
	s.space[2] = [][]byte{old}
	s.read(t)
	s.fold(t, 10)
	last, _ := s.state.Last()
	if last.N != 3 || len(last.Burnt) != 2 {
		t.Fatalf("record %d, burnt %v", last.N, last.Burnt)
	}
	s.space[3] = append(s.space[3], []byte("later version"))
	s.space[9] = [][]byte{[]byte("ahead")}
	reader := s.twin(t)
	if again, _ := reader.state.Last(); again.N != 3 {
		t.Errorf("record %d is the newest", again.N)
	}
	kinds := ""
	for _, f := range reader.found {
		kinds += string(f.Kind) + " "
	}
	if kinds != "squat squat version squat " {
		t.Errorf("found %q", kinds)
	}
	// Something valid that comes to lie at a burnt number later does not count.
	s.space[1] = s.space[3]
	if again, _ := s.twin(t).state.Last(); again.N != 3 {
		t.Errorf("record %d is the newest", again.N)
	}
}

// TestFork: two children of one record are a fork; the first by number is followed.
func TestFork(t *testing.T) {
	a := newService(t)
	a.fold(t, 10)
	b := a.twin(t)
	a.fold(t, 10)
	b.tail.Next, b.tail.Burnt = 2, []uint64{1}
	file, err := b.state.Build(b.tail, b.foldNext(t, 7), b.random, b.signer)
	if err != nil {
		t.Fatal(err)
	}
	a.space[2] = [][]byte{file}
	reader := a.twin(t)
	_, want := a.state.Last()
	if _, hash := reader.state.Last(); hash != want || len(reader.found) != 1 || reader.found[0].Kind != chain.Fork {
		t.Errorf("%v", reader.found)
	}
}

// TestRollback: whoever remembers a record notices when the chain ends before it, or has another one there.
func TestRollback(t *testing.T) {
	s := newService(t)
	s.fold(t, 10)
	s.fold(t, 10)
	_, hash := s.state.Last()
	s.erase(t, 1)
	_, newest := s.state.Last()
	for n, h := range map[uint64]commit.Hex32{1: hash, 2: newest} {
		if err := s.state.Require(n, h); err != nil {
			t.Error(err)
		}
	}
	delete(s.space, 2)
	back := s.twin(t)
	if err := back.state.Require(1, hash); err != nil {
		t.Error(err)
	}
	if err := back.state.Require(2, newest); !errors.Is(err, ErrLost) {
		t.Errorf("the newest record is gone: %v", err)
	}
	back.fold(t, 3)
	if err := back.state.Require(2, newest); !errors.Is(err, ErrLost) {
		t.Errorf("another one is in its place: %v", err)
	}
	delete(s.space, 1)
	if back := s.twin(t); len(back.found) != 1 || back.found[0].Kind != chain.Missing {
		t.Errorf("a record in the middle is gone: %v", back.found)
	}
}

// TestRecovery: the newest record of a generation is lost, an older one of the same generation stands in.
func TestRecovery(t *testing.T) {
	s := newService(t)
	s.fold(t, 20)
	s.erase(t, 1)
	s.fold(t, 10)
	from, _ := s.state.Last()
	s.fold(t, 5)
	lost, hash := s.state.Last()
	delete(s.space, lost.N)

	r := s.twin(t)
	if err := r.state.Require(lost.N, hash); !errors.Is(err, ErrLost) {
		t.Fatal(err)
	}
	top := r.tops[from.Generation]
	ring, err := from.Open(&top, r.packs)
	if err != nil {
		t.Fatal(err)
	}
	next := func(recovery Recovery) Next {
		return Next{Ring: ring, Top: &top, Packs: from.Packs, NextPack: lost.NextPack, Folded: from.Folded, Live: from.Live, Time: r.at, Recovery: &recovery}
	}
	good := Recovery{From: from.N, Lost: []Lost{{lost.N, hash}}, Missing: lost.Live - from.Live, Approval: commit.Hex32{1}}
	for name, change := range map[string]func(*Recovery){
		"a record of an older generation": func(r *Recovery) { r.From = 0 },
		"another record":                  func(r *Recovery) { r.From-- },
		"nothing approves":                func(r *Recovery) { r.Approval = commit.Hex32{} },
	} {
		bad := good
		change(&bad)
		if _, err := r.state.Build(r.tail, next(bad), r.random, r.signer); !errors.Is(err, ErrRule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	none := good
	none.Lost = nil
	if _, err := r.state.Build(r.tail, next(none), r.random, r.signer); err == nil {
		t.Error("a recovery without a loss")
	}
	if !r.put(t, next(good)) {
		t.Fatal("lost")
	}
	if err := r.state.Require(lost.N, hash); !errors.Is(err, ErrLost) {
		t.Errorf("a key service says what is lost, and it counts: %v", err)
	}
	if x := r.state.Recoveries(); len(x) != 1 || x[0].Live != from.Live || x[0].Generation != 2 || len(scopes(t, r.ring)) != int(from.Live) {
		t.Errorf("%+v, %d scopes", x, len(scopes(t, r.ring)))
	}
	if _, err := r.state.Build(r.tail, next(good), r.random, r.signer); !errors.Is(err, ErrRule) {
		t.Errorf("one approval for two records: %v", err)
	}
	r.serial = s.serial
	r.fold(t, 5)
}

// resigned is a record changed and signed again by the key service: authentic, and not what may follow.
func (s *service) resigned(t *testing.T, file []byte, change func(map[string]any)) []byte {
	t.Helper()
	n, err := note.Open(file, note.VerifierList(s.signer.(note.Verifier)))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	dec := json.NewDecoder(strings.NewReader(n.Text))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	change(m)
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	r := new(Record)
	if err := json.Unmarshal(raw, r); err != nil {
		t.Fatal(err)
	}
	line, err := commit.MarshalLine(r)
	if err != nil {
		t.Fatal(err)
	}
	out, err := note.Sign(&note.Note{Text: string(line)}, s.signer)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRules: records that the key service has signed and that may not follow.
func TestRules(t *testing.T) {
	s := newService(t)
	s.control = 5
	s.fold(t, 20)
	fold, err := s.state.Build(s.tail, s.foldNext(t, 10), s.random, s.signer)
	if err != nil {
		t.Fatal(err)
	}
	next, _ := s.eraseNext(t, 1)
	erase, err := s.state.Build(s.tail, next, s.random, s.signer)
	if err != nil {
		t.Fatal(err)
	}
	judge := func(file []byte) error {
		_, _, err := s.judge(chain.Object{N: 1, Data: file})
		return err
	}
	for name, file := range map[string][]byte{"fold": fold, "erasure": erase} {
		if err := judge(file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := judge(s.resigned(t, file, func(map[string]any) {})); err != nil {
			t.Fatalf("%s, signed again: %v", name, err)
		}
	}
	num := func(path ...string) func(map[string]any) {
		return func(m map[string]any) {
			for _, p := range path[:len(path)-2] {
				m = m[p].(map[string]any)
			}
			m[path[len(path)-2]] = json.Number(path[len(path)-1])
		}
	}
	run := func(i int, member string, v any) func(map[string]any) {
		return func(m map[string]any) { m["runs"].([]any)[i].(map[string]any)[member] = v }
	}
	last, _ := s.state.Last()
	count := func(more int) func(map[string]any) {
		return run(0, "count", json.Number(fmt.Sprint(int(last.Runs[0].Count)+more)))
	}
	share := func(m map[string]any) {
		m["custody"].(map[string]any)["shares"].([]any)[0].(map[string]any)["share"] = "AAAA"
	}
	for name, c := range map[string]struct {
		file   []byte
		change func(map[string]any)
	}{
		"fold: another generation":       {fold, num("generation", "2")},
		"fold: generation 0":             {fold, num("generation", "0")},
		"fold: fewer control entries":    {fold, num("control", "4")},
		"fold: an older pack number":     {fold, num("next_pack", "1")},
		"fold: earlier":                  {fold, func(m map[string]any) { m["time"] = "2026-10-01T00:00:00Z" }},
		"fold: other custody":            {fold, share},
		"fold: more live":                {fold, num("live", "31")},
		"fold: fewer added":              {fold, num("fold", "added", "9")},
		"fold: more moved than added":    {fold, num("fold", "moved", "11")},
		"fold: buried that is not there": {fold, num("fold", "buried", "1")},
		"fold: late that is not buried": {fold, func(m map[string]any) {
			m["fold"].(map[string]any)["late"] = []any{map[string]any{"request": strings.Repeat("07", 32), "buried": json.Number("1")}}
		}},
		"fold: weeks of none that is dead": {fold, func(m map[string]any) { m["fold"].(map[string]any)["weeks"] = []any{json.Number("3")} }},
		"fold: weeks that go back": {fold, func(m map[string]any) {
			f := m["fold"].(map[string]any)
			f["dead"], f["weeks"] = json.Number("2"), []any{json.Number("4"), json.Number("3")}
		}},
		"fold: the topic is another one": {fold, func(m map[string]any) { m["folded"].(map[string]any)["topic"] = "t2" }},
		"fold: a lane goes back": {fold, func(m map[string]any) {
			m["folded"].(map[string]any)["lanes"] = map[string]any{"0": map[string]any{"next": 1}}
		}},
		"fold: a run is gone":         {fold, func(m map[string]any) { m["runs"] = m["runs"].([]any)[1:] }},
		"fold: a run has fewer paths": {fold, count(-1)},
		"fold: another commitment":    {fold, run(0, "hash", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")},
		"fold: a link out of packs":   {fold, run(0, "keys", []any{9, 32, 100, 100})},
		"fold: a pack is not named":   {fold, func(m map[string]any) { m["packs"] = m["packs"].([]any)[1:] }},
		"fold: a pack is another one": {fold, func(m map[string]any) { m["packs"].([]any)[0].(map[string]any)["size"] = 77 }},
		"fold: no seal":               {fold, func(m map[string]any) { m["sealed"] = "AAAA" }},
		"fold: also an erasure": {fold, func(m map[string]any) {
			m["erased"] = map[string]any{"requests": []any{}, "scopes": 0, "root": m["salt"], "list": strings.Repeat("00", 32), "size": 1}
		}},
		"fold: nobody can open it":           {fold, func(m map[string]any) { m["custody"] = map[string]any{"sets": []any{}, "shares": []any{}} }},
		"fold: another parent":               {fold, func(m map[string]any) { m["prev"] = strings.Repeat("11", 32) }},
		"fold: another number":               {fold, num("n", "2")},
		"fold: another archive":              {fold, func(m map[string]any) { m["archive"] = strings.Repeat("11", 16) }},
		"fold: in the name of somebody else": {fold, func(m map[string]any) { m["by"] = "acme/keys/other" }},
		"fold: a newer format":               {fold, func(m map[string]any) { m["stele"] = "keyroot/v2" }},
		"fold: unknown to the control log":   {fold, num("control", "1001")},

		"erasure: of the same generation": {erase, num("generation", "1")},
		"erasure: skips a generation":     {erase, num("generation", "3")},
		"erasure: more live":              {erase, num("live", "18")},
		"erasure: scopes":                 {erase, num("erased", "scopes", "1")},
		"erasure: folds":                  {erase, func(m map[string]any) { m["folded"].(map[string]any)["topic"] = "t2" }},
		"erasure: says that it folds":     {erase, func(m map[string]any) { m["fold"] = map[string]any{} }},
		"erasure: no list":                {erase, num("erased", "size", "0")},
		"erasure: a run has more":         {erase, count(1)},
		"erasure: other paths, not fewer": {erase, count(0)},
		"erasure: more removed":           {erase, num("erased", "removed", "6")},
		"erasure: more spent":             {erase, num("erased", "spent", "1")},
		"erasure: a run is gone":          {erase, func(m map[string]any) { m["runs"] = []any{} }},
		"erasure: says that it recovers": {erase, func(m map[string]any) {
			m["recovery"] = map[string]any{"from": 0, "lost": []any{}, "missing": 0, "approval": strings.Repeat("11", 32)}
		}},
		"erasure: without saying that":      {erase, func(m map[string]any) { delete(m, "erased") }},
		"erasure: a pack of an old number":  {erase, func(m map[string]any) { m["packs"].([]any)[1].(map[string]any)["n"] = 0 }},
		"erasure: a pack that nobody named": {erase, func(m map[string]any) { m["next_pack"] = 2 }},
	} {
		t.Run(name, func(t *testing.T) {
			err := judge(s.resigned(t, c.file, func(m map[string]any) {
				c.change(m)
				fix(t, m, name)
			}))
			if err == nil {
				t.Error("accepted")
			} else {
				t.Log(err)
			}
		})
	}
}

// fix brings the commitment up to date where a case changes runs, so that it is not the commitment that is refused.
func fix(t *testing.T, m map[string]any, name string) {
	if strings.Contains(name, "another commitment") {
		return
	}
	raw, err := json.Marshal(map[string]any{"runs": m["runs"]})
	if err != nil {
		t.Fatal(err)
	}
	var r Record
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	m["commitment"] = r.commitment().String()
}

// TestFirst: a chain begins with a fold of generation 1.
func TestFirst(t *testing.T) {
	s := newService(t)
	file, err := s.state.Build(s.tail, s.foldNext(t, 3), s.random, s.signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]any){
		"generation 2": func(m map[string]any) { m["generation"] = 2 },
		"a parent":     func(m map[string]any) { m["prev"] = strings.Repeat("11", 32) },
		"a recovery":   func(m map[string]any) { delete(m, "fold"); m["recovery"] = map[string]any{"lost": []any{}} },
		"more live":    func(m map[string]any) { m["live"] = 2 },
	} {
		if _, _, err := s.judge(chain.Object{Data: s.resigned(t, file, change)}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, _, err := s.judge(chain.Object{Data: file}); err != nil {
		t.Error(err)
	}
}

// TestSpelling: no byte of a record's file can be changed, and none added.
func TestSpelling(t *testing.T) {
	s := newService(t)
	s.fold(t, 3)
	file := s.space[0][0]
	keys, _ := s.verifiers(0)
	if _, err := Parse(file, keys); err != nil {
		t.Fatal(err)
	}
	for i := range file {
		for _, x := range []byte{1, 4, 0x20, 0x80} {
			bad := []byte(string(file))
			bad[i] ^= x
			if _, err := Parse(bad, keys); err == nil {
				t.Fatalf("byte %d changed from %q to %q: parsed", i, file[i], bad[i])
			}
		}
	}
	for _, bad := range []string{string(file) + "\n", string(file) + string(file[len(file)-150:]), strings.Replace(string(file), `"n":0`, `"n": 0`, 1)} {
		if _, err := Parse([]byte(bad), keys); err == nil {
			t.Errorf("parsed: %q…", bad[:40])
		}
	}
	for _, text := range []string{
		strings.Replace(string(file), `"n":0`, `"n": 0`, 1), strings.Replace(string(file), `"n":0`, `"n":0,"n":0`, 1), strings.Replace(string(file), `"n":0`, `"N":0`, 1),
		strings.Replace(string(file), `"generation":1`, `"generation":1,"burnt":[]`, 1),
	} {
		if _, err := Peek([]byte(text)); err == nil {
			t.Errorf("another spelling is read: %q", text[:200])
		}
	}
}

func FuzzPeek(f *testing.F) {
	s := newService(f)
	s.fold(f, 3)
	s.fold(f, 3)
	s.erase(f, 1)
	for _, versions := range s.space {
		f.Add(versions[0])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Peek(data)
		if err != nil {
			return
		}
		line, err := commit.MarshalLine(r)
		if text, _, _ := strings.Cut(string(data), "\n\n"); err != nil || string(line) != text+"\n" {
			t.Errorf("%q is written as %q", text, line)
		}
		var top Top
		if _, err := r.Open(&top, packs{}); err == nil {
			t.Error("opens without a key")
		}
	})
}
