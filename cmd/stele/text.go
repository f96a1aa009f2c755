package main

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// table prints rows in columns; the first row is the heading.
func table(w io.Writer, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // an error of w shows when the process ends
}

// count writes "1 record", "2,000 records", "2 entries", "2 leaves".
func count[N ~int | ~int64 | ~uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	for one, many := range map[string]string{"leaf": "leaves", "entry": "entries", "match": "matches"} {
		if stem, ok := strings.CutSuffix(noun, one); ok {
			return grouped(n) + " " + stem + many
		}
	}
	return grouped(n) + " " + noun + "s"
}

// grouped writes a number with commas.
func grouped[N ~int | ~int64 | ~uint64](n N) string {
	digits := strconv.FormatUint(uint64(n), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// size writes a number of bytes for people.
func size[N ~int | ~int64 | ~uint64](n N) string {
	f, unit := float64(n), 0
	for f >= 1000 && unit < 4 {
		f /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %ciB", f, " KMGT"[unit])
}

// printable makes text from outside safe for a terminal and at most so many runes long, on one line.
func printable(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			return b.String() + "…"
		}
		if !strconv.IsPrint(r) {
			r = '·'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// alike counts lines that differ in numbers, ids and hashes only.
type alike struct {
	numbers *regexp.Regexp
	seen    map[string]int
}

func newAlike() *alike {
	return &alike{regexp.MustCompile(`[0-9a-f]{8,}|[0-9]+`), map[string]int{}}
}

// takenIn says when the entries of the inbox come into the control log.
const takenIn = "a compactor that runs takes it in within seconds, 'compactor --once' at once"

// maxAlike is how many such lines are printed.
const maxAlike = 10

// one reports whether a line is still to be printed.
func (a *alike) one(line string) bool {
	kind := a.numbers.ReplaceAllString(line, "#")
	a.seen[kind]++
	return a.seen[kind] <= maxAlike
}

// more is how many lines were not printed.
func (a *alike) more() (n int) {
	for _, seen := range a.seen {
		n += max(0, seen-maxAlike)
	}
	return n
}

// parseDays reads "30d", "12w" or a Go duration, as whole days.
func parseDays(s string) (time.Duration, error) {
	unit, number := 24*time.Hour, ""
	switch {
	case strings.HasSuffix(s, "d"):
		number = strings.TrimSuffix(s, "d")
	case strings.HasSuffix(s, "w"):
		number, unit = strings.TrimSuffix(s, "w"), 7*24*time.Hour
	default:
		d, err := time.ParseDuration(s)
		if err != nil || d < 24*time.Hour {
			return 0, fmt.Errorf("%q is no number of days; write 30d", s)
		}
		return d, nil
	}
	n, err := strconv.ParseUint(number, 10, 16)
	span := time.Duration(n) * unit
	if err != nil || n == 0 || span > 100*365*24*time.Hour {
		return 0, fmt.Errorf("%q is no number of days; write 30d", s)
	}
	return span, nil
}

// parseTime reads RFC 3339, a day (UTC), or a span before now such as 90m or 7d.
func parseTime(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if d, err := parseDays(s); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; write 2026-03-01, 2026-03-01T12:00:00Z, or how long ago: 90m, 7d", s)
}
