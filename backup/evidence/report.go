package evidence

import (
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/backup/rangeproof"
)

// Report is what an evidence file shows.
type Report struct {
	Stele   string              `json:"stele"`   // "check/v1"
	Archive string              `json:"archive"` // id, hex
	Name    string              `json:"name"`    // of the archive
	Records []Record            `json:"records"`
	Ranges  []rangeproof.Range  `json:"ranges,omitempty"` // answers with nothing left out
	Answer  *rangeproof.Summary `json:"answer,omitempty"` // how far they answer their query
	Holds   []Statement         `json:"holds"`            // what the file shows
	Missing []Statement         `json:"missing"`          // what it could show and does not
	Limits  []string            `json:"limits"`           // what no file of this kind shows
}

// Statement is one thing that is shown, or is not.
type Statement struct {
	About  string `json:"about"`        // "archive", "record <id>", "entry <number>"
	What   string `json:"what"`         // one word: docs/formats/evidence.md lists them
	By     string `json:"by,omitempty"` // whose key says so
	Detail string `json:"detail"`       // what exactly
}

// Record is a record with what the file tells about it. Everything but Fields and the names is in clear in the archive.
type Record struct {
	ID      string            `json:"id"` // hex
	Type    string            `json:"type"`
	Kind    string            `json:"kind,omitempty"`
	Time    time.Time         `json:"time"` // by the clock of the writer
	Class   string            `json:"class"`
	Stream  string            `json:"stream"` // hex
	Seq     uint64            `json:"seq"`
	Scope   string            `json:"scope,omitempty"`  // hex
	Clear   map[string]string `json:"clear,omitempty"`  // operational attributes, by name
	Log     string            `json:"log,omitempty"`    // origin, if the file shows it
	Index   uint64            `json:"index,omitempty"`  // of the leaf there
	Fields  map[string][]byte `json:"fields,omitempty"` // disclosed values, by name
	Service string            `json:"service,omitempty"`
}

// Whole reports whether every record is shown from its writer's key to the head of the control log, and every erasure from
// its request to its custodians. What is disclosed or witnessed, and what an erasure could not close, is beside the point.
func (r *Report) Whole() bool {
	for _, m := range r.Missing {
		if !slices.Contains([]string{whatUnknown, whatWitness, whatQuorum, whatAnchor, whatOthers, whatOpen, whatArchive}, m.What) {
			return false
		}
	}
	return true
}

// Vouched reports whether the witnesses and anchors that the trust file wants have seen the head of the control log.
func (r *Report) Vouched() bool {
	return !slices.ContainsFunc(r.Missing, func(m Statement) bool { return m.What == whatQuorum || m.What == whatAnchor })
}

// Words of statements.
const (
	whatControl   = "control"   // the head of the control log
	whatRoster    = "roster"    // who the access policy names
	whatSigned    = "signed"    // a stream key signed the leaf
	whatCertified = "certified" // a service key let the stream sign
	whatWriter    = "writer"    // the access policy names the service key
	whatLog       = "log"       // the leaf is in a data log
	whatHead      = "head"      // the head of that log is in the control log
	whatField     = "field"     // a sealed field is what the writer committed to
	whatScope     = "scope"     // the scope of the record, and its key check value
	whatWitness   = "witness"   // others have seen the head of the control log
	whatCosigned  = "cosigned"  // a witness has seen the head of the control log
	whatQuorum    = "quorum"    // and as many as the trust file wants have
	whatAnchored  = "anchored"  // it is in the log of an anchor
	whatAnchor    = "anchor"    // that of an anchor that the trust file names
	whatComplete  = "complete"  // all leaves of a run of a log are shown
	whatLogs      = "logs"      // which logs there are
	whatOutside   = "outside"   // leaves of a log that are not shown
	whatForgotten = "forgotten" // the key of the record's scope went with an erasure

	whatErased     = "erased"         // keys were left out of a new generation
	whatRequest    = "request"        // who asked
	whatSelection  = "selection"      // what for, in clear
	whatApproved   = "approved"       // who approved
	whatSingle     = "single-control" // fewer than two persons decided
	whatRecords    = "records"        // the root records before and after follow each other
	whatList       = "list"           // which keys went
	whatDifference = "difference"     // and no others
	whatOthers     = "others"         // these two, where only some paths are shown
	whatCustodian  = "custodian"      // what a custodian said of its key
	whatDead       = "dead"           // nobody can open the generation that was left
	whatBestEffort = "best-effort"    // custodians destroyed it, and no time can be stated
	whatArchive    = "archive"        // from when on no copy of the archive opens it
	whatTransport  = "transport"      // and no copy of the transport
	whatLate       = "late"           // what came after it, and was destroyed on arrival
	whatOpen       = "open"           // what could not be closed

	whatUnknown = "unknown" // a part of a kind that is not known here
)

func (c *checker) holds(about, what, by, detail string) {
	c.report.Holds = append(c.report.Holds, Statement{about, what, by, detail})
}

func (c *checker) missing(about, what, detail string) {
	c.report.Missing = append(c.report.Missing, Statement{About: about, What: what, Detail: detail})
}

// count words so many of something; docs/formats/evidence.md, *Statements*, has the rule.
func count[N ~int | ~uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if noun == "match" {
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// assumptions are what no certificate can show.
func assumptions() []string {
	return []string{
		"that nobody kept a copy of a key or a text: what was disclosed, restored or held in memory before is out of reach",
		"that custodians and their devices did what they said",
		"that no hold stood, that older generations are dead, and which records went: 'stele verify' checks these in the archive",
		"that nothing came later than the file says: whoever made it may have left out what was destroyed on arrival; 'stele erase status' counts all of it",
	}
}

// limits are what no evidence file shows.
func limits() []string {
	return []string{
		"that no other record is missing: 'stele audit' says how complete a stream is",
		"that the time of a record is right: it is that of the writer's clock",
		"that no access policy withdrew one of these keys since: 'stele verify' follows all of them",
	}
}
