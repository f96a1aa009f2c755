package keyring

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/stelelog/stele/internal/keyscope"
)

// model is what a ring must behave like.
type model struct {
	live   map[string]Scope // by path
	spent  map[string]Spent
	intake map[uint16]bool
	stones map[Tombstone]bool
	holds  map[Hold]bool
	past   []Scope // every grant there ever was
}

func (m *model) judge(s *Scope) Verdict {
	sp := s.Spent()
	if _, ok := m.spent[string(sp.path())]; ok {
		return Replayed
	}
	for _, k := range m.live {
		if k.ID == s.ID && k.Check() == s.Check() {
			return Repeated
		}
	}
	for _, k := range m.live {
		if k.ID == s.ID && k.Stream == s.Stream {
			return Refused
		}
	}
	if m.denied(s) && !m.held(s) {
		m.spent[string(sp.path())] = sp
		return Buried
	}
	m.live[string(s.path())] = *s
	return Added
}

func (m *model) denied(s *Scope) bool {
	for t := range m.stones {
		if s.Tags.Has(t.Tag) && s.Start <= t.Cutoff {
			return true
		}
	}
	return false
}

func (m *model) held(s *Scope) bool {
	for h := range m.holds {
		if s.Tags.Has(h.Tag) {
			return true
		}
	}
	return false
}

// remove erases scopes, and remembers those whose intake key is there.
func (m *model) remove(gone func(*Scope) bool, weeks []uint16) {
	for _, w := range weeks {
		delete(m.intake, w)
	}
	for path, s := range m.spent {
		if len(weeks) > 0 && !m.intake[s.Week] {
			delete(m.spent, path)
		}
	}
	for path, s := range m.live {
		if !gone(&s) {
			continue
		}
		delete(m.live, path)
		if m.intake[s.Week] {
			sp := s.Spent()
			m.spent[string(sp.path())] = sp
		}
	}
	for t := range m.stones {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(m.intake)), func(w uint16) bool { return w <= t.lastWeek() }) {
			delete(m.stones, t)
		}
	}
}

// TestModel runs days of folds and erasures of every kind against a map.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rapid.Uint64().Draw(rt, "seed"))
		w.limit = rapid.SampledFrom([]int{2000, 1 << 20}).Draw(rt, "pack limit")
		m := &model{map[string]Scope{}, map[string]Spent{}, map[uint16]bool{}, map[Tombstone]bool{}, map[Hold]bool{}, nil}
		weeks := Batch{}
		for i := range uint16(4) {
			k := intake(keyscope.Week(keyscope.DayStart(w.day)) + i)
			weeks.Intake, m.intake[k.Week] = append(weeks.Intake, k), true
		}
		w.fold(rt, weeks)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"fold", "fold", "fold", "tag", "day", "some", "week", "mark", "nothing"}).Draw(rt, "step") {
			case "fold":
				foldStep(rt, w, m)
			case "mark":
				markStep(rt, w, m)
			case "nothing":
				w.fold(rt, Batch{})
			case "tag":
				tagStep(rt, w, m)
			case "day":
				dayStep(rt, w, m)
			case "some":
				someStep(rt, w, m)
			case "week":
				weekStep(rt, w, m)
			}
			check(rt, w, m)
			w.day += uint16(rapid.IntRange(0, 5).Draw(rt, "days pass"))
		}
	})
}

