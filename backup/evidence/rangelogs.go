package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

var errTwoHeads = errors.New("two heads of one log")

// logList is a list of logs that holds.
type logList struct {
	index uint64 // of its entry
	heads []merkle.Checkpoint
}

// listed checks the list of logs; nil if the file does not show who says which there are.
func (c *checker) listed() (*logList, error) {
	i := len(c.entries) - 1
	for ; i >= 0; i-- {
		if c.entries[i].proof != nil && c.entries[i].entry.Type == control.TypeLogs {
			break
		}
	}
	if i < 0 {
		c.missing("archive", whatLogs, "which logs there are")
		return nil, nil
	}
	e := c.entries[i]
	e.used = true
	key := c.named("compactor", e.entry.By, e.proof.Index)
	if key == nil || e.logs == nil {
		c.missing("archive", whatLogs, "the lines of the list of logs, or that the access policy names "+e.entry.By)
		return nil, nil
	}
	if err := e.signedBy(key); err != nil {
		return nil, &FailedError{e.number, false, fmt.Errorf("the list of logs: %w", err)}
	}
	var list control.Logs
	if err := e.entry.Into(&list); err != nil {
		return nil, &FailedError{e.number, false, err}
	}
	heads, err := readLogs(&list, e.proof.Index, e.logs)
	if err != nil {
		return nil, &FailedError{e.number, false, err}
	}
	c.report.Answer.AsOf = e.entry.Time
	c.holds("archive", whatLogs, keyName(key), fmt.Sprintf("%s at size %d, entry %d of %d, %s, root %s", count(list.Logs, "log"), list.Control, e.proof.Index, c.head.Size, stamp(e.entry.Time), list.Root))
	return &logList{e.proof.Index, heads}, nil
}

// readLogs reads the lines of a list. It is of all before its own entry: of an older one nobody could see how old.
func readLogs(list *control.Logs, index uint64, data []byte) (heads []merkle.Checkpoint, err error) {
	text, ended := bytes.CutSuffix(data, []byte("\n"))
	if !ended {
		return nil, errPart
	}
	lines := strings.Split(string(text), "\n")
	if list.Control != index {
		return nil, fmt.Errorf("a list of logs of size %d in entry %d: it is not of its own time", list.Control, index)
	}
	if control.NewLogs(list.Control, lines) != *list {
		return nil, errors.New("its lines are not those of the list of logs")
	}
	for _, line := range lines {
		var cp merkle.Checkpoint
		if err := cp.UnmarshalText([]byte(strings.ReplaceAll(line, " ", "\n") + "\n")); err != nil {
			return nil, err
		}
		if n := len(heads); n > 0 && heads[n-1].Origin >= cp.Origin {
			return nil, errors.New("logs that do not ascend")
		}
		heads = append(heads, cp)
	}
	return heads, nil
}

// outside says which leaves of which logs are not shown.
func (c *checker) outside(list *logList) error {
	logs, before := []merkle.Checkpoint(nil), c.head.Size
	if list != nil {
		logs, before = list.heads, list.index
	}
	shown := map[string][]*rangePart{} // of each log, those that hold
	for _, r := range c.ranges {
		if r.origin == "" {
			continue
		}
		if list == nil && len(shown[r.origin]) == 0 {
			logs = append(logs, r.At) // ranges ascend
		}
		shown[r.origin] = append(shown[r.origin], r)
	}
	if err := c.otherHeads(logs); err != nil {
		return err
	}
	for _, l := range logs {
		if err := c.gaps(l, shown[l.Origin], before); err != nil {
			return err
		}
	}
	return c.needlessTimes()
}

// otherHeads refuses heads of ranges that are not in the list of logs, and heads of other records in the logs of ranges.
func (c *checker) otherHeads(logs []merkle.Checkpoint) error {
	heads := map[string][]byte{}
	for _, r := range c.ranges {
		heads[r.At.Origin] = r.Head
		if r.origin == "" {
			continue
		}
		i, known := slices.BinarySearchFunc(logs, r.origin, func(l merkle.Checkpoint, origin string) int { return strings.Compare(l.Origin, origin) })
		if !known || r.At.Size > logs[i].Size || r.At.Size == logs[i].Size && r.At.Root != logs[i].Root {
			return failed(r.number, "the list of logs does not have its head")
		}
	}
	for _, g := range c.records {
		if g.log == nil {
			continue
		}
		origin, _, _ := bytes.Cut(g.log.Checkpoint, []byte("\n"))
		if head, ok := heads[string(origin)]; ok && !bytes.Equal(g.log.Checkpoint, head) {
			return &FailedError{g.number, false, errTwoHeads}
		}
	}
	return nil
}

// gaps says which leaves of a log its ranges do not show.
func (c *checker) gaps(l merkle.Checkpoint, ranges []*rangePart, before uint64) error {
	t, key, err := c.timesOf(l, before)
	if err != nil {
		return err
	}
	next, shown := uint64(0), uint64(0)
	gap := func(to uint64) {
		if next < to && !c.elsewhere(l, t, key, next, to) {
			c.missing("log "+l.Origin, whatOutside, fmt.Sprintf("leaves %d to %d of %d", next, to-1, l.Size))
		}
	}
	for _, r := range ranges {
		gap(r.First)
		next = r.First + r.Leaves
		shown += r.Leaves
	}
	gap(l.Size)
	c.report.Answer.Logs = append(c.report.Answer.Logs, rangeproof.Log{Log: l.Origin, Size: l.Size, Shown: shown})
	return nil
}
