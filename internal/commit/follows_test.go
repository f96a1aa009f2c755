package commit_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/merkle"
)

func newSigner(t *testing.T, name string) (note.Signer, note.Verifier) {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	s, err := merkle.NewSigner(name, ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	return s, s.(note.Verifier)
}

// link is a commit and its file.
type link struct {
	c    *commit.Commit
	file []byte
}

// signed is a commit as a reader has it.
func signed(t *testing.T, c commit.Commit) link {
	t.Helper()
	signer, verifier := newSigner(t, "acme/compactor/a")
	c.By = signer.Name()
	file, err := c.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := commit.Parse(file, note.VerifierList(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return link{parsed, file}
}

// tree is that of a commit with leaves [first, size) of a log whose leaf i is i.
func tree(first, size int) commit.Tree {
	var f merkle.Frontier
	var before []merkle.Hash
	for i := range size {
		if i == first {
			before = f.Hashes()
		}
		f.Append(merkle.LeafHash([]byte{byte(i)}))
	}
	if first >= size {
		before = f.Hashes()
	}
	return commit.Tree{First: uint64(first), Size: uint64(size), Root: f.Root(), Before: before, After: f.Hashes()}
}

const (
	logQ3, logQ4 = "acme/3/2026Q3", "acme/3/2026Q4"
	logYear      = "acme/3/2026"
)

var noon = time.Date(2026, 9, 30, 12, 0, 0, 0, time.UTC)

// history is a log of two commits, its final one, and the first two of the next log.
func history(t *testing.T) (all [5]link) {
	t.Helper()
	data := []commit.Object{{Kind: commit.KindData, Key: "k", Size: 1, Lock: "none"}}
	for i, c := range [5]commit.Commit{
		{Log: logQ3, N: 0, Tree: tree(0, 5), Objects: data},
		{Log: logQ3, N: 1, Tree: tree(5, 11), Objects: data},
		{Log: logQ3, N: 2, Tree: tree(11, 11), Final: &commit.Final{Next: logQ4}},
		{Log: logQ4, N: 0, Tree: tree(0, 0), Continues: &commit.End{Log: logQ3, N: 2}},
		{Log: logQ4, N: 1, Tree: tree(0, 2), Objects: data},
	} {
		c.Archive, c.Control, c.Time, c.SourceTime = commit.Hex16{7}, 10, noon, noon
		if i > 0 {
			c.Prev = commit.Hash(all[i-1].file)
		}
		all[i] = signed(t, c)
	}
	return all
}

// ruling is a change of a commit, and what is said against it: nothing if it may follow.
type ruling struct {
	name   string
	change func(c *commit.Commit)
	says   string
}

// rule tries rulings on a commit, which follows parent as it is.
func rule(t *testing.T, parent *link, child link, rulings []ruling) {
	t.Helper()
	for _, r := range append(rulings, ruling{"as it is", func(*commit.Commit) {}, ""}) {
		t.Run(r.name, func(t *testing.T) {
			c := *child.c
			c.Objects, c.Tree.Before, c.Tree.After = slices.Clone(c.Objects), slices.Clone(c.Tree.Before), slices.Clone(c.Tree.After)
			if c.Continues != nil {
				end := *c.Continues
				c.Continues = &end
			}
			r.change(&c)
			var err error
			if bad := signed(t, c).c; parent == nil {
				err = bad.Follows(nil, commit.Hex32{})
			} else {
				err = bad.Follows(parent.c, commit.Hash(parent.file))
			}
			says(t, err, r.says)
		})
	}
}

// says fails unless err says want, or is nil if that is "".
func says(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Error("accepted")
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("refused for another reason: %v", err)
	}
}

// What is said against a tree, and against an end.
const (
	notFirst = "not the first of its partition"
	parents  = "names parent "
	back     = "goes back in the control log or in source time"
	another  = "it says that it continues another log"
	start    = "does not start where its parent ends"
	root     = "root and compact range differ"
	ranges   = "compact range: "
	noLeaves = "the first one of a later log has no leaves and no objects"
	finals   = "a final commit has no leaves and no objects"
	closed   = logQ3 + " was closed, and goes on in " + logQ4
)

func treed(first, size int) func(*commit.Commit) {
	return func(c *commit.Commit) { c.Tree = tree(first, size) }
}

func TestFollowsNothing(t *testing.T) {
	rule(t, nil, history(t)[0], []ruling{
		{"has a parent", func(c *commit.Commit) { c.Prev[31] = 1 }, notFirst},
		{"continues a log", func(c *commit.Commit) { c.Continues = new(commit.End) }, notFirst},
		{"no leaves", treed(0, 0), ""},
		{"begins later", treed(1, 5), start},
		{"leaves before it", func(c *commit.Commit) { c.Tree.Before = tree(1, 5).Before }, start},
		{"another root", func(c *commit.Commit) { c.Tree.Root[0]++ }, root},
	})
}

func TestFollowsInALog(t *testing.T) {
	all := history(t)
	rule(t, &all[0], all[1], []ruling{
		{"another parent", func(c *commit.Commit) { c.Prev[0]++ }, parents},
		{"no parent", func(c *commit.Commit) { c.Prev = commit.Hex32{} }, parents},
		{"an older control log", func(c *commit.Commit) { c.Control-- }, back},
		{"a newer control log", func(c *commit.Commit) { c.Control++ }, ""},
		{"an earlier source time", func(c *commit.Commit) { c.SourceTime = noon.Add(-1) }, back},
		{"a later source time", func(c *commit.Commit) { c.SourceTime = noon.Add(1) }, ""},
		{"an earlier clock", func(c *commit.Commit) { c.Time = noon.Add(-time.Hour) }, ""}, // it binds nobody
		{"another log", func(c *commit.Commit) { c.Log = logQ4 }, another},
		{"continues its own log", func(c *commit.Commit) { c.Continues = &commit.End{Log: logQ3} }, another},

		{"no leaves", treed(5, 5), ""},
		{"one leaf", treed(5, 6), ""},
		{"begins before", treed(4, 11), start},
		{"begins behind", treed(6, 11), start},
		{"another number of the first leaf", func(c *commit.Commit) { c.Tree.First-- }, start},
		{"another leaf before", func(c *commit.Commit) { c.Tree.Before[1][0]++ }, start},
		{"another subtree before", func(c *commit.Commit) { c.Tree.Before[0][0]++ }, start},
		{"a range too little before", func(c *commit.Commit) { c.Tree.Before = c.Tree.Before[:1] }, start},
		{"a range too much before", func(c *commit.Commit) { c.Tree.Before = append(c.Tree.Before, merkle.Hash{}) }, start},
		{"nothing before", func(c *commit.Commit) { c.Tree.Before = nil }, start},
		{"another root", func(c *commit.Commit) { c.Tree.Root[31]++ }, root},
		{"another range after", func(c *commit.Commit) { c.Tree.After[2][0]++ }, root},
		{"a leaf less than before", func(c *commit.Commit) {
			before := c.Tree.Before
			c.Tree = tree(4, 4)
			c.Tree.First, c.Tree.Before = 5, before
		}, root},
		{"a range too little after", func(c *commit.Commit) { c.Tree.After = c.Tree.After[:2] }, ranges},
		{"another size", func(c *commit.Commit) { c.Tree.Size++ }, ranges},
	})
	rule(t, &all[3], all[4], []ruling{
		{"continues what the first one does", func(c *commit.Commit) { c.Continues = all[3].c.Continues }, another},
	})
	torn := *all[0].c
	torn.Tree.After = torn.Tree.After[:1]
	says(t, all[1].c.Follows(&torn, commit.Hash(all[0].file)), "frontier: 1 hashes for size 5")
}

func next(log string) func(*commit.Commit) {
	return func(c *commit.Commit) { c.Final = &commit.Final{Next: log} }
}

func TestFinal(t *testing.T) {
	all := history(t)
	not := logQ3 + " cannot go on in "
	rule(t, &all[1], all[2], []ruling{
		{"a leaf", treed(11, 12), finals},
		{"an object", func(c *commit.Commit) { c.Objects = all[0].c.Objects }, finals},
		{"a leaf, and not final", func(c *commit.Commit) { c.Final, c.Tree = nil, tree(11, 12) }, ""},
		{"an object, and not final", func(c *commit.Commit) { c.Final, c.Objects = nil, all[0].c.Objects }, ""},
		{"a far period", next("acme/3/2031Q1"), ""},
		{"a shorter period", next("acme/3/2026-08"), ""},
		{"a longer period", next("acme/3/2027"), ""},
		{"nowhere", next(""), not},
		{"the same log", next(logQ3), not},
		{"an earlier period", next("acme/3/2026Q2"), not},
		{"a longer one that began before", next(logYear), not},
		{"one that begins with it", next("acme/3/2026-07"), not},
		{"one that begins with it and sorts behind", next("acme/3/2026Q3"), not},
		{"another partition", next("acme/4/2026Q4"), not},
		{"another archive", next("acmf/3/2026Q4"), not},
		{"no period", next("acme/3/next"), not},
		{"no such period", next("acme/3/2026Q5"), not},
		{"a period alone", next("2026Q4"), not},
	})
	year := *all[2].c
	year.Log, all[1].c.Log = logYear, logYear
	rule(t, &all[1], link{c: &year}, []ruling{
		{"a quarter of the year", next(logQ3), ""},
		{"the first quarter of the year", next("acme/3/2026Q1"), "cannot go on in"},
		{"the first day of the year", next("acme/3/2026-01-01"), "cannot go on in"},
	})
	year.Log, all[1].c.Log = "acme/3/some", "acme/3/some"
	year.Final = nil
	rule(t, &all[1], link{c: &year}, []ruling{{"a log that is of no period", next(logQ4), "cannot go on in"}})
}

func TestFollowsALog(t *testing.T) {
	all := history(t)
	rule(t, &all[2], all[3], []ruling{
		{"another parent", func(c *commit.Commit) { c.Prev[0]++ }, parents},
		{"an older control log", func(c *commit.Commit) { c.Control-- }, back},
		{"an earlier source time", func(c *commit.Commit) { c.SourceTime = noon.Add(-1) }, back},
		{"does not say so", func(c *commit.Commit) { c.Continues = nil }, closed},
		{"goes on in the closed log", func(c *commit.Commit) { c.Log = logQ3 }, closed},
		{"goes on in the closed log as before", func(c *commit.Commit) { c.Log, c.Continues, c.Tree = logQ3, nil, tree(11, 12) }, closed},
		{"goes on elsewhere", func(c *commit.Commit) { c.Log = "acme/3/2027Q1" }, closed},
		{"continues another log", func(c *commit.Commit) { c.Continues.Log = "acme/3/2026Q2" }, closed},
		{"continues another commit", func(c *commit.Commit) { c.Continues.N = 1 }, closed},
		{"leaves", treed(0, 1), noLeaves},
		{"leaves of the log before", treed(11, 11), noLeaves},
		{"an object", func(c *commit.Commit) { c.Objects = all[0].c.Objects }, noLeaves},
		{"final itself", next("acme/3/2027Q1"), noLeaves},
		{"begins where the log before ended", func(c *commit.Commit) { c.Tree.First = 11 }, start},
		{"a hash before it", func(c *commit.Commit) { c.Tree.Before = tree(1, 1).Before }, start},
		{"another root", func(c *commit.Commit) { c.Tree.Root[0]++ }, root},
	})
}