func foldStep(rt *rapid.T, w *world, m *model) {
	var offers []Scope
	for range rapid.IntRange(0, 120).Draw(rt, "grants") {
		ttl := uint16(w.rand.IntN(2) * (1 + w.rand.IntN(3)))
		s := w.offer(40, ttl)
		switch w.rand.IntN(12) {
		case 0: // a copy of a grant, perhaps on another day
			if len(m.past) > 0 {
				s = m.past[w.rand.IntN(len(m.past))]
				s.Place(at(w.day, 1), ttl)
			}
		case 1: // another key under an id, of any stream
			if len(m.past) > 0 {
				s.ID = m.past[w.rand.IntN(len(m.past))].ID
				s.Place(at(w.day, 1), ttl)
			}
		case 2: // ids that share their beginning
			copy(s.ID[2:10], "same    ")
			s.Place(at(w.day, 1), ttl)
		case 3: // late
			s.Place(at(w.day+3, 1), ttl)
		}
		offers = append(offers, s)
	}
	verdicts, err := w.Admit(context.Background(), offers)
	if err != nil {
		rt.Fatal(err)
	}
	var b Batch
	for i, s := range offers {
		known := len(m.live)
		want := m.judge(&s)
		if verdicts[i] != want {
			rt.Fatalf("grant %d is %d, want %d (%d keys)", i, verdicts[i], want, known)
		}
		switch want {
		case Added:
			b.Scopes = append(b.Scopes, s)
		case Buried:
			b.Spent = append(b.Spent, s.Spent())
		}
		m.past = append(m.past, s)
	}
	w.fold(rt, b)
}

func markStep(rt *rapid.T, w *world, m *model) {
	h := Hold{tag("subject", w.rand.IntN(40)), id16("hold", uint64(len(m.holds)))}
	t := Tombstone{Tag: tag("tenant", w.rand.IntN(3)), Cutoff: at(w.day, 0).UnixNano(), Request: [32]byte{byte(w.rand.IntN(3))}}
	m.holds[h], m.stones[t] = true, true
	w.fold(rt, Batch{Holds: []Hold{h}, Tombstones: []Tombstone{t}})
}

// erasing keeps what is held out of an erasure, as the one who asks for it must.
func erasing(rt *rapid.T, w *world, found []Located, e Erasure) Erasure {
	scopes := make([]Scope, len(found))
	for i := range found {
		scopes[i] = found[i].Scope
	}
	held, err := w.Held(context.Background(), scopes)
	if err != nil {
		rt.Fatal(err)
	}
	for i := range found {
		if !held[i] {
			e.Scopes = append(e.Scopes, found[i])
		}
	}
	return e
}

func tagStep(rt *rapid.T, w *world, m *model) {
	kind := rapid.SampledFrom([]string{"tenant", "subject", "session"}).Draw(rt, "kind")
	tag := tag(kind, w.rand.IntN(map[string]int{"tenant": 3, "subject": 40, "session": 120}[kind]))
	found, err := w.Tagged(context.Background(), tag)
	if err != nil {
		rt.Fatal(err)
	}
	stone := Tombstone{Tag: tag, Cutoff: at(w.day, 0).UnixNano(), Request: [32]byte{7}}
	list := w.erase(rt, erasing(rt, w, found, Erasure{Tombstones: []Tombstone{stone}}))
	m.remove(func(s *Scope) bool { return s.Tags.Has(tag) && !m.held(s) }, nil)
	if len(list.Removed) != len(w.Runs)-1 {
		rt.Fatalf("%d runs, list of %d", len(w.Runs), len(list.Removed))
	}
	m.stones[stone] = true
}

func dayStep(rt *rapid.T, w *world, m *model) {
	days, err := w.Days(context.Background())
	if err != nil {
		rt.Fatal(err)
	}
	if len(days) == 0 {
		return
	}
	day := days[w.rand.IntN(len(days))]
	found, err := w.Day(context.Background(), day)
	if err != nil {
		rt.Fatal(err)
	}
	e := erasing(rt, w, found, Erasure{})
	if len(e.Scopes) == len(found) {
		e = Erasure{Days: []uint16{day}, Scopes: found[:len(found)/2]}
	}
	w.erase(rt, e)
	m.remove(func(s *Scope) bool { return s.Expires && s.Day == day && !m.held(s) }, nil)
}

func someStep(rt *rapid.T, w *world, m *model) {
	var some []Located
	ids := map[string]bool{}
	for s, err := range w.All(context.Background()) {
		if err != nil {
			rt.Fatal(err)
		}
		if w.rand.IntN(10) == 0 && !m.held(&s.Scope) {
			some = append(some, s, s) // naming one twice does no harm
			ids[string(s.path())] = true
		}
	}
	var release []Hold
	for h := range m.holds {
		release = append(release, h)
	}
	w.erase(rt, Erasure{Scopes: some, Release: release})
	m.remove(func(s *Scope) bool { return ids[string(s.path())] }, nil)
	clear(m.holds)
}

