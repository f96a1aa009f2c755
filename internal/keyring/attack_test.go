package keyring

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/keytrie"
)

// history is every node that was ever written, with the key it was written under.
type history struct {
	w     *world
	nodes [2][]keytrie.Root // of key tries, of index tries
	seen  [2]map[keytrie.Link]bool
}

func (h *history) trie(kind int) *keytrie.Trie {
	if kind == 0 {
		return h.w.Ring.keys()
	}
	return h.w.index()
}

// note takes down the nodes of the present version that lie in pack from or later: older ones are known.
func (h *history) note(t *testing.T, from uint64) {
	for _, run := range h.w.Runs {
		for kind, root := range []keytrie.Root{run.Keys, run.Index} {
			if root.Count > 0 {
				h.walk(t, kind, root, from)
			}
		}
	}
}

func (h *history) walk(t *testing.T, kind int, r keytrie.Root, from uint64) {
	if r.Link.Pack < from || h.seen[kind][r.Link] {
		return
	}
	h.seen[kind][r.Link] = true
	h.nodes[kind] = append(h.nodes[kind], r)
	_, children, err := h.trie(kind).Open(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range children {
		h.walk(t, kind, c, from)
	}
}

// attack opens every node ever written whose key can be learned from the keys of the present version: which scopes, and
// which tags, come to light?
func (h *history) attack(t *testing.T) (scopes map[string]bool, tags map[string]bool) {
	known := map[[32]byte]bool{}
	for _, run := range h.w.Runs {
		known[run.Keys.Key], known[run.Index.Key] = true, true
	}
	scopes, tags = map[string]bool{}, map[string]bool{}
	opened := map[string]bool{}
	for more := true; more; {
		more = false
		for kind := range h.nodes {
			for i := range h.nodes[kind] {
				r := h.nodes[kind][i]
				id := fmt.Sprint(kind, i)
				if !known[r.Key] || opened[id] {
					continue
				}
				opened[id], more = true, true
				entries, children, err := h.trie(kind).Open(context.Background(), r)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range children {
					known[c.Key] = true
				}
				for _, e := range entries {
					switch {
					case kind == 0 && IsScope(e.Path):
						scopes[string(e.Path)] = true
					case kind == 1 && (e.Path[0] == indexStay || e.Path[0] == indexExpire):
						tags[string(e.Path)] = true
					}
				}
			}
		}
	}
	return scopes, tags
}

// few is a broken source of node keys: it has only some.
type few struct{ rand *rand.Rand }

func (f few) Read(p []byte) (int, error) {
	clear(p)
	for i := 0; i+32 <= len(p); i += 32 {
		p[i] = byte(f.rand.IntN(100))
	}
	return len(p), nil
}

// TestAttack: from the keys of the last version and all packs of all versions, everything that lives opens, nothing that
// was erased does, and no tag of what was erased. With node keys that come again, most of it does.
func TestAttack(t *testing.T) {
	keys, erasures := 100_000, 500
	if testing.Short() || os.Getenv("STELE_LONG") == "" {
		keys, erasures = 6_000, 100
	}
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken=%v", broken), func(t *testing.T) { attack(t, keys, erasures, broken) })
	}
}

func attack(t *testing.T, keys, erasures int, broken bool) {
	ctx := context.Background()
	w := newWorld(11)
	h := &history{w: w, seen: [2]map[keytrie.Link]bool{{}, {}}}
	if broken {
		w.keys = few{w.rand}
	}
	live, erased, gone := map[string]Scope{}, map[string]bool{}, map[string]bool{}
	write := func(f func(*keytrie.Writer) (*Ring, error)) {
		first := w.next
		w.Ring = w.write(t, f)
		h.note(t, first)
	}
	for step := range erasures {
		if step%(erasures/10) == 0 {
			var b Batch
			if step == 0 {
				b.Intake = []IntakeKey{intake(keyscope.Week(keyscope.DayStart(firstDay)))}
			}
			for range keys / 10 {
				w.day = firstDay + uint16(w.rand.IntN(60))
				s := w.offer(keys/20, uint16(w.rand.IntN(2)*3))
				live[string(s.path())] = s
				b.Scopes = append(b.Scopes, s)
			}
			write(func(out *keytrie.Writer) (*Ring, error) { return w.Fold(ctx, out, b) })
		}
		var e Erasure
		var err error
		switch {
		case step%50 == 49:
			var days []uint16
			if days, err = w.Days(ctx); err == nil && len(days) > 0 {
				e.Days = days[:1]
			}
		default:
			kind := []string{"subject", "session"}[step%2]
			e.Scopes, err = w.Tagged(ctx, tag(kind, w.rand.IntN(keys/20)))
		}
		if err != nil {
			t.Fatal(err)
		}
		write(func(out *keytrie.Writer) (*Ring, error) {
			next, list, err := w.Erase(ctx, out, e)
			if err != nil {
				return nil, err
			}
			for _, paths := range list.Removed {
				for _, p := range paths {
					if s, ok := live[string(p)]; ok {
						for _, path := range s.tagPaths() {
							gone[string(path)] = true
						}
						erased[string(p)] = true
						delete(live, string(p))
					}
				}
			}
			return next, nil
		})
		if step%5 == 4 { // the runs that erasures add are merged
			write(func(out *keytrie.Writer) (*Ring, error) { return w.Fold(ctx, out, Batch{}) })
		}
	}
	for _, s := range live {
		for _, path := range s.tagPaths() {
			delete(gone, string(path))
		}
	}
	scopes, tags := h.attack(t)
	missing, risen, named := 0, 0, 0
	for p := range live {
		if !scopes[p] {
			missing++
		}
	}
	for p := range erased {
		if scopes[p] {
			risen++
		}
	}
	for p := range gone {
		if tags[p] {
			named++
		}
	}
	t.Logf("%d nodes; of %d live %d do not open; of %d erased %d do, and %d of their %d tags", len(h.nodes[0])+len(h.nodes[1]),
		len(live), missing, len(erased), risen, named, len(gone))
	if missing > 0 || len(erased) < erasures/2 {
		t.Errorf("%d of %d live keys do not open, %d were erased", missing, len(live), len(erased))
	}
	if !broken && risen+named > 0 {
		t.Errorf("%d of %d erased keys and %d tags came back", risen, len(erased), named)
	}
	if broken && (risen < len(erased)/2 || named < len(gone)/2) {
		t.Errorf("node keys come again, and the attack finds %d of %d only: it is too weak", risen, len(erased))
	}
}
