package backup_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyscope"
)

// TestPeriodWithTheSameStart: a log goes on until a period begins that starts later. One of another length that starts when
// its own did is none.
func TestPeriodWithTheSameStart(t *testing.T) {
	a := newTimed(t)
	s, records := a.stream(keyscope.Link{}), some(8)
	send := func(i int) { s.send(records[2*i : 2*i+2]...) }
	first := periodAfter(t, 0)
	start, _ := commit.PeriodStart(periodAfter(t, quarter))
	month := start.Format("2006-01")
	send(0)
	a.once()
	a.policy(func(p *control.Policy) { p.Period = "month" })
	a.pass(time.Until(start.AddDate(0, 0, 9)))
	send(1)
	a.once()
	a.policy(func(p *control.Policy) { p.Period = "quarter" })
	send(2)
	a.once()
	if got := a.periods(); !slices.Equal(got, []string{first + ":3", month + ":2"}) {
		t.Errorf("in the month: %v", got)
	}
	a.pass(quarter)
	send(3)
	s.close()
	a.once()
	if got, next := a.periods(), periodAfter(t, time.Duration(a.ahead.Load())); !slices.Equal(got, []string{first + ":3", month + ":4", next + ":1"}) {
		t.Errorf("in the next quarter: %v", got)
	}
	a.intact(a.keys, records)
}
