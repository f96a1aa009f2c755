package commit

import (
	"fmt"
	"strings"
	"time"
)

// Periods are the lengths that the logs of an archive can have, longest first. Those under a month are for tests.
func Periods() []string { return []string{"year", "quarter", "month", "day", "hour", "minute"} }

// layouts are the names of periods that package time can read and write.
var layouts = [...]struct{ length, layout string }{
	{"year", "2006"}, {"month", "2006-01"}, {"day", "2006-01-02"}, {"hour", "2006-01-02T15"}, {"minute", "2006-01-02T1504"},
}

// PeriodOf names the period of a length, one of [Periods], in which t lies.
func PeriodOf(length string, t time.Time) (string, error) {
	t = t.UTC()
	if length == "quarter" {
		return fmt.Sprintf("%04dQ%d", t.Year(), (int(t.Month())+2)/3), nil
	}
	for _, l := range layouts {
		if l.length == length {
			return t.Format(l.layout), nil
		}
	}
	return "", fmt.Errorf("logs cannot have a period of %q; it is one of %s", length, strings.Join(Periods(), ", "))
}

// PeriodStart is the first instant of a period. ok is false if that is no name of a period.
func PeriodStart(name string) (start time.Time, ok bool) {
	if len(name) == len("2006Q1") && name[4] == 'Q' && name[5] >= '1' && name[5] <= '4' {
		year, err := time.Parse("2006", name[:4])
		return year.AddDate(0, 3*int(name[5]-'1'), 0), err == nil
	}
	for _, l := range layouts {
		if start, err := time.Parse(l.layout, name); err == nil && len(name) == len(l.layout) {
			return start, true
		}
	}
	return time.Time{}, false
}

// ComparePeriods orders the names of periods by when they start; what is no name comes last.
func ComparePeriods(a, b string) int {
	x, okX := PeriodStart(a)
	y, okY := PeriodStart(b)
	switch {
	case okX && okY && !x.Equal(y):
		return x.Compare(y)
	case okX != okY && okX:
		return -1
	case okX != okY:
		return 1
	}
	return strings.Compare(a, b)
}

// Origin is the origin of a log: the name of its archive, its partition and its period.
func Origin(archive string, partition uint32, period string) string {
	return fmt.Sprintf("%s/%d/%s", archive, partition, period)
}

// SplitOrigin cuts the period off the origin of a log; what is before it names the partition.
func SplitOrigin(origin string) (partition, period string) {
	i := strings.LastIndexByte(origin, '/')
	return origin[:i+1], origin[i+1:]
}

// StartsLater reports whether the period next starts later than another: whether a log may go on in it.
func StartsLater(period, next string) bool {
	x, okX := PeriodStart(period)
	y, okY := PeriodStart(next)
	return okX && okY && y.After(x)
}

// later reports whether the log next may follow the log origin: the same partition, in a period that starts later.
func later(origin, next string) bool {
	p, period := SplitOrigin(origin)
	q, nextPeriod := SplitOrigin(next)
	return p == q && StartsLater(period, nextPeriod)
}

// Repeats checks that c, the first commit of a log, names all lanes and streams of the log before, where they were or
// further on.
func (c *Commit) Repeats(lanes map[string]Lane, tips map[Hex16]Tip) error {
	for lane, was := range lanes {
		now, ok := c.Source.Lanes[lane]
		if !ok || now.Next < was.Next || now.Next == was.Next && !sameHash(now.Last, was.Last) {
			return fmt.Errorf("commit: it does not go on where lane %s was, at %d", lane, was.Next)
		}
	}
	named := make(map[Hex16]*Tip, len(c.Streams))
	for i := range c.Streams {
		named[c.Streams[i].ID] = &c.Streams[i]
	}
	for id, was := range tips {
		now := named[id]
		if now == nil || now.Next < was.Next || now.Next == was.Next && now.Head != was.Head {
			return fmt.Errorf("commit: it does not repeat where stream %s was, at %d", id, was.Next)
		}
	}
	return nil
}

func sameHash(a, b *Hex32) bool { return a == b || a != nil && b != nil && *a == *b }