func weekStep(rt *rapid.T, w *world, m *model) {
	keys, err := w.Intake(context.Background())
	if err != nil {
		rt.Fatal(err)
	}
	if len(keys) == 0 {
		return
	}
	forget := rapid.IntRange(0, 3).Draw(rt, "spent paths at once")
	w.erase(rt, Erasure{Weeks: []uint16{keys[0].Week}, Forget: forget})
	for {
		more, err := w.Forgettable(context.Background(), nil)
		if err != nil {
			rt.Fatal(err)
		}
		if !more {
			break
		}
		if list := w.erase(rt, Erasure{Forget: forget + 1}); list.Paths() == 0 || list.Paths() > uint64(forget+1) {
			rt.Fatalf("%d paths forgotten, at most %d at once", list.Paths(), forget+1)
		}
	}
	m.remove(func(*Scope) bool { return false }, []uint16{keys[0].Week})
}

// check compares everything that can be asked.
func check(rt *rapid.T, w *world, m *model) {
	ctx := context.Background()
	got := map[string]Scope{}
	for s, err := range w.All(ctx) {
		if err != nil {
			rt.Fatal(err)
		}
		got[string(s.path())] = s.Scope
	}
	if !maps.Equal(got, m.live) {
		rt.Fatalf("%d scopes, want %d", len(got), len(m.live))
	}
	if err := w.Verify(ctx); err != nil {
		rt.Fatal(err)
	}
	spent, err := w.Spent(ctx)
	if err != nil || len(spent) != len(m.spent) {
		rt.Fatalf("%d spent, %v, want %d", len(spent), err, len(m.spent))
	}
	keys, err := w.Intake(ctx)
	if err != nil || len(keys) != len(m.intake) {
		rt.Fatalf("%d intake keys, %v, want %d", len(keys), err, len(m.intake))
	}
	stones, holds, err := w.Marks(ctx)
	if err != nil || len(stones) != len(m.stones) || len(holds) != len(m.holds) {
		rt.Fatalf("%v %v %v, want %v %v", stones, holds, err, m.stones, m.holds)
	}
	checkFinding(rt, w, m)
	if len(w.Runs) > 20 {
		rt.Fatalf("%d runs", len(w.Runs))
	}
}

func checkFinding(rt *rapid.T, w *world, m *model) {
	ctx := context.Background()
	for _, kind := range []string{"tenant", "subject", "session"} {
		tag := tag(kind, w.rand.IntN(10))
		found, err := w.Tagged(ctx, tag)
		if err != nil {
			rt.Fatal(err)
		}
		want := 0
		for _, s := range m.live {
			if s.Tags.Has(tag) {
				want++
			}
		}
		if len(found) != want {
			rt.Fatalf("%d scopes with a tag, want %d", len(found), want)
		}
	}
	var ids [][16]byte
	want := map[string]bool{}
	for i := range 12 {
		if len(m.past) > 0 {
			ids = append(ids, m.past[(i*37)%len(m.past)].ID)
		}
	}
	for path, s := range m.live {
		if slices.Contains(ids, s.ID) {
			want[path] = true
		}
	}
	found, err := w.Find(ctx, ids)
	if err != nil || len(found) != len(want) {
		rt.Fatalf("%d scopes by id, %v, want %d", len(found), err, len(want))
	}
	var scopes []Scope
	for _, s := range found {
		if !want[string(s.path())] {
			rt.Fatalf("scope %x was not asked for", s.ID)
		}
		scopes = append(scopes, s.Scope)
	}
	denied, err := w.Denied(ctx, scopes)
	for i := range scopes {
		if err != nil || denied[i] != m.denied(&scopes[i]) {
			rt.Fatalf("scope %x denied: %v, %v", scopes[i].ID, denied[i], err)
		}
	}
	checks, err := w.Checks(ctx, ids)
	if err != nil {
		rt.Fatal(err)
	}
	n := 0
	for _, c := range checks {
		n += len(c)
	}
	if n != len(want) {
		rt.Fatal(fmt.Sprintf("%d checks in public, want %d", n, len(want)))
	}
}
