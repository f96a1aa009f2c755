package keyroot

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/keyring"
	"github.com/stelelog/stele/internal/keytrie"
)

// resigned is a record changed and signed again by the key service: authentic, and not what may follow. What follows from
// the runs is brought up to date, so that not always the same rule refuses it; bare leaves it as it is.
func (s *service) resigned(t *testing.T, file []byte, bare bool, change func(*Record)) []byte {
	t.Helper()
	n, err := note.Open(file, note.VerifierList(s.signer.(note.Verifier)))
	if err != nil {
		t.Fatal(err)
	}
	r := new(Record)
	if err := json.Unmarshal([]byte(n.Text), r); err != nil {
		t.Fatal(err)
	}
	change(r)
	if !bare {
		r.Commitment, r.Sealed = r.commitment(), make([]byte, perRun*len(r.Runs)+16)
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

// ruling is a change of a record, and what is said against it: nothing if it may follow.
type ruling struct {
	name   string
	change func(*Record)
	says   string
}

// rule tries rulings on one record, which may follow as it is.
func (s *service) rule(t *testing.T, kind string, file []byte, rulings []ruling) {
	t.Helper()
	for _, c := range append(rulings, ruling{"as it is", func(*Record) {}, ""}) {
		t.Run(kind+"/"+c.name, func(t *testing.T) {
			bad := s.resigned(t, file, strings.HasPrefix(c.name, "bare: "), c.change)
			_, _, err := s.judge(chain.Object{N: s.tail.Next, Data: bad})
			switch {
			case c.says == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.says != "" && err == nil:
				t.Error("accepted")
			case c.says != "" && !strings.Contains(err.Error(), c.says):
				t.Errorf("refused for another reason: %v", err)
			}
		})
	}
}

func (s *service) built(t *testing.T, x Next) []byte {
	t.Helper()
	file, err := s.state.Build(s.tail, x, s.random, s.signer)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// unchanged is a record that folds nothing and leaves everything where it is.
func (s *service) unchanged() Next {
	last, _ := s.state.Last()
	top := s.tops[last.Generation]
	return Next{Ring: s.ring, Top: &top, Packs: last.Packs, NextPack: last.NextPack, Folded: last.Folded, Live: last.Live, Control: last.Control, Time: last.Time}
}

// twoRuns is a chain whose newest record has two runs, packs with numbers before the next one that nobody has, and
// five entries of the control log.
func twoRuns(t *testing.T) *service {
	s := newService(t)
	s.control = 5
	s.fold(t, 200)
	x := s.foldNext(t, 20)
	x.NextPack += 3
	if !s.put(t, x) {
		t.Fatal("lost")
	}
	if last, _ := s.state.Last(); len(last.Runs) != 2 {
		t.Fatalf("%d runs: not what this tests", len(last.Runs))
	}
	return s
}

const huge = 1<<48 + 1

// TestRecordRules: what is refused in a record alone.
func TestRecordRules(t *testing.T) {
	s := twoRuns(t)
	p, _ := s.state.Last()
	fold := s.built(t, s.foldNext(t, 2))
	missing, packs := "a member is missing", "keyroot: pack "
	share := func(r *Record) *Share { return &r.Custody.Shares[1] }
	s.rule(t, "fold", fold, []ruling{
		{"generation 0", func(r *Record) { r.Generation = 0 }, "generation 0, "},
		{"too many runs", func(r *Record) { r.Runs = slices.Repeat(r.Runs, 30) }, "90 runs"},
		{"more live than there is", func(r *Record) { r.Live = r.paths() + 1 }, " live of "},
		{"no runs", func(r *Record) { r.Runs, r.Live = nil, 0 }, missing},
		{"no packs", func(r *Record) { r.Packs = nil }, missing},
		{"no sets", func(r *Record) { r.Custody.Sets = nil }, missing},
		{"no shares", func(r *Record) { r.Custody.Shares = nil }, missing},
		{"bare: no seal", func(r *Record) { r.Sealed = nil }, "0 sealed bytes"},
		{"bare: another commitment", func(r *Record) { r.Runs[0].Hash[0]++ }, "the commitment is not that of the runs"},
		{"also an erasure", func(r *Record) { r.Erased = &Erased{} }, "folds, erases or recovers"},
		{"also a recovery", func(r *Record) { r.Recovery = &Recovery{Lost: []Lost{}} }, "folds, erases or recovers"},
		{"nothing is lost", func(r *Record) { r.Fold, r.Recovery = nil, &Recovery{} }, "says what is lost"},
		{"a newer format", func(r *Record) { r.Stele = "keyroot/v2" }, `"keyroot/v2"; a newer stele`},
		{"in the name of somebody else", func(r *Record) { r.By = "acme/keys/other" }, "signed by acme/keys/keys, not by"},

		{"a pack twice", func(r *Record) { r.Packs = append(r.Packs, r.Packs[len(r.Packs)-1]) }, packs},
		{"packs out of order", func(r *Record) { slices.Reverse(r.Packs) }, packs},
		{"a pack to come", func(r *Record) { r.NextPack-- }, packs},
		{"a pack of no run", func(r *Record) { r.Packs = append(r.Packs, Pack{N: r.NextPack, Size: 1}); r.NextPack++ }, packs},
		{"a pack of no bytes", func(r *Record) { r.Packs[2].Size = 0 }, packs},
		{"a pack of too many", func(r *Record) { r.Packs[2].Size = keytrie.MaxPack + 1 }, packs},
		{"a pack of one byte", func(r *Record) { r.Packs[2].Size = 1 }, ""},
		{"a pack of many", func(r *Record) { r.Packs[2].Size = keytrie.MaxPack }, ""},
		{"a pack is not named", func(r *Record) { r.Packs = r.Packs[1:] }, "runs lie in 3 packs, 2 are named"},

		{"a run without packs", func(r *Record) { r.Runs[2].Packs = nil; r.Packs = r.Packs[:2] }, "run 2: packs []"},
		{"packs of a run out of order", func(r *Record) { r.Runs[2].Packs = []uint64{r.Packs[2].N, r.Packs[0].N} }, "run 2: packs ["},
		{"a pack of a run twice", func(r *Record) { r.Runs[2].Packs = slices.Repeat(r.Runs[2].Packs, 2) }, "run 2: packs ["},
		{"a run of too many paths", func(r *Record) { r.Runs[2].Count = huge }, "run 2: 281474976710657 paths at"},
		{"a run of no paths with a root", func(r *Record) { r.Runs[2].Count = 0 }, "run 2: 0 paths at"},
		{"a run without a root", func(r *Record) { r.Runs[2].Keys = [4]uint64{} }, " paths at [0 0 0 0]"},
		{"a run without a hash", func(r *Record) { clear(r.Runs[2].Hash[:]) }, "run 2: 2 paths at"},
		{"a root in another pack", func(r *Record) { r.Runs[2].Keys[0] = 1 }, "run 2: a link to [1 "},
		{"an index in another pack", func(r *Record) { r.Runs[2].Index[0] = 1 }, "run 2: a link to [1 "},
		{"a root that lies too far", func(r *Record) { r.Runs[2].Keys[1] = keytrie.MaxPack + 1 }, "run 2: a link to"},
		{"a root of too much in clear", func(r *Record) { r.Runs[2].Keys[2] = keytrie.MaxPack + 1 }, "run 2: a link to"},
		{"an index of too much", func(r *Record) { r.Runs[2].Index[3] = keytrie.MaxPack + 1 }, "run 2: a link to"},
		{"no index", func(r *Record) { r.Runs[2].Index = [4]uint64{} }, ""},

		{"nobody can open it", func(r *Record) { r.Custody = Custody{Sets: [][]string{}, Shares: []Share{}} }, "0 sets of custodians"},
		{"a share less", func(r *Record) { r.Custody.Shares = r.Custody.Shares[:5] }, "the share of c in set 2 is not where it must be"},
		{"a share more", func(r *Record) { r.Custody.Shares = append(r.Custody.Shares, *share(r)) }, "more shares than members"},
		{"a share in another set", func(r *Record) { share(r).Set = 1 }, "the share of b in set 0 is not where it must be"},
		{"a share of somebody else", func(r *Record) { share(r).Custodian = "c" }, "the share of b in set 0 is not where it must be"},
		{"an empty share", func(r *Record) { share(r).Share = []byte{} }, "the share of b in set 0 has 0 bytes"},
		{"a share of too many bytes", func(r *Record) { share(r).Share = make([]byte, maxBlob+1) }, "has 1025 bytes"},

		{"another parent", func(r *Record) { r.Prev = commit.Hex32{1} }, chain.ErrOrphan.Error()},
		{"an older parent", func(r *Record) { r.Prev = p.Prev }, chain.ErrFork.Error()},
		{"no parent", func(r *Record) { r.Prev = commit.Hex32{} }, chain.ErrFork.Error()},
		{"another number", func(r *Record) { r.N++ }, "this is record 3 of archive a501"},
		{"another archive", func(r *Record) { r.Archive[0]++ }, "this is record 2 of archive a601"},
		{"unknown to the control log", func(r *Record) { r.Control = 1001 }, chain.ErrUndecided.Error()},
	})
}

// TestFoldRules: what a fold may not do to the record before.
func TestFoldRules(t *testing.T) {
	s := twoRuns(t)
	back, replaced, counts := "goes back in control log, packs or time", "of 2 runs ", " do not come of "
	late := func(l ...Late) func(*Record) { return func(r *Record) { r.Fold.Buried, r.Fold.Late = 2, l } }
	weeks := func(dead uint64, w ...uint16) func(*Record) {
		return func(r *Record) { r.Fold.Dead, r.Fold.Weeks = dead, w }
	}
	old := func(r *Record) { // the new pack has a number that is before those to come
		n := r.NextPack - 2
		r.Packs[2].N, r.Runs[2].Packs[0], r.Runs[2].Keys[0], r.Runs[2].Index[0] = n, n, n, n
	}
	s.rule(t, "fold", s.built(t, s.foldNext(t, 2)), []ruling{
		{"another generation", func(r *Record) { r.Generation++ }, "a generation changes with an erasure only"},
		{"other shares", func(r *Record) { r.Custody.Shares[0].Share[0]++ }, "custody with the generation"},
		{"other sets", func(r *Record) {
			r.Custody.Sets, r.Custody.Shares = [][]string{{"a", "b"}}, r.Custody.Shares[:2]
		}, "custody with the generation"},
		{"neither fold nor erasure", func(r *Record) { r.Fold = nil }, counts},
		{"fewer control entries", func(r *Record) { r.Control-- }, back},
		{"earlier", func(r *Record) { r.Time = r.Time.Add(-time.Hour) }, back},
		{"a pack of an old number", old, "pack 5 is not what it was"},
		{"a pack is another one", func(r *Record) { r.Packs[0].SHA256[0]++ }, "pack 1 is not what it was"},
		{"a pack has another size", func(r *Record) { r.Packs[0].Size++ }, "pack 1 is not what it was"},

		{"the first run has other paths", func(r *Record) { r.Runs[0].Hash[0]++ }, replaced + "0 stay, and 3 are new"},
		{"the second run has other paths", func(r *Record) { r.Runs[1].Hash[0]++ }, replaced + "1 stay, and 2 are new"},
		{"the first run has fewer", func(r *Record) { r.Runs[0].Count--; r.Runs[1].Count++ }, replaced + "0 stay"},
		{"two new runs", func(r *Record) {
			more := r.Runs[2]
			more.Count, r.Runs[2].Count = r.Runs[2].Count-1, 1
			r.Runs = append(r.Runs, more)
		}, replaced + "2 stay, and 2 are new"},
		{"a run is gone", func(r *Record) { r.Runs, r.Packs = r.Runs[:2], r.Packs[:2] }, counts},
		{"the second run is merged", func(r *Record) {
			r.Runs[2].Count += r.Runs[1].Count
			r.Runs, r.Packs = slices.Delete(r.Runs, 1, 2), slices.Delete(r.Packs, 1, 2)
		}, ""},
		{"both are merged", func(r *Record) {
			r.Runs[2].Count = r.paths()
			r.Runs, r.Packs = r.Runs[2:], r.Packs[2:]
		}, ""},

		{"more live", func(r *Record) { r.Live++ }, counts},
		{"fewer live", func(r *Record) { r.Live-- }, counts},
		{"fewer added", func(r *Record) { r.Fold.Added-- }, counts},
		{"more paths", func(r *Record) { r.Runs[2].Count++ }, counts},
		{"buried that are not there", func(r *Record) { r.Fold.Buried++ }, counts},
		{"intake keys that are not there", func(r *Record) { r.Fold.Intake++ }, counts},
		{"more moved than added", func(r *Record) { r.Fold.Moved = r.Fold.Added + 1 }, "moved 3"},
		{"all are moved", func(r *Record) { r.Fold.Moved, r.Runs[2].Count = r.Fold.Added, 2*r.Fold.Added }, ""},
		{"too many added", func(r *Record) { r.Fold.Added = huge }, "it added"},
		{"too many buried", func(r *Record) { r.Fold.Buried = huge }, "it added"},
		{"too many intake keys", func(r *Record) { r.Fold.Intake = huge }, "it added"},

		{"late and buried", func(r *Record) {
			late(Late{commit.Hex32{1}, 2}, Late{commit.Hex32{2}, 1})(r)
			r.Runs[2].Count += 2
		}, ""},
		{"late of none", late(Late{commit.Hex32{1}, 0}), "0 of 2 buried"},
		{"late of more than are buried", late(Late{commit.Hex32{1}, 3}), "3 of 2 buried"},
		{"late out of order", late(Late{commit.Hex32{2}, 1}, Late{commit.Hex32{1}, 1}), "1 of 2 buried"},
		{"late twice", late(Late{commit.Hex32{2}, 1}, Late{commit.Hex32{2}, 1}), "1 of 2 buried"},
		{"weeks", weeks(2, 3, 4), ""},
		{"weeks of none that is dead", weeks(0, 3), "0 grants are dead by 1 weeks"},
		{"weeks that go back", weeks(2, 4, 3), "weeks that do not ascend"},
		{"a week twice", weeks(2, 3, 3), "weeks that do not ascend"},
		{"too many weeks", weeks(99, make([]uint16, MaxWeeks+1)...), "dead by 65 weeks"},

		{"the topic is another one", func(r *Record) { r.Folded.Topic = "t2" }, "the grants transport is another one"},
		{"the cluster is another one", func(r *Record) { r.Folded.Cluster = "c2" }, "the grants transport is another one"},
		{"a lane goes back", func(r *Record) { r.Folded.Lanes = map[string]commit.Lane{"0": {Next: 1}} }, "lane 0 goes back from 220 to 1"},
		{"another lane", func(r *Record) { r.Folded.Lanes["1"] = commit.Lane{Next: 1} }, ""},
	})
	s.rule(t, "nothing", s.built(t, s.unchanged()), []ruling{
		{"an older pack number", func(r *Record) { r.NextPack-- }, back},
		{"one run less", func(r *Record) { r.Runs, r.Packs = r.Runs[:1], r.Packs[:1] }, counts},
		{"no runs", func(r *Record) { r.Runs, r.Packs, r.Live = []Run{}, []Pack{}, 0 }, "of 2 runs 0 stay"},
	})
}

// TestErasureRules: what an erasure may not do to the record before.
func TestErasureRules(t *testing.T) {
	s := twoRuns(t)
	x, _ := s.eraseNext(t, 1)
	counts, size, cause, order, packs := " are not what is left of ", "keyroot: a list of ", "an erasure by ", "or is out of order", "keyroot: pack "
	two := func(a, b Outcome) func(*Record) { return func(r *Record) { r.Erased.Requests = []Outcome{a, b} } }
	request := func(n byte, erased, whole uint64) Outcome {
		return Outcome{Request: commit.Hex32{n}, Erased: erased, Whole: whole}
	}
	s.rule(t, "erasure", s.built(t, x), []ruling{
		{"no list", func(r *Record) { r.Erased.Size = 0 }, size},
		{"a list of one byte", func(r *Record) { r.Erased.Size = 1 }, ""},
		{"a long list", func(r *Record) { r.Erased.Size = keyring.MaxList }, ""},
		{"too long a list", func(r *Record) { r.Erased.Size = keyring.MaxList + 1 }, size},
		{"requests are missing", func(r *Record) { r.Erased.Requests = nil }, size},
		{"too many requests", func(r *Record) { r.Erased.Requests = make([]Outcome, MaxBatch+1) }, size},
		{"no cause", func(r *Record) { r.Erased.Cause = "" }, cause + `""`},
		{"no request", func(r *Record) { r.Erased.Requests = []Outcome{} }, ""},
		{"of a class", func(r *Record) { r.Erased.Cause, r.Erased.Requests = "ttl", []Outcome{} }, ""},
		{"of a class, with requests", func(r *Record) { r.Erased.Cause = "ttl" }, cause + `"ttl"`},
		{"of a session, with requests", func(r *Record) { r.Erased.Cause = "session" }, cause + `"session"`},
		{"two requests", two(request(1, 3, 3), request(2, 40, 0)), ""},
		{"requests out of order", two(request(2, 1, 0), request(1, 1, 0)), order},
		{"a request twice", two(request(2, 1, 0), request(2, 1, 0)), order},
		{"a request of nothing", two(request(1, 1, 0), request(2, 0, 0)), order},
		{"a request of more than went", two(request(1, 1, 0), request(2, 99, 0)), order},
		{"a request of more whole than went", two(request(1, 1, 0), request(2, 3, 4)), order},

		{"of the same generation", func(r *Record) { r.Generation-- }, "after generation 1 makes 1"},
		{"skips a generation", func(r *Record) { r.Generation++ }, "after generation 1 makes 3"},
		{"without saying that", func(r *Record) { r.Erased = nil }, "a generation changes with an erasure only"},
		{"says that it folds", func(r *Record) { r.Fold = &Fold{} }, "folds, erases or recovers"},
		{"says that it recovers", func(r *Record) { r.Recovery = &Recovery{Lost: []Lost{}} }, "folds, erases or recovers"},
		{"a run is gone", func(r *Record) { r.Runs, r.Live = r.Runs[:1], 1 }, packs},
		{"a run is gone with its packs", func(r *Record) { dropRun(r, 0) }, "an erasure makes 1 runs of 2"},
		{"two runs more", func(r *Record) { r.Runs = append(r.Runs, r.Runs...) }, "an erasure makes 4 runs of 2"},
		{"the first run has more", func(r *Record) { r.Runs[0].Count += 100 }, "run 0 did not lose paths only"},
		{"the second run has more", func(r *Record) { r.Runs[1].Count += 100 }, "run 1 did not lose paths only"},
		{"other paths, not fewer", func(r *Record) { r.Runs[0].Count += r.Erased.Removed - 5 }, "run 0 did not lose paths only"},
		{"fewer live", func(r *Record) { r.Live-- }, counts},
		{"more live", func(r *Record) { r.Live++ }, counts},
		{"more scopes", func(r *Record) { r.Erased.Scopes++ }, counts},
		{"more removed", func(r *Record) { r.Erased.Removed++ }, counts},
		{"more spent", func(r *Record) { r.Erased.Spent++ }, counts},
		{"what went wraps around", func(r *Record) { r.Live += r.Erased.Scopes + 1; r.Erased.Scopes = 1<<64 - 1 }, counts},
		{"what was removed wraps around", func(r *Record) {
			more := r.Runs[1]
			more.Count = r.Erased.Removed + 1
			r.Runs, r.Erased.Removed = append(r.Runs, more), 1<<64-1
		}, counts},
		{"folds", func(r *Record) { r.Folded.Lanes["0"] = commit.Lane{Next: 999} }, "an erasure folds nothing"},
		{"folds another topic", func(r *Record) { r.Folded.Topic = "t2" }, "an erasure folds nothing"},
		{"a pack is another one", func(r *Record) { r.Packs[0].SHA256[0]++ }, "pack 1 is not what it was"},
	})
}

// dropRun leaves out a run, the packs that no other one has, and what is live.
func dropRun(r *Record, i int) {
	r.Runs, r.Live = slices.Delete(r.Runs, i, i+1), 1
	r.Packs = slices.DeleteFunc(r.Packs, func(p Pack) bool {
		return !slices.ContainsFunc(r.Runs, func(run Run) bool { return slices.Contains(run.Packs, p.N) })
	})
}

// TestFirst: a chain begins with a fold of generation 1.
func TestFirst(t *testing.T) {
	s := newService(t)
	first := "the first record is a fold of generation 1"
	s.rule(t, "first", s.built(t, s.foldNext(t, 3)), []ruling{
		{"generation 2", func(r *Record) { r.Generation = 2 }, first},
		{"an erasure", func(r *Record) { r.Fold, r.Erased = nil, &Erased{Cause: "ttl", Size: 1, Requests: []Outcome{}} }, first},
		{"a recovery", func(r *Record) { r.Fold, r.Recovery = nil, &Recovery{Lost: []Lost{}} }, first},
		{"more live", func(r *Record) { r.Live-- }, " do not come of "},
		{"a parent", func(r *Record) { r.Prev[0]++ }, chain.ErrOrphan.Error()},
		{"another archive", func(r *Record) { r.Archive[0]++ }, "this is record 0 of archive a601"},
		{"two runs", func(r *Record) {
			more := r.Runs[0]
			more.Count, r.Runs[0].Count = r.Runs[0].Count-1, 1
			r.Runs = append(r.Runs, more)
		}, "of 0 runs 0 stay, and 2 are new"},
	})
}

// TestStandInRules: what may stand in for lost records is one of the same generation as it was, once for an approval, and
// what goes with the lost ones is said.
func TestStandInRules(t *testing.T) {
	s := newService(t)
	s.fold(t, 60)
	dead, _ := s.state.Last() // of a generation that was ended
	s.erase(t, 1)
	from, fromHash := s.state.Last()
	s.fold(t, 10)
	lost, hash := s.state.Last()
	top := s.tops[from.Generation]
	ring, err := from.Open(&top, s.packs)
	if err != nil {
		t.Fatal(err)
	}
	if in := s.state.StandIns(); !slices.Equal(in, []Lost{{lost.N, hash}, {from.N, fromHash}}) {
		t.Errorf("what may stand in: %v", in)
	}
	file := s.built(t, Next{Ring: ring, Top: &top, Packs: from.Packs, NextPack: lost.NextPack, Folded: from.Folded, Live: from.Live, Time: s.at,
		Recovery: &Recovery{From: from.N, Lost: []Lost{{lost.N, hash}}, Missing: lost.Live - from.Live, Approval: commit.Hex32{1}}})
	not := "it does not have what record "
	s.rule(t, "recovery", file, []ruling{
		{"of a dead generation, with what was erased", func(r *Record) {
			r.Recovery.From, r.Live, r.Runs, r.Packs, r.Folded = dead.N, dead.Live, dead.Runs, dead.Packs, dead.Folded
		}, "is none of generation 2"},
		{"the newest record", func(r *Record) { r.Recovery.From = lost.N }, not},
		{"other runs", func(r *Record) { r.Runs[0].Hash[0]++ }, not},
		{"other packs", func(r *Record) { r.Packs[0].SHA256[0]++ }, not},
		{"another position", func(r *Record) { r.Folded.Lanes["0"] = commit.Lane{Next: 999} }, not},
		{"fewer live", func(r *Record) { r.Live--; r.Recovery.Missing++ }, not},
		{"fewer missing", func(r *Record) { r.Recovery.Missing-- }, "10 keys are missing, and it says 9"},
		{"more missing", func(r *Record) { r.Recovery.Missing++ }, ""},
		{"nothing approves", func(r *Record) { r.Recovery.Approval = commit.Hex32{} }, "names its approval"},
		{"another generation", func(r *Record) { r.Generation++ }, "a generation changes with an erasure only"},
		{"earlier", func(r *Record) { r.Time = r.Time.Add(-time.Hour) }, "goes back in"},
	})
	if won, err := chain.Append(context.Background(), s.space, s.tail, file); err != nil || !won {
		t.Fatal(won, err)
	}
	s.read(t)
	again := s.unchanged()
	again.Recovery = &Recovery{From: from.N, Lost: []Lost{{lost.N, hash}}, Missing: 0, Approval: commit.Hex32{2}}
	s.rule(t, "again", s.built(t, again), []ruling{
		{"under the same approval", func(r *Record) { r.Recovery.Approval = commit.Hex32{1} }, "was used already"},
	})
}
