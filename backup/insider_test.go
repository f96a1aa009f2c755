package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/frame"
	"github.com/stelelog/stele/internal/keyscope"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
	"github.com/stelelog/stele/merkle"
)

// insider is somebody with the commit key and full access to the store.
type insider struct {
	*testArchive
	m      *storetest.Memory
	honest []byte // commit 1, whose head is not in the control log yet
	stream *testStream
	gone   *testStream // neither closed nor alive
}

func (in *insider) clone(t *testing.T) *insider {
	a := in.testArchive.clone(t)
	return &insider{a, a.store.(*storetest.Memory), in.honest, in.stream, in.gone}
}

func newInsider(t *testing.T) *insider {
	m := storetest.NewMemory()
	a := newTestArchive(t, m)
	s := a.stream(keyscope.Link{})
	s.send(some(3)...)
	gone := a.stream(keyscope.Link{})
	gone.send(some(2)...)
	gone.beat()
	a.once(nil)
	s.encode(s.draft(some(2)...)) // lost on its way
	s.send(some(4)...)
	s.leaf(record.Loss, record.LossDetail{Count: 5, Reason: record.MemoryFull, After: 9}.Append(nil))
	s.close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a.compact(ctx, nil, &storetest.Faulty{Store: m, Before: func(c storetest.Call) {
		if strings.Contains(c.Key, "control/log/") && c.Op == "Create" {
			cancel()
		}
	}}, nil)
	in := &insider{a, m, read(t, m, a.commitKey(1)), s, gone}
	report := a.verify(VerifyOptions{})
	wantExit(t, report, 11)
	for _, f := range report.Faults {
		if f.Verdict != "completeness" {
			t.Fatal(f)
		}
	}
	return in
}

// publish puts c in the place of the honest commit.
func (in *insider) publish(c *commit.Commit) {
	in.t.Helper()
	by := in.commitSigner()
	c.By = by.Name()
	file, err := c.Sign(by)
	if err != nil {
		in.t.Fatal(err)
	}
	in.m.Remove(in.commitKey(1), "")
	in.m.Overwrite(in.commitKey(1), file)
}

func (in *insider) commit() *commit.Commit {
	c, err := commit.Peek(in.honest)
	if err != nil {
		in.t.Fatal(err)
	}
	return c
}

// object stores data as an object of c.
func (in *insider) object(c *commit.Commit, kind, class, suffix string, data []byte) {
	sum := commit.Hash(data)
	o := commit.Object{Kind: kind, Class: class, Key: fmt.Sprintf("%sobjects/%s.%s", in.log(), sum, suffix), SHA256: sum, Size: int64(len(data)), Lock: "none"}
	o.Version = in.m.Overwrite(o.Key, data).ID
	c.Objects = slices.DeleteFunc(c.Objects, func(have commit.Object) bool { return have.Kind == kind && have.Class == class })
	c.Objects = append(c.Objects, o)
}

// build makes commit 1 of frames.
func (in *insider) build(frames [][]byte, tips ...commit.Tip) *commit.Commit {
	in.t.Helper()
	first, err := commit.Peek(read(in.t, in.m, in.commitKey(0)))
	if err != nil {
		in.t.Fatal(err)
	}
	before, err := merkle.NewFrontier(first.Tree.Size, first.Tree.After)
	if err != nil {
		in.t.Fatal(err)
	}
	w := segment.NewWriter(first.Archive, first.Log, before)
	for _, raw := range frames {
		var f frame.Frame
		leaves := []merkle.Hash(nil)
		if err := f.Decode(raw); err == nil {
			f.LeafHashes() // an insider does not mind
			for i := range int(f.Count) {
				var l record.Leaf
				f.Leaf(i, &l)
				leaves = append(leaves, merkle.LeafHash(l.Append(nil)))
			}
		}
		if err := w.Add(&f, leaves); err != nil {
			in.t.Fatal(err)
		}
	}
	seg, err := w.Finish()
	if err != nil {
		in.t.Fatal(err)
	}
	c := in.commit()
	c.Objects, c.Index, c.Proof, c.Records, c.Pieces, c.Streams = nil, &seg.IndexSpans, seg.ProofSpans[:], seg.Records, seg.Pieces, tips
	c.From, c.Until = nil, nil
	if seg.Records > 0 {
		from, until := time.Unix(0, seg.From).UTC(), time.Unix(0, seg.Until).UTC()
		c.From, c.Until = &from, &until
	}
	c.Tree = commit.Tree{First: before.Size(), Size: seg.After.Size(), Root: seg.After.Root(), Before: before.Hashes(), After: seg.After.Hashes()}
	in.object(c, commit.KindIndex, "", "index.arrow", seg.Index)
	in.object(c, commit.KindProof, "", "proof", seg.Proof)
	for _, d := range seg.Data {
		in.object(c, commit.KindData, d.Class, "data."+d.Class+".arrow", d.Bytes)
	}
	return c
}

