package backup_test

import (
	"testing"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/internal/commit"
)

// TestRotationAttacks: what somebody with a commit key, or with the store, can do where one log follows another shows.
func TestRotationAttacks(t *testing.T) {
	type world struct {
		*timed
		now, next string // periods
	}
	// rewrite puts a commit in the place of another.
	rewrite := func(w *world, period string, n int, edit func(*commit.Commit)) {
		c, err := commit.Peek(read(t, w.mem, w.key(period, n)))
		if err != nil {
			t.Fatal(err)
		}
		edit(c)
		file, err := c.Sign(w.commitSigner())
		if err != nil {
			t.Fatal(err)
		}
		_, at := commit.SplitOrigin(c.Log)
		w.mem.Remove(w.key(at, int(c.N)), "")
		w.mem.Overwrite(w.key(at, int(c.N)), file)
	}
	removeAll := func(w *world, prefix string) {
		for _, key := range keysOf(t, w.mem, prefix) {
			w.mem.Remove(key, "")
		}
	}
	const other = "test/0/2031Q1"
	whole, _, _ := turned(t)
	whole.once()
	for _, test := range []struct {
		name, says string
		attack     func(w *world)
	}{
		{"a stream is not repeated", "does not repeat where stream", func(w *world) {
			rewrite(w, w.next, 0, func(c *commit.Commit) { c.Streams = nil })
		}},
		{"a stream is put back", "does not repeat where stream", func(w *world) {
			rewrite(w, w.next, 0, func(c *commit.Commit) { c.Streams[0].Next-- })
		}},
		{"a lane is not repeated", "does not go on where lane", func(w *world) {
			rewrite(w, w.next, 0, func(c *commit.Commit) { c.Source.Lanes = nil })
		}},
		{"a lane is put back", "does not go on where lane", func(w *world) {
			rewrite(w, w.next, 0, func(c *commit.Commit) {
				for lane, at := range c.Source.Lanes {
					at.Next--
					c.Source.Lanes[lane] = at
				}
			})
		}},
		{"the log goes on behind its end", "fork", func(w *world) {
			rewrite(w, w.now, 2, func(c *commit.Commit) {
				c.N, c.Final, c.Prev = 3, nil, commit.Hash(read(t, w.mem, w.key(w.now, 2)))
			})
		}},
		{"two logs continue one", "and goes on in", func(w *world) {
			rewrite(w, w.next, 0, func(c *commit.Commit) { c.Log = other })
		}},
		{"a later log starts anew", "starts anew", func(w *world) {
			rewrite(w, w.next, 0, func(c *commit.Commit) { c.Log, c.Continues, c.Prev = other, nil, commit.Hex32{} })
		}},
		{"a later log continues nothing", "is no final one", func(w *world) {
			rewrite(w, w.next, 0, func(c *commit.Commit) { c.Log, c.Continues = other, &commit.End{Log: "test/0/2030Q1", N: 7} })
		}},
		{"the closed log is removed", "is no final one", func(w *world) { removeAll(w, "logs/0/"+w.now+"/") }},
		{"its final commit is removed", "is no final one", func(w *world) { w.mem.Remove(w.key(w.now, 2), "") }},
		{"the next log is removed", "cut or rewritten", func(w *world) { removeAll(w, "logs/0/"+w.next+"/") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := whole.clone(t)
			w := &world{a, periodAfter(t, 0), periodAfter(t, quarter)}
			if got := a.periods(); len(got) != 2 {
				t.Fatalf("%v", got)
			}
			test.attack(w)
			report := a.verify(VerifyOptions{})
			wantExit(t, report, 10)
			wantFault(t, report.Faults, "integrity", "", test.says)
		})
	}
}
