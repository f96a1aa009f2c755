package backup

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/datalog"
	"github.com/stelelog/stele/internal/record"
)

// A stream is live if its last beat is at most so many beat intervals older than the newest commit's source time.
const liveBeats = 3

// staleAfter is the age of the newest commit at which nothing can be called live any more: three idle intervals.
const staleAfter = 3 * time.Hour

// logTips is where the streams of a partition stand at the end of its logs.
type logTips struct {
	partition uint32
	log       *datalog.Chain // the newest
	tips      map[commit.Hex16]commit.Tip
	of        map[commit.Hex16]string // origin of the newest log that holds leaves of a stream
}

// addTips adds where the streams of a log stand, to those of the log that it continues or as others.
func addTips(said []logTips, l *openLog, tips map[commit.Hex16]commit.Tip) []logTips {
	n := len(said) - 1
	if n < 0 || said[n].partition != l.partition || l.chain.Before == nil {
		said = append(said, logTips{l.partition, l.chain, map[commit.Hex16]commit.Tip{}, map[commit.Hex16]string{}})
		n++
	}
	s := &said[n]
	s.log = l.chain
	for id, t := range tips {
		s.tips[id] = t
		if s.of[id] == "" || l.chain.Knows(id) {
			s.of[id] = l.chain.Origin
		}
	}
	return said
}

// Streams says for each stream how complete it is, from the commits alone.
func (a *Archive) Streams(now time.Time) []StreamReport {
	return a.judgeStreams(a.tips(), now)
}

// tips are where the streams of all logs stand, from the commits alone.
func (a *Archive) tips() (said []logTips) {
	for _, l := range a.logs {
		said = addTips(said, l, l.chain.Tips)
	}
	return said
}

// judgeStreams is the verdict on each stream of all logs. A successor may be in another log than the stream that it follows.
func (a *Archive) judgeStreams(said []logTips, now time.Time) (out []StreamReport) {
	var acks []control.Ack
	a.control.View(func(s *control.State) { acks = slices.Clone(s.Acks) })
	out = []StreamReport{}
	known := map[commit.Hex16][]string{}     // services whose streams have an id: nothing keeps a stranger from taking one
	heirs := map[commit.Hex16][]commit.Tip{} // of a stream
	for _, l := range said {
		for _, t := range datalog.SortTips(l.tips) {
			known[t.ID] = append(known[t.ID], t.Service)
			if t.Prev != nil {
				heirs[t.Prev.Stream] = append(heirs[t.Prev.Stream], t)
			}
		}
	}
	for _, l := range said {
		for _, tip := range datalog.SortTips(l.tips) {
			s := judgeStream(&tip, endOf(&tip, heirs[tip.ID]), l.log.Last, now)
			s.Log = l.of[tip.ID]
			if p := tip.Prev; p != nil && p.Seq != record.None {
				s.follows(&tip, known)
			}
			acknowledge(&s, &tip, acks)
			out = append(out, s)
		}
	}
	return out
}

// follows looks for the predecessor that a stream names. One of another service does not stand in for it.
func (s *StreamReport) follows(t *commit.Tip, known map[commit.Hex16][]string) {
	switch p, services := t.Prev, known[t.Prev.Stream]; {
	case slices.Contains(services, t.Service):
	case len(services) > 0:
		s.Complete = false
		s.Verdict += fmt.Sprintf("; its predecessor %s (up to seq %d) is in the archive only as a stream of %s, for which it cannot speak",
			p.Stream, p.Seq, strings.Join(services, ", "))
	default:
		s.Complete = false
		s.Verdict += fmt.Sprintf("; its predecessor %s (up to seq %d) is not in the archive", p.Stream, p.Seq)
	}
}

// end is what the successors of a stream say of how it ended.
type end struct {
	next      uint64       // behind the last leaf that a successor knows of, if the archive lacks it; else 0
	knows     commit.Hex16 // the successor that knows of it
	other     commit.Hex16 // a successor that knows another frame at the end of the archive; zero for none
	less      commit.Hex16 // a successor that found less than the archive holds; zero for none
	recovered bool         // a successor found the end, not before that of the archive
}

