// Package counts compares what an archive holds with what somebody else has counted, by service and hour. The format
// of such counts is docs/formats/counts.md. Pure: no I/O, no clock.
package counts

import (
	"time"
)

// What is counted.
const (
	Records = "records" // records as captured; pieces of large bodies and what streams say of themselves do not count
	Calls   = "calls"   // records that close a call: one for each call
)

// Expected is one count from outside.
type Expected struct {
	Service string
	Hour    time.Time // its start, UTC
	What    string    // Records or Calls
	Count   uint64
	Line    int // where it stands, from 1
}

// Inventory is what an archive holds, and what its writers say that it lacks.
type Inventory struct {
	Held     []Held
	Lost     []Span // declared lost: Calls is 0, as nobody knows how many calls these records were
	Sampled  []Span // left out by sampling
	Expired  []Span // in segments whose rows are gone because their time was over: Service is empty
	Newest   time.Time
	Segments int // that were read
}

// Held are the records of a service in an hour, by the times in the records.
type Held struct {
	Service        string
	Hour           time.Time
	Records, Calls uint64
}

// Span is so many of a service that are not there, with times in [From, Until].
type Span struct {
	Service        string
	From, Until    time.Time
	Records, Calls uint64
}

// Acknowledged is a difference that somebody took note of.
type Acknowledged struct {
	Service string
	Hour    time.Time
	What    string
	Missing uint64 // up to so many
	Reason  string
}

// Row is one service, hour and kind of count.
type Row struct {
	Service      string    `json:"service"`
	Hour         time.Time `json:"hour"`
	What         string    `json:"what"`
	Counted      uint64    `json:"counted"`            // in the archive
	Lost         uint64    `json:"lost"`               // records declared lost
	Sampled      uint64    `json:"sampled"`            // left out by sampling
	Expected     *uint64   `json:"expected,omitempty"` // from outside; nil if nobody counted
	Difference   int64     `json:"difference"`         // below zero: so many are missing and not declared; above: a surplus. 0 without Expected
	Expired      bool      `json:"expired,omitempty"`  // rows of this hour are gone because their time was over
	Acknowledged string    `json:"acknowledged,omitempty"`
}

// Open reports whether something is missing that nothing explains and nobody has taken note of.
func (r *Row) Open() bool { return r.Difference < 0 && !r.Expired && r.Acknowledged == "" }

// Surplus reports whether the archive holds more than was counted outside.
func (r *Row) Surplus() bool { return r.Difference > 0 }

// Hour is the start of the hour of a time, UTC.
func Hour(t time.Time) time.Time { return t.UTC().Truncate(time.Hour) }
