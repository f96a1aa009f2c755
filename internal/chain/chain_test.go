package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
)

// memory is a space of objects "<parent>/<name>[!burnt,…]", judged by parent.
type memory struct {
	objects map[uint64]string
	create  error
	lost    bool // Create stores, and reports create
}

func (m *memory) From(_ context.Context, n uint64) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(m.objects)) {
			if k >= n && !yield(Object{N: k, Key: fmt.Sprintf("x/%020d", k), Data: []byte(m.objects[k])}, nil) {
				return
			}
		}
	}
}

func (m *memory) Create(_ context.Context, n uint64, data []byte) error {
	if _, ok := m.objects[n]; ok {
		return fs.ErrExist
	}
	if m.create == nil || m.lost {
		m.objects[n] = string(data)
	}
	return m.create
}

// judge accepts children of the last name, in order.
func judge(names *[]string) Judge {
	return func(o Object) ([]uint64, func(), error) {
		text, list, _ := strings.Cut(string(o.Data), "!")
		parent, name, ok := strings.Cut(text, "/")
		last := ""
		if len(*names) > 0 {
			last = (*names)[len(*names)-1]
		}
		switch {
		case !ok:
			return nil, nil, errors.New("rubbish")
		case parent != last && slices.Contains(append(*names, ""), parent):
			return nil, nil, ErrFork
		case parent != last:
			return nil, nil, ErrOrphan
		}
		var burnt []uint64
		for _, s := range strings.Split(list, ",") {
			var n uint64
			if _, err := fmt.Sscan(s, &n); err == nil {
				burnt = append(burnt, n)
			}
		}
		return burnt, func() { *names = append(*names, name) }, nil
	}
}

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name    string
		objects map[uint64]string
		want    string // names accepted
		next    uint64
		burnt   []uint64
		found   []string
	}{
		{"nothing", nil, "", 0, nil, nil},
		{"a chain", map[uint64]string{0: "/a", 1: "a/b", 2: "b/c"}, "abc", 3, nil, nil},
		{"burnt at the end", map[uint64]string{0: "/a", 1: "x"}, "a", 2, []uint64{1}, []string{"1 squat"}},
		{"burnt and declared", map[uint64]string{0: "/a", 1: "x", 2: "y", 3: "a/b!1,2"}, "ab", 4, nil, []string{"1 squat", "2 squat"}},
		{"burnt and not declared", map[uint64]string{0: "/a", 1: "x", 2: "a/b"}, "a", 3, []uint64{1, 2}, []string{"1 squat", "2 squat"}},
		{"declared, and not burnt", map[uint64]string{0: "/a", 1: "a/b!0"}, "a", 2, []uint64{1}, []string{"1 squat"}},
		{"burnt, declared and gone", map[uint64]string{0: "/a", 2: "a/b!1", 3: "b/c"}, "abc", 4, nil, []string{"1 squat"}},
		{"one of two burnt is gone", map[uint64]string{0: "/a", 1: "x", 3: "a/b!1,2"}, "ab", 4, nil, []string{"1 squat", "2 squat"}},
		{"squatted ahead", map[uint64]string{0: "/a", 5: "x"}, "a", 1, nil, []string{"5 squat"}},
		{"first gone", map[uint64]string{1: "a/b", 2: "b/c"}, "", 0, nil, []string{"0 missing"}},
		{"middle gone", map[uint64]string{0: "/a", 2: "b/c"}, "a", 1, nil, []string{"1 missing"}},
		{"middle replaced", map[uint64]string{0: "/a", 1: "x", 2: "b/c"}, "a", 2, []uint64{1}, []string{"1 squat", "2 missing"}},
		{"skipped without a word", map[uint64]string{0: "/a", 2: "a/b"}, "a", 1, nil, []string{"1 missing"}},
		{"fork", map[uint64]string{0: "/a", 1: "a/b", 2: "a/c", 3: "b/d!2"}, "abd", 4, nil, []string{"2 fork"}},
	} {
		var names, found []string
		tail, err := Read(t.Context(), &memory{objects: test.objects}, Tail{}, judge(&names), func(f Finding) {
			if s := fmt.Sprintf("%d %s", f.N, f.Kind); !slices.Contains(found, s) {
				found = append(found, s)
			}
			if want := fmt.Sprintf("x/%020d", f.N); f.Key != want {
				t.Errorf("%s: finding names %s, want %s", test.name, f.Key, want)
			}
		})
		if err != nil || strings.Join(names, "") != test.want || tail.Next != test.next || !slices.Equal(tail.Burnt, test.burnt) || !slices.Equal(found, test.found) {
			t.Errorf("%s: %v %+v %v %v", test.name, names, tail, found, err)
		}
	}
}

