// Package event reads and writes records as lines of JSON: what 'stele capture' takes and 'stele restore' gives.
// docs/formats/event.md has the format. What goes in comes out equal, field by field: numbers keep their digits, times
// their nanoseconds and zone offset, bodies every byte. A line that would lose something is refused.
//
// The id of an event is the caller's. [logpipe.Record.ID], which the archive makes, is no part of an event.
package event

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/stelelog/stele/logpipe"
)

// MaxLine is the longest line that a [Reader] takes, in bytes.
const MaxLine = 64 << 20

// Error says why an event was refused. Nothing else is: other lines are not touched by it.
type Error struct {
	Line   int    // number of the line, from 1; 0 if it is not known
	Field  string // member of the event, or "" if it is the line as a whole
	Reason string // what is wrong, and what to do about it where that is not plain
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Field != "" {
		fmt.Fprintf(&b, "%q ", e.Field)
	}
	b.WriteString(e.Reason)
	return b.String()
}

func refuse(field, format string, args ...any) *Error {
	return &Error{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// text is a member that is a string of the record.
type text struct {
	name  string
	value *string
}

// texts are the members that are strings, in the order of the format.
func texts(r *logpipe.Record) [9]text {
	return [...]text{
		{"id", &r.CallerID}, {"tenant", &r.Tenant}, {"subject", &r.Subject}, {"session", &r.Session}, {"class", &r.Class},
		{"trace_id", &r.TraceID}, {"span_id", &r.SpanID}, {"parent_id", &r.ParentID}, {"content_type", &r.ContentType},
	}
}

// checkTime refuses what nanoseconds in an int64 cannot say.
func checkTime(t time.Time) *Error {
	if t.Before(time.Unix(0, math.MinInt64)) || t.After(time.Unix(0, math.MaxInt64)) {
		return refuse("time", "lies in the year %d; an archive keeps nanoseconds, which reach from 1677-09-21 to 2262-04-11", t.Year())
	}
	return nil
}
