package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/answer"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/merkle"
)

var errTwoHeads = errors.New("two heads of one log")

// listed checks the list of logs, and returns their heads; nil if the file does not show who says which there are.
func (c *checker) listed() ([]merkle.Checkpoint, error) {
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
	if _, err := note.Open([]byte(e.file), note.VerifierList(key)); err != nil {
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
	c.holds("archive", whatLogs, keyName(key), fmt.Sprintf("%d logs at size %d, entry %d of %d, %s, root %s", list.Logs, list.Control, e.proof.Index, c.head.Size, stamp(e.entry.Time), list.Root))
	return heads, nil
}

// readLogs reads the lines of a list.
func readLogs(list *control.Logs, index uint64, data []byte) (heads []merkle.Checkpoint, err error) {
	text, ended := bytes.CutSuffix(data, []byte("\n"))
	if !ended {
		return nil, errPart
	}
	lines := strings.Split(string(text), "\n")
	if list.Control > index || control.NewLogs(list.Control, lines) != *list {
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
func (c *checker) outside(list []merkle.Checkpoint) error {
	logs := list
	for _, r := range c.ranges {
		if r.origin == "" {
			continue
		}
		i, known := slices.BinarySearchFunc(logs, r.origin, func(l merkle.Checkpoint, origin string) int { return strings.Compare(l.Origin, origin) })
		switch {
		case !known && list == nil:
			logs = append(logs, r.At) // ranges ascend
		case !known || r.At.Size > logs[i].Size || r.At.Size == logs[i].Size && r.At.Root != logs[i].Root:
			return failed(r.number, "the list of logs does not have its head")
		}
	}
	for _, g := range c.records {
		if g.log != nil && c.secondHead(g.log) {
			return &FailedError{g.number, false, errTwoHeads}
		}
	}
	for _, l := range logs {
		if err := c.gaps(l); err != nil {
			return err
		}
	}
	return c.needlessTimes()
}

// secondHead reports whether a proof is under another head of a log of which there is a range.
func (c *checker) secondHead(p *merkle.TLogProof) bool {
	return slices.ContainsFunc(c.ranges, func(r *rangePart) bool {
		return bytes.HasPrefix(p.Checkpoint, []byte(r.At.Origin+"\n")) && !bytes.Equal(p.Checkpoint, r.Head)
	})
}

// gaps says which leaves of a log are not shown.
func (c *checker) gaps(l merkle.Checkpoint) error {
	t, key, err := c.timesOf(l, c.head.Size)
	if err != nil {
		return err
	}
	next, shown := uint64(0), uint64(0)
	gap := func(to uint64) {
		if next < to && !c.elsewhere(l, t, key, next, to) {
			c.missing("log "+l.Origin, whatOutside, fmt.Sprintf("leaves %d to %d of %d", next, to-1, l.Size))
		}
	}
	for _, r := range c.ranges {
		if r.origin == l.Origin {
			gap(r.First)
			next = r.First + r.Leaves
			shown += r.Leaves
		}
	}
	gap(l.Size)
	c.report.Answer.Logs = append(c.report.Answer.Logs, answer.Log{Log: l.Origin, Size: l.Size, Shown: shown})
	return nil
}
