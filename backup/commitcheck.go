package backup

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/record"
	"github.com/stelelog/stele/internal/segment"
)

// shape checks that a commit names just the objects that its leaves need, each under the name that its content gives it.
func (l *openLog) shape(c *commit.Commit) error {
	seen := map[string]bool{}
	count := map[string]int{}
	for i := range c.Objects {
		o := &c.Objects[i]
		var suffix string
		switch o.Kind {
		case commit.KindIndex:
			suffix = "index.arrow"
		case commit.KindData:
			suffix = "data." + o.Class + ".arrow"
		case commit.KindProof, commit.KindQuarantine:
			suffix = o.Kind
		case commit.KindTips, commit.KindDirectory:
			continue
		default:
			return fmt.Errorf("it names an object of kind %q, which this stele does not know", o.Kind)
		}
		if (o.Kind == commit.KindData) != (o.Class != "") || seen[suffix] {
			return fmt.Errorf("it names a %s object of class %q that it should not", o.Kind, o.Class)
		}
		if want := fmt.Sprintf("%sobjects/%s.%s", logPrefix(l.partition, l.period), o.SHA256, suffix); o.Key != want {
			return fmt.Errorf("it names %s, which should be %s", o.Key, want)
		}
		seen[suffix] = true
		count[o.Kind]++
	}
	leaves := c.Tree.Size - c.Tree.First
	switch {
	case leaves > 0 && (count[commit.KindIndex] != 1 || count[commit.KindProof] != 1 || c.Index == nil || len(c.Proof) != segment.Sections):
		return errors.New("it has leaves, but names no index and proof")
	case leaves == 0 && count[commit.KindIndex]+count[commit.KindProof]+count[commit.KindData] > 0:
		return errors.New("it has no leaves, but names objects")
	case (c.Quarantined > 0) != (count[commit.KindQuarantine] == 1):
		return fmt.Errorf("it counts %d messages set aside, and names %d objects with them", c.Quarantined, count[commit.KindQuarantine])
	}
	return nil
}

// count notes what the commit should say of a leaf.
func (s *segmentCheck) count(l *record.Leaf) {
	switch l.Type {
	case record.Plain:
		s.records++
	case record.Piece:
		s.pieces++
	default:
		return
	}
	if s.records+s.pieces == 1 {
		s.from, s.until = l.Time, l.Time
	}
	s.from, s.until = min(s.from, l.Time), max(s.until, l.Time)
}

// facts checks what the commit says of its objects, by which readers find their way without reading them whole.
func (s *segmentCheck) facts() {
	c := s.c.Commit
	if err := s.figures(c); err != nil {
		s.v.r.fault(integrity, s.c.key, "%v", err)
	}
	scopes, groups, runs, err := s.seg.index.Runs()
	if err != nil {
		s.bad(commit.KindIndex, "%v", err)
	} else if p := &s.seg.proof; !bytes.Equal(scopes, p[segment.SectionScopes]) || !bytes.Equal(groups, p[segment.SectionGroups]) ||
		!bytes.Equal(runs, p[segment.SectionRuns]) {
		err = errors.New("the runs of scopes are not those of the rows")
	}
	if err == nil {
		_, err = segment.ParseEncaps(s.seg.proof[segment.SectionEncaps])
	}
	if err != nil {
		s.bad(commit.KindProof, "%v", err)
	}
}

func (s *segmentCheck) figures(c *commit.Commit) error {
	if c.Records != s.records || c.Pieces != s.pieces {
		return fmt.Errorf("it counts %d records and %d pieces, the rows are %d and %d", c.Records, c.Pieces, s.records, s.pieces)
	}
	some := s.records+s.pieces > 0
	if some != (c.From != nil) || some != (c.Until != nil) ||
		some && (!c.From.Equal(time.Unix(0, s.from)) || !c.Until.Equal(time.Unix(0, s.until))) {
		return errors.New("its records are not of the times that it says")
	}
	at := int64(0)
	for i, b := range s.seg.proof {
		if i == 0 {
			at = int64(len(s.seg.raw[commit.KindProof]))
			for _, section := range s.seg.proof {
				at -= int64(len(section))
			}
		}
		if want := (commit.Span{Off: at, Len: int64(len(b)), SHA256: commit.Hash(b)}); c.Proof[i] != want {
			return fmt.Errorf("section %d of the proof is not where it says", i)
		}
		at += int64(len(b))
	}
	index := s.seg.raw[commit.KindIndex]
	if len(c.Index.Batches) != len(s.seg.index.Batches) || !holds(index, c.Index.Head) || c.Index.Head.Off != 0 {
		return errors.New("the head and the batches of the index are not where it says")
	}
	head := index[:c.Index.Head.Len]
	for i, span := range c.Index.Batches {
		if !holds(index, span) {
			return fmt.Errorf("batch %d of the index is not where it says", i)
		}
		b, err := segment.ParseBatch(head, index[span.Off:][:span.Len])
		if err != nil || b.Len() != span.Rows || b.Len() != s.seg.index.Batches[i].Len() ||
			b.Stream(0) != s.seg.index.Batches[i].Stream(0) || b.Seq(0) != s.seg.index.Batches[i].Seq(0) {
			return fmt.Errorf("batch %d of the index is not what it says", i)
		}
	}
	return nil
}

// holds reports whether span is a range of data.
func holds(data []byte, span commit.Span) bool {
	n := int64(len(data))
	return span.Off >= 0 && span.Len > 0 && span.Len <= n && span.Off <= n-span.Len &&
		commit.Hash(data[span.Off:][:span.Len]) == span.SHA256
}