// endOf hears the successors of a stream. Those of other services have no say.
func endOf(t *commit.Tip, heirs []commit.Tip) (e end) {
	for i := range heirs {
		h := &heirs[i]
		if h.Service != t.Service {
			continue
		}
		e.hear(t, h.ID, h.Prev.Seq, h.Prev.Head)
		switch r := h.Recovered; {
		case r == nil:
		case r.Seq+1 < t.Next: // also if it found nothing
			e.less = h.ID
		default:
			e.hear(t, h.ID, r.Seq, r.Head)
			e.recovered = true
		}
	}
	return e
}

// hear takes a successor's word that seq is of t and its last, with that head.
func (e *end) hear(t *commit.Tip, by commit.Hex16, seq uint64, head commit.Hex32) {
	switch next := seq + 1; { // 0 for nothing
	case next > max(t.Next, e.next):
		e.next, e.knows = next, by
	case next == t.Next && head != t.Head:
		e.other = by
	}
}

// judgeStream is the verdict on one stream.
func judgeStream(t *commit.Tip, e end, last *commit.Commit, now time.Time) StreamReport {
	s := StreamReport{Stream: t.ID.String(), Service: t.Service, Leaves: t.Next, Lost: t.Lost, Complete: true}
	for _, g := range t.Gaps {
		s.Gaps = append(s.Gaps, fmt.Sprintf("%d-%d", g.From, g.To-1))
	}
	if t.Beat != nil {
		s.LastBeat = t.Beat.Time
	}
	s.State, s.Verdict, s.Complete = streamState(t, e, last, now)
	if len(t.Gaps) > 0 {
		s.Complete = false
		s.Verdict += "; missing seq " + strings.Join(s.Gaps, ", ")
	}
	if t.Lost > 0 {
		s.Complete = false
		s.Verdict += "; " + number(t.Lost, "record") + " declared lost"
	}
	if e.next > 0 {
		s.Complete = false
		s.Verdict += fmt.Sprintf("; lacks seq %d to %d, which its successor %s knows of", t.Next, e.next-1, e.knows)
	}
	if e.other != (commit.Hex16{}) {
		s.Complete = false
		s.Verdict += fmt.Sprintf("; its successor %s knows another frame at its end", e.other)
	}
	return s
}

func streamState(t *commit.Tip, e end, last *commit.Commit, now time.Time) (state, verdict string, complete bool) {
	lastSeq := "nothing"
	if t.Next > 0 {
		lastSeq = fmt.Sprintf("seq %d", t.Next-1)
	}
	beyond := t.Beat != nil && t.Beat.Seq != record.None && t.Beat.Seq >= t.Next
	every := time.Duration(t.Every) * time.Millisecond
	switch {
	case t.Closed:
		return "closed", "complete: closed at " + lastSeq, true
	case e.recovered && beyond:
		return "recovered", fmt.Sprintf("recovered, but the archive ends at %s: the writer says that it reached seq %d", lastSeq, t.Beat.Seq), false
	case e.recovered && (e.next > 0 || e.other != commit.Hex16{}):
		return "recovered", "recovered, but the archive ends at " + lastSeq, false
	case e.recovered && t.Durability >= 2:
		return "recovered", "complete: recovered at " + lastSeq + ", everything acknowledged was on disk", true
	case e.recovered:
		return "recovered", "recovered at " + lastSeq + "; unknown what was in memory after it", false
	case beyond:
		return "unknown", fmt.Sprintf("unknown after %s: the writer says that it reached seq %d", lastSeq, t.Beat.Seq), false
	case now.Sub(last.Time) > staleAfter:
		return "unknown", fmt.Sprintf("unknown after %s: the newest commit is of %s", lastSeq, last.Time.Format(time.RFC3339)), false
	case t.Beat != nil && last.SourceTime.Sub(t.Beat.Time) <= liveBeats*every:
		return "live", fmt.Sprintf("complete: live up to %s, by its sign of %s", lastSeq, t.Beat.Time.UTC().Format(time.RFC3339)), true
	case e.less != (commit.Hex16{}):
		return "unknown", fmt.Sprintf("unknown after %s: its successor %s found less", lastSeq, e.less), false
	}
	return "unknown", "unknown after " + lastSeq + ": it neither closed nor shows that it lives", false
}

// acknowledge lets an acknowledged stream stop failing, as far as the acknowledgement goes.
func acknowledge(s *StreamReport, t *commit.Tip, acks []control.Ack) {
	for _, a := range acks {
		if a.Service != "" || a.Stream != t.ID {
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
