package counts

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxLines   = 1 << 20
	maxService = 255
	maxCount   = 1 << 53 // JSON has no larger whole numbers that everybody reads alike
)

// ParseExpected reads counts from outside: comma-separated with a header, or one JSON object a line. Errors name the line.
func ParseExpected(data []byte) ([]Expected, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(data) {
		return nil, errors.New("the counts are no UTF-8 text")
	}
	var lines []Expected
	var err error
	if text := bytes.TrimSpace(data); len(text) > 0 && text[0] == '{' {
		lines, err = parseJSON(data)
	} else {
		lines, err = parseCSV(data)
	}
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, errors.New("the file has no counts")
	}
	seen := map[key]int{}
	for i := range lines {
		e := &lines[i]
		if before, twice := seen[e.key()]; twice {
			return nil, fmt.Errorf("line %d counts %s of %s in the hour %s again, after line %d: add them up", e.Line, e.What, e.Service, stamp(e.Hour), before)
		}
		seen[e.key()] = e.Line
	}
	return lines, nil
}

func parseJSON(data []byte) (out []Expected, err error) {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var l struct {
			Service, Hour, What string
			Count               *uint64
		}
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("line %d: want {\"service\":…,\"hour\":…,\"count\":…}: %w", n, err)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("line %d: something follows the object: write one a line", n)
		}
		if l.Count == nil {
			return nil, fmt.Errorf("line %d has no count", n)
		}
		e, err := checked(n, l.Service, l.Hour, l.What, *l.Count)
		if err != nil {
			return nil, err
		}
		if out = append(out, e); len(out) > maxLines {
			return nil, errTooMany
		}
	}
	return out, nil
}

var errTooMany = fmt.Errorf("more than %d counts: split the file by time", maxLines)

func parseCSV(data []byte) (out []Expected, err error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.Comment, r.TrimLeadingSpace = '#', true
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, csvError(err)
	}
	column := map[string]int{}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := column[name]; twice || !slices.Contains([]string{"service", "hour", "count", "what"}, name) {
			return nil, fmt.Errorf("line 1: %q is no column of counts, or is there twice: begin with service,hour,count[,what]", name)
		}
		column[name] = i
	}
	for _, name := range []string{"service", "hour", "count"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("line 1 names no column %q: begin with service,hour,count[,what]", name)
		}
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, csvError(err)
		}
		n, _ := r.FieldPos(0)
		count, err := strconv.ParseUint(strings.TrimSpace(row[column["count"]]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: %q is no count", n, row[column["count"]])
		}
		what := ""
		if i, ok := column["what"]; ok {
			what = strings.TrimSpace(row[i])
		}
		e, err := checked(n, strings.TrimSpace(row[column["service"]]), strings.TrimSpace(row[column["hour"]]), what, count)
		if err != nil {
			return nil, err
		}
		if out = append(out, e); len(out) > maxLines {
			return nil, errTooMany
		}
	}
}

func csvError(err error) error {
	if p := new(csv.ParseError); errors.As(err, &p) {
		return fmt.Errorf("line %d: %w", p.Line, p.Err)
	}
	return err
}

// checked is what a line counts.
func checked(n int, service, hour, what string, count uint64) (e Expected, err error) {
	at, err := time.Parse(time.RFC3339, hour)
	switch {
	case service == "" || len(service) > maxService:
		return e, fmt.Errorf("line %d: the service has no name, or one of more than %d bytes", n, maxService)
	case err != nil:
		return e, fmt.Errorf("line %d: %q is no hour: write its start as 2026-11-28T14:00:00Z", n, hour)
	case !at.Equal(Hour(at)):
		return e, fmt.Errorf("line %d: %q is not the start of an hour of UTC", n, hour)
	case what != "" && what != Records && what != Calls:
		return e, fmt.Errorf("line %d: %q is not counted here, only %s and %s", n, what, Records, Calls)
	case count > maxCount:
		return e, fmt.Errorf("line %d: a count over 2^53", n)
	}
	if what == "" {
		what = Records
	}
	return Expected{service, Hour(at), what, count, n}, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
