package backup

import (
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/record"
)

// A stream is live if its last beat is at most so many beat intervals older than the newest commit's source time.
const liveBeats = 3

// staleAfter is the age of the newest commit at which nothing can be called live any more: three idle intervals.
const staleAfter = 3 * time.Hour

// Streams says for each stream how complete it is, from the commits alone.
func (a *Archive) Streams(now time.Time) []StreamReport {
	var acks []control.Ack
	a.control.view(func(s *control.State) { acks = slices.Clone(s.Acks) })
	known := map[commit.Hex16]commit.Tip{}
	next := map[commit.Hex16]commit.Tip{} // successor of a stream, the one that says most
	for _, l := range a.logs {
		for id, t := range l.chain.tips {
			known[id] = t
			if p := t.Prev; p != nil && p.Seq != record.None {
				if other, ok := next[p.Stream]; !ok || other.Prev.Seq < p.Seq {
					next[p.Stream] = t
				}
			}
		}
	}
	var out []StreamReport
	for _, l := range a.logs {
		for _, tip := range l.chain.allTips() {
			s := judgeStream(&tip, l.chain.last, now)
			s.Log = l.chain.origin
			if p := tip.Prev; p != nil && p.Seq != record.None {
				if _, ok := known[p.Stream]; !ok {
					s.Complete = false
					s.Verdict += fmt.Sprintf("; its predecessor %s (up to seq %d) is not in the archive", p.Stream, p.Seq)
				}
			}
			if t, ok := next[tip.ID]; ok && t.Service == tip.Service {
				s.followedBy(&tip, &t)
			}
			acknowledge(&s, &tip, acks)
			out = append(out, s)
		}
	}
	return out
}

// followedBy takes what a successor says of the end of a stream.
func (s *StreamReport) followedBy(t, successor *commit.Tip) {
	p := successor.Prev
	switch {
	case t.Next <= p.Seq:
		s.Complete = false
		s.Verdict += fmt.Sprintf("; lacks seq %d to %d, which its successor %s knows of", t.Next, p.Seq, successor.ID)
	case t.Next == p.Seq+1 && t.Head != p.Head:
		s.Complete = false
		s.Verdict += fmt.Sprintf("; its successor %s knows another frame at its end", successor.ID)
	}
}

// judgeStream is the verdict on one stream.
func judgeStream(t *commit.Tip, last *commit.Commit, now time.Time) StreamReport {
	s := StreamReport{Stream: t.ID.String(), Service: t.Service, Leaves: t.Next, Lost: t.Lost, Complete: true}
	for _, g := range t.Gaps {
		s.Gaps = append(s.Gaps, fmt.Sprintf("%d-%d", g.From, g.To-1))
	}
	if t.Beat != nil {
		s.LastBeat = t.Beat.Time
	}
	s.State, s.Verdict, s.Complete = streamState(t, last, now)
	if len(t.Gaps) > 0 {
		s.Complete = false
		s.Verdict += fmt.Sprintf("; missing seq %v", s.Gaps)
	}
	if t.Lost > 0 {
		s.Complete = false
		s.Verdict += fmt.Sprintf("; %d records declared lost", t.Lost)
	}
	return s
}

func streamState(t *commit.Tip, last *commit.Commit, now time.Time) (state, verdict string, complete bool) {
	lastSeq := "nothing"
	if t.Next > 0 {
		lastSeq = fmt.Sprintf("seq %d", t.Next-1)
	}
	every := time.Duration(t.Every) * time.Millisecond
	switch {
	case t.Closed:
		return "closed", "complete: closed at " + lastSeq, true
	case t.Recovered != nil && t.Recovered.Seq != record.None && t.Recovered.Seq >= t.Next:
		return "recovered", fmt.Sprintf("its successor found seq %d, but the archive ends at %s", t.Recovered.Seq, lastSeq), false
	case t.Recovered != nil && t.Durability >= 2:
		return "recovered", "complete: recovered at " + lastSeq + ", everything acknowledged was on disk", true
	case t.Recovered != nil:
		return "recovered", "recovered at " + lastSeq + "; unknown what was in memory after it", false
	case t.Beat != nil && t.Beat.Seq != record.None && t.Beat.Seq >= t.Next:
		return "unknown", fmt.Sprintf("unknown after %s: the writer says that it reached seq %d", lastSeq, t.Beat.Seq), false
	case now.Sub(last.Time) > staleAfter:
		return "unknown", fmt.Sprintf("unknown after %s: the newest commit is of %s", lastSeq, last.Time.Format(time.RFC3339)), false
	case t.Beat != nil && last.SourceTime.Sub(t.Beat.Time) <= liveBeats*every:
		return "live", "complete: live up to " + lastSeq, true
	}
	return "unknown", "unknown after " + lastSeq + ": it neither closed nor shows that it lives", false
}

// acknowledge lets an acknowledged stream stop failing, as far as the acknowledgement goes.
func acknowledge(s *StreamReport, t *commit.Tip, acks []control.Ack) {
	for _, a := range acks {
		if a.Stream != t.ID {
			continue
		}
		covers := t.Next == 0 || a.UpTo >= t.Next-1
		if s.State == "live" || s.State == "closed" {
			covers = t.LostSeq <= a.UpTo && !slices.ContainsFunc(t.Gaps, func(g commit.Gap) bool { return g.To-1 > a.UpTo })
		}
		if covers {
			s.Acknowledged = a.Reason
			if s.Acknowledged == "" {
				s.Acknowledged = "no reason given"
			}
			s.Complete = true
		}
	}
}