func (in *insider) tip(c *commit.Commit, s *testStream) *commit.Tip {
	in.t.Helper()
	for i := range c.Streams {
		if c.Streams[i].ID == commit.Hex16(s.id) {
			return &c.Streams[i]
		}
	}
	in.t.Fatal("no such tip")
	return nil
}

// firstTip is the tip of a stream in commit 0.
func (in *insider) firstTip(s *testStream) commit.Tip {
	c, err := commit.Peek(read(in.t, in.m, in.commitKey(0)))
	if err != nil {
		in.t.Fatal(err)
	}
	return *in.tip(c, s)
}

// section changes a byte of a section of the proof, counted from its end if it is less than zero.
func (in *insider) section(number, at int) {
	c := in.commit()
	proof, s := bytes.Clone(read(in.t, in.m, c.Object(commit.KindProof, "").Key)), &c.Proof[number]
	if at < 0 {
		at += int(s.Len)
	}
	proof[int(s.Off)+at]++
	s.SHA256 = commit.Hash(proof[s.Off:][:s.Len])
	in.object(c, commit.KindProof, "", "proof", proof)
	in.publish(c)
}

// data changes a bit of the data object so that it is still one, and as wanted.
func (in *insider) data(as func(*segment.Data) bool) {
	c := in.commit()
	honest := read(in.t, in.m, c.Object(commit.KindData, "default").Key)
	for bit := range 8 * len(honest) {
		changed := flip(honest, bit)
		if bit%8 == 0 && bytes.HasPrefix(honest[bit/8:], []byte("default")) {
			changed = bytes.ReplaceAll(honest, []byte("default"), []byte("deflate")) // schema and footer
		}
		if d, err := segment.OpenData(changed); err == nil && as(d) {
			in.object(c, commit.KindData, "default", "data.default.arrow", changed)
			in.publish(c)
			return
		}
	}
	in.t.Fatal("there is no such bit")
}

