package control

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/merkle"
)

// Logs says which data logs there are, as one hash: docs/formats/control.md, *List of logs*.
type Logs struct {
	Control uint64      `json:"control"` // size of this log that it speaks of
	Logs    uint64      `json:"logs"`
	Root    merkle.Hash `json:"root"` // over their lines
}

// LoggedLogs is a list of logs in the log.
type LoggedLogs struct {
	Index uint64
	By    string
	Time  time.Time
	Logs
}

// LoggedHead is a head in the log.
type LoggedHead struct {
	Head
	Index uint64
	By    string
}

// logHead is the newest head of a log in some entry.
type logHead struct {
	index, commit uint64 // of the entry; of the log
	merkle.Checkpoint
}

// NewLogs makes the list of logs when this log has the given size.
func NewLogs(size uint64, lines []string) Logs {
	hashes := make([]merkle.Hash, len(lines))
	for i, line := range lines {
		hashes[i] = merkle.LeafHash([]byte(line))
	}
	return Logs{size, uint64(len(lines)), merkle.Root(hashes)}
}

// LogLine is the line of a log in the list.
func LogLine(head merkle.Checkpoint) string {
	return fmt.Sprintf("%s %d %s", head.Origin, head.Size, head.Root)
}

// LogLines are the lines of all logs that had a head when this log had the given size, ascending by origin.
func (s *State) LogLines(size uint64) (lines []string) {
	p := s.PolicyAt(size)
	for _, origin := range slices.Sorted(maps.Keys(s.newest)) {
		var longest *logHead
		for by, heads := range s.newest[origin] {
			r := p.bound(by)
			for i := len(heads) - 1; i >= 0; i-- {
				h := &heads[i]
				if h.index >= size || r != nil && !r.binds(origin, h.commit) {
					continue
				}
				if longest == nil || h.Size > longest.Size || h.Size == longest.Size && h.index < longest.index {
					longest = h
				}
				break
			}
		}
		if longest != nil {
			lines = append(lines, LogLine(longest.Checkpoint))
		}
	}
	return lines
}

// noteHead keeps a head, and for lists of logs if it is longer than those of its author before it.
func (s *State) noteHead(l *Listed, h *Head) {
	s.Heads[h.Log] = append(s.Heads[h.Log], LoggedHead{*h, l.Index, l.By})
	text, _, _ := strings.Cut(h.Checkpoint, "\n\n")
	var cp merkle.Checkpoint
	if cp.UnmarshalText([]byte(text+"\n")) != nil || cp.Origin != h.Log {
		return // no head: verify says so
	}
	if s.newest[h.Log] == nil {
		s.newest[h.Log] = map[string][]logHead{}
	}
	known := s.newest[h.Log][l.By]
	if n := len(known); n == 0 || known[n-1].Size < cp.Size {
		s.newest[h.Log][l.By] = append(known, logHead{l.Index, h.Commit, cp})
	}
}

// FalseLogs is why a list of logs that is not true has no effect.
type FalseLogs struct{ By string }

func (e *FalseLogs) Error() string {
	return fmt.Sprintf("%s signed a list of logs that is not that of the heads before it", e.By)
}

// checkLogs accepts the list of the heads that are in the log before its own entry: under an older one an answer would lack what came since, and be dated now.
func (s *State) checkLogs(by string) func(*Logs) error {
	return func(l *Logs) error {
		if s.falseLogs(l) {
			return refuse(whyInvalid, "%w", &FalseLogs{by})
		}
		if l.Control < s.Size() {
			return refuse(whyInvalid, "a list of the logs when there were %d entries, and there are %d", l.Control, s.Size())
		}
		return nil
	}
}

// falseLogs reports whether a list is not that of the heads before the size that it names.
func (s *State) falseLogs(l *Logs) bool {
	return l.Control > s.Size() || *l != NewLogs(l.Control, s.LogLines(l.Control))
}