// TestListingThatGrows: a listing passes a number just before it is made, and sees the one behind it.
func TestListingThatGrows(t *testing.T) {
	var names []string
	m := &memory{objects: map[uint64]string{0: "/a", 2: "b/c", 9: "x"}}
	grown := &growing{memory: m, at: 2, put: map[uint64]string{1: "a/b"}}
	tail, err := Read(t.Context(), grown, Tail{}, judge(&names), func(f Finding) {
		if f.Kind == Missing {
			t.Errorf("%v", f)
		}
	})
	if err != nil || tail.Next != 3 || strings.Join(names, "") != "abc" {
		t.Errorf("%v %+v %v", names, tail, err)
	}
}

// growing puts objects when its listing reaches a number.
type growing struct {
	*memory
	at  uint64
	put map[uint64]string
}

func (g *growing) From(ctx context.Context, n uint64) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range g.memory.From(ctx, n) {
			if o.N == g.at {
				maps.Copy(g.objects, g.put)
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

func TestUndecided(t *testing.T) {
	m := &memory{objects: map[uint64]string{0: "/a", 1: "a/b"}}
	tail, err := Read(t.Context(), m, Tail{}, func(o Object) ([]uint64, func(), error) {
		if o.N == 1 {
			return nil, nil, fmt.Errorf("%w: store is down", ErrUndecided)
		}
		return nil, func() {}, nil
	}, func(f Finding) { t.Errorf("%v", f) })
	if !errors.Is(err, ErrUndecided) || tail.Next != 1 || tail.Burnt != nil {
		t.Errorf("%+v %v", tail, err)
	}
}

func TestAppend(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name string
		m    memory
		won  bool
		fail bool
	}{
		{"made", memory{objects: map[uint64]string{}}, true, false},
		{"reply lost", memory{objects: map[uint64]string{}, create: broken, lost: true}, true, false},
		{"ours already", memory{objects: map[uint64]string{0: "mine"}}, true, false},
		{"taken", memory{objects: map[uint64]string{0: "theirs"}}, false, false},
		{"not made", memory{objects: map[uint64]string{}, create: broken}, false, true},
		{"not made, one ahead", memory{objects: map[uint64]string{3: "x"}, create: broken}, false, true},
		{"refused, nothing there", memory{objects: map[uint64]string{}, create: fs.ErrExist}, false, true},
	} {
		won, err := Append(t.Context(), &test.m, Tail{}, []byte("mine"))
		if won != test.won || (err != nil) != test.fail || test.fail && !errors.Is(err, test.m.create) {
			t.Errorf("%s: won %v, %v", test.name, won, err)
		}
	}
	hidden := &overlaid{memory{objects: map[uint64]string{}}}
	if won, err := Append(t.Context(), hidden, Tail{}, []byte("mine")); won || err != nil {
		t.Errorf("over an older version: won %v, %v", won, err)
	}
}

// overlaid takes an object and shows an older one, as a bucket does where a delete marker lies.
type overlaid struct{ memory }

func (o *overlaid) Create(context.Context, uint64, []byte) error { o.objects[0] = "theirs"; return nil }