// TestInsiderLies: verify believes the writers, not the one who commits.
func TestInsiderLies(t *testing.T) {
	edit := func(f func(in *insider, c *commit.Commit)) func(*insider) {
		return func(in *insider) {
			c := in.commit()
			f(in, c)
			in.publish(c)
		}
	}
	tip := func(f func(t *commit.Tip)) func(*insider) {
		return edit(func(in *insider, c *commit.Commit) { f(in.tip(c, in.stream)) })
	}
	section := func(number, at int) func(*insider) {
		return func(in *insider) { in.section(number, at) }
	}
	data := func(as func(*segment.Data) bool) func(*insider) {
		return func(in *insider) { in.data(as) }
	}
	honest := newInsider(t)
	for _, test := range []struct {
		name  string
		lie   func(in *insider)
		words string
	}{
		{"hides a gap", tip(func(t *commit.Tip) { t.Gaps = nil }), "its gaps"},
		{"moves a gap", tip(func(t *commit.Tip) { t.Gaps[0].To-- }), "its gaps"},
		{"hides a loss", tip(func(t *commit.Tip) { t.Lost = 0 }), "its loss"},
		{"moves a loss behind an acknowledgement", tip(func(t *commit.Tip) { t.LostSeq = 0 }), "its loss"},
		{"opens a closed stream", tip(func(t *commit.Tip) { t.Closed = false }), "its close"},
		{"lies about the end", tip(func(t *commit.Tip) { t.Next-- }), "its end"},
		{"lies about the head", tip(func(t *commit.Tip) { t.Head[0]++ }), "its head"},
		{"lies about the service", tip(func(t *commit.Tip) { t.Service = "other" }), "its service"},
		{"lies about durability", tip(func(t *commit.Tip) { t.Durability = 3 }), "its durability"},
		{"lies about the beat interval", tip(func(t *commit.Tip) { t.Every = 1 << 30 }), "its beat interval"},
		{"invents a recovery", tip(func(t *commit.Tip) { t.Recovered = &commit.Recovered{Seq: t.Next - 1} }), "what it recovered"},
		{"invents a predecessor", tip(func(t *commit.Tip) { t.Prev = &commit.Prev{} }), "its predecessor"},
		{"lies about the key", tip(func(t *commit.Tip) { t.Key[0]++ }), "its key"},
		{"cuts a key short", tip(func(t *commit.Tip) { t.Key = t.Key[:31] }), "its key"},
		{"omits a stream", edit(func(in *insider, c *commit.Commit) { c.Streams = nil }), "does not name it"},
		{"invents a stream", edit(func(in *insider, c *commit.Commit) {
			c.Streams = append(c.Streams, commit.Tip{ID: commit.Hex16{1}, Next: 9})
		}), "holds no frame"},
		{"closes a stream that is gone", edit(func(in *insider, c *commit.Commit) {
			gone := in.firstTip(in.gone)
			gone.From, gone.Closed = gone.Next, true
			c.Streams = append(c.Streams, gone)
		}), "its close"},
		{"keeps an old beat alive", edit(func(in *insider, c *commit.Commit) {
			gone := in.firstTip(in.gone)
			gone.From, gone.Beat.Time = gone.Next, c.SourceTime
			c.Streams = append(c.Streams, gone)
		}), "old beat"},
		{"invents a beat", edit(func(in *insider, c *commit.Commit) {
			gone := in.firstTip(in.gone)
			gone.From, gone.Beat.Note = gone.Next, flip(gone.Beat.Note, 8*60)
			c.Streams = append(c.Streams, gone)
		}), "beat"},
		{"forgets a beat", edit(func(in *insider, c *commit.Commit) {
			gone := in.firstTip(in.gone)
			gone.From, gone.Beat = gone.Next, nil
			c.Streams = append(c.Streams, gone)
		}), "beat was forgotten"},
		{"lies about the count", edit(func(in *insider, c *commit.Commit) { c.Records++ }), "it counts"},
		{"hides records from searches by time", edit(func(in *insider, c *commit.Commit) { c.From, c.Until = nil, nil }), "times"},
		{"moves records in time", edit(func(in *insider, c *commit.Commit) { u := c.From.Add(-time.Hour); c.From, c.Until = &u, &u }), "times"},
		{"lies about the times so far", edit(func(in *insider, c *commit.Commit) { c.Spans[0]++ }), "the times in its log so far"},
		{"says nothing of the times so far", edit(func(in *insider, c *commit.Commit) { c.Spans = nil }), "the times in its log so far"},
		{"names no index", edit(func(in *insider, c *commit.Commit) { c.Objects = c.Objects[1:2] }), "names no index"},
		{"gives no ranges of the index", edit(func(in *insider, c *commit.Commit) { c.Index = nil }), "names no index"},
		{"names no data", edit(func(in *insider, c *commit.Commit) {
			c.Objects = slices.DeleteFunc(c.Objects, func(o commit.Object) bool { return o.Kind == commit.KindData })
		}), "names no data object"},
		{"gives the index a class", edit(func(in *insider, c *commit.Commit) { c.Objects[0].Class = "x" }), "of class"},
		{"names two indexes", edit(func(in *insider, c *commit.Commit) { c.Objects = append(c.Objects, c.Objects[0]) }), "should not"},
		{"names an object elsewhere", edit(func(in *insider, c *commit.Commit) { c.Objects[0].Key = "elsewhere" }), "should be"},
		{"lies about a size", edit(func(in *insider, c *commit.Commit) { c.Objects[0].Size++ }), "content is not"},
		{"lies about a section", edit(func(in *insider, c *commit.Commit) { c.Proof[segment.SectionScopes].Off++ }), "section 4"},
		{"lies about a batch", edit(func(in *insider, c *commit.Commit) { c.Index.Batches[0].Rows-- }), "batch 0"},
		{"lies about the head of the index", edit(func(in *insider, c *commit.Commit) { c.Index.Head.SHA256[0]++ }), "head and the batches"},
		{"hides what was set aside", edit(func(in *insider, c *commit.Commit) { c.Quarantined = 3 }), "set aside"},
		{"hides a scope from searches by subject", section(segment.SectionScopes, -1), "scopes"},
		{"hides a scope behind another digest", section(segment.SectionScopes, 4), "scopes"},
		{"hides a run", section(segment.SectionGroups, -1), "groups of runs"},
		{"dates a record anew where it is found by its scope", section(segment.SectionRuns, 8), "runs are not"},
		{"changes a leaf hash", section(segment.SectionLeaves, -1), "leaf hashes"},
		{"changes an entry", section(segment.SectionEntries, -1), "entries do not have the signed root"},
		{"changes a frame", section(segment.SectionFrames, 60), "signature"},
		{"moves the first frame", section(segment.SectionFrames, 216), "cover"},
		{"gives a block another leaf", data(func(d *segment.Data) bool {
			for b := range d.Blocks() {
				return b.Leaf > 100
			}
			return false
		}), "is not that of leaf"},
		{"changes a block", edit(func(in *insider, c *commit.Commit) {
			honest := read(in.t, in.m, c.Object(commit.KindData, "default").Key)
			d, err := segment.OpenData(honest)
			if err != nil {
				in.t.Fatal(err)
			}
			for b := range d.Blocks() {
				in.object(c, commit.KindData, "default", "data.default.arrow", flip(honest, 8*int(b.Offset+b.Length-1)))
			}
		}), "the block is not the one"},
		{"gives data another class", data(func(d *segment.Data) bool { return d.Class != "default" }), "of class"},
		{"archives a frame twice", func(in *insider) {
			s := in.stream
			c := in.build([][]byte{s.sent[1], s.sent[1]}, in.firstTip(s))
			in.publish(c)
		}, "repeats what the archive holds"},
		{"archives an old frame for a lost one", func(in *insider) {
			in.publish(in.build([][]byte{in.stream.sent[0]}, in.firstTip(in.stream)))
		}, "repeats what the archive holds"},
		{"invents a writer", func(in *insider) {
			s := in.testArchive.stream(keyscope.Link{})
			s.cred.Key = slices.Repeat([]byte{5}, 32)
			s.recertify(func(*keyscope.Cert) {})
			in.publish(in.build([][]byte{s.encode(s.draft(some(2)...))}))
		}, "service key is in no policy"},
		{"invents a stream key", func(in *insider) {
			s := in.testArchive.stream(keyscope.Link{})
			_, other, _ := ed25519.GenerateKey(nil)
			raw, _, err := s.draft(some(2)...).Encode(nil, other)
			if err != nil {
				in.t.Fatal(err)
			}
			in.publish(in.build([][]byte{raw}))
		}, "not by the key of the stream"},
		{"changes what a writer signed", func(in *insider) {
			s := in.testArchive.stream(keyscope.Link{})
			raw := bytes.Clone(s.encode(s.draft(some(2)...)))
			var f frame.Frame
			if err := f.Decode(raw); err != nil {
				in.t.Fatal(err)
			}
			f.Columns.Time[8]++ // shares memory with raw
			in.publish(in.build([][]byte{raw}))
		}, "leaves do not have the signed root"},
		{"grows another tree", edit(func(in *insider, c *commit.Commit) {
			f, err := merkle.NewFrontier(c.Tree.First, c.Tree.Before)
			if err != nil {
				in.t.Fatal(err)
			}
			f.Append(make([]merkle.Hash, c.Tree.Size-c.Tree.First)...)
			c.Tree.Root, c.Tree.After = f.Root(), f.Hashes()
		}), "do not give the root"},
		{"goes on with a closed stream", func(in *insider) {
			s := in.testArchive.stream(keyscope.Link{})
			frames := [][]byte{bytes.Clone(s.encode(s.draft(some(1)...)))}
			d := s.draft()
			d.Rows = append(d.Rows, frame.Row{Leaf: record.Leaf{Type: record.Close, Class: "default", Detail: record.CloseDetail{Reason: 1}.Append(nil)}, Block: -1})
			frames = append(frames, bytes.Clone(s.encode(d)), bytes.Clone(s.encode(s.draft(some(1)...))))
			in.publish(in.build(frames))
		}, "closed before"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := honest.clone(t)
			test.lie(in)
			report := in.verify(VerifyOptions{})
			wantExit(t, report, 10)
			wantFault(t, report.Faults, "integrity", in.log(), test.words)
		})
	}
}
