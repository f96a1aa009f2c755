package backup

import (
	"errors"
	"fmt"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/datalog"
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
		if want := fmt.Sprintf("%sobjects/%s.%s", datalog.Prefix(l.partition, l.period), o.SHA256, suffix); o.Key != want {
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

// count notes what the commit should say of a row.
func (s *segmentCheck) count(b *segment.Batch, i int) {
	switch b.Type(i) {
	case record.Plain:
		s.records++
	case record.Piece:
		s.pieces++
	default:
		return
	}
	t := b.Time(i)
	if s.records+s.pieces == 1 {
		s.from, s.until = t, t
	}
	s.from, s.until = min(s.from, t), max(s.until, t)
}

// finishIndex checks what the commit says of the index, and lets go of it. What must be in the proof because of it, it
// keeps.
func (s *segmentCheck) finishIndex() {
	if err := s.figures(s.c.Commit); err != nil {
		s.v.r.fault(integrity, s.c.key, "%v", err)
	}
	var err error
	s.runs[segment.SectionScopes], s.runs[segment.SectionGroups], s.runs[segment.SectionRuns], err = s.mem.runs.Make(s.index)
	if err != nil {
		s.bad(commit.KindIndex, "%v", err)
	}
	if s.open != nil {
		s.open.finish()
	}
	s.index = nil
}

// figures checks what the commit says of its records and of the index, by which readers find their way without reading it
// whole.
func (s *segmentCheck) figures(c *commit.Commit) error {
	if c.Records != s.records || c.Pieces != s.pieces {
		return fmt.Errorf("it counts %d records and %d pieces, the rows are %d and %d", c.Records, c.Pieces, s.records, s.pieces)
	}
	some := s.records+s.pieces > 0
	if some != (c.From != nil) || some != (c.Until != nil) ||
		some && (!c.From.Equal(time.Unix(0, s.from)) || !c.Until.Equal(time.Unix(0, s.until))) {
		return errors.New("its records are not of the times that it says")
	}
	if len(c.Index.Batches) != len(s.index.Batches) || c.Index.Head != s.span(s.index.HeadPart(), 0, 0) {
		return errors.New("the head and the batches of the index are not where it says")
	}
	for i, b := range s.index.Batches {
		if c.Index.Batches[i] != s.span(s.index.Place(i), 1+i, b.Len()) {
			return fmt.Errorf("batch %d of the index is not what it says", i)
		}
	}
	return nil
}

// span is what a commit has to say of a part of the index, which has the sum of that number if it is where the commit says.
func (s *segmentCheck) span(p segment.Part, sum, rows int) commit.Span {
	return commit.Span{Off: p.Off, Len: p.Len, SHA256: s.sums[sum], Rows: rows}
}
