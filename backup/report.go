package backup

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/chain"
	"github.com/stelelog/stele/internal/ledger"
)

// Names of verdicts, in the order of their exit codes.
const (
	integrity    = "integrity"
	completeness = "completeness"
	anchoring    = "anchoring"
	locking      = "worm"
	erasure      = "erasure"
	readability  = "readability"
)

// VerdictNames are the separate verdicts on an archive, in the order of their exit codes, which start at 10.
func VerdictNames() []string {
	return []string{integrity, completeness, anchoring, locking, erasure, readability}
}

// Verdict is one answer about an archive.
type Verdict struct {
	State   State  `json:"state"`
	Detail  string `json:"detail"` // what was checked, or why it was not
	Faults  uint64 `json:"faults"` // all of them; Report.Faults lists the first hundred
	Notices uint64 `json:"notices"`
}

// State of a verdict.
type State string

// The states. Unchecked never counts as holding.
const (
	Holds     State = "true"
	Fails     State = "false"
	Unchecked State = "unchecked"
)

// Report is the outcome of a verification. It has no single word for all.
type Report struct {
	Stele    string             `json:"stele"` // "report/v1"
	Archive  string             `json:"archive"`
	Name     string             `json:"name"`
	Time     time.Time          `json:"time"`
	Verdicts map[string]Verdict `json:"verdicts"`
	Records  uint64             `json:"records"`
	Leaves   uint64             `json:"leaves"`
	Bytes    uint64             `json:"bytes"`             // read and hashed
	Opened   uint64             `json:"opened,omitempty"`  // records opened and equal to their commitments
	Erased   uint64             `json:"erased,omitempty"`  // records whose key was erased
	Expired  uint64             `json:"expired,omitempty"` // objects that were removed because their time was over
	// ExpiredRecords counts those that were to be opened and whose data have expired.
	ExpiredRecords uint64 `json:"expired_records,omitempty"`
	Control        uint64 `json:"control"` // entries of the control log
	// Scopes counts keys, if the archive has a key store.
	Scopes *ScopeCounts `json:"scopes,omitempty"`
	// Disclosures counts the entries that say that records left the archive unsealed.
	Disclosures uint64 `json:"disclosures,omitempty"`
	// Quarantined counts the messages that were set aside, QuarantinedFor them by reason, as far as compactors told.
	// Quarantine lists the first hundred objects that hold them.
	Quarantined    uint64            `json:"quarantined,omitempty"`
	QuarantinedFor map[string]uint64 `json:"quarantined_for,omitempty"`
	Quarantine     []string          `json:"quarantine,omitempty"`

	Anchors []AnchorReport `json:"anchors,omitempty"` // who else has seen the control log
	Since   []SinceReport  `json:"since,omitempty"`   // heads that were seen before and are continued
	Logs    []LogReport    `json:"logs"`
	Streams []StreamReport `json:"streams"`
	Faults  []Fault        `json:"faults"`  // the first hundred of each verdict
	Notices []Fault        `json:"notices"` // what was seen and breaks nothing; the first hundred of each verdict

	faults, notices map[string]uint64 // by verdict
}

// AnchorReport is how much of the control log somebody outside has seen.
type AnchorReport struct {
	Name   string    `json:"name"`
	Kind   string    `json:"kind"`          // "witness" or "anchor"
	Size   uint64    `json:"size"`          // of the newest head, in entries
	Behind uint64    `json:"behind"`        // entries since
	Time   time.Time `json:"time,omitzero"` // of the cosignature, by the clock of the witness
}

// SinceReport is a head of the control log that was seen before.
type SinceReport struct {
	Size  uint64 `json:"size"`  // entries
	Added uint64 `json:"added"` // entries since
}

// LogReport is one log.
type LogReport struct {
	Origin   string    `json:"origin"`
	Commits  uint64    `json:"commits"`
	Size     uint64    `json:"size"`           // leaves
	Root     string    `json:"root"`           // base64
	Provable uint64    `json:"provable"`       // leaves under the newest head in the control log
	Newest   time.Time `json:"newest"`         // source time of the newest commit
	Next     string    `json:"next,omitempty"` // the log in which this one goes on, if its period is over
}

// Fault is something wrong, and where.
type Fault struct {
	Verdict string `json:"verdict"`
	Key     string `json:"key"` // object key, stream or log
	Detail  string `json:"detail"`
}

func (f Fault) String() string { return fmt.Sprintf("%s: %s: %s", f.Verdict, f.Key, f.Detail) }

// StreamReport is how complete one stream is.
type StreamReport struct {
	Stream       string    `json:"stream"` // id, hex
	Service      string    `json:"service"`
	Log          string    `json:"log"`
	State        string    `json:"state"`  // "closed", "live", "recovered", "unknown"
	Leaves       uint64    `json:"leaves"` // archived: seq 0 to leaves−1, but for the gaps
	Lost         uint64    `json:"lost"`   // records declared lost
	Gaps         []string  `json:"gaps,omitempty"`
	LastBeat     time.Time `json:"last_beat,omitzero"`
	Verdict      string    `json:"verdict"` // in words
	Complete     bool      `json:"complete"`
	Acknowledged string    `json:"acknowledged,omitempty"` // reason, if somebody took note of what is missing
}

// ExitCode is the process exit code for the verdicts that are required: 0 if all hold, else 10 plus the place of the
// first that does not. Nothing required means: every verdict that was checked.
func (r *Report) ExitCode(require ...string) int {
	for i, name := range VerdictNames() {
		v := r.Verdicts[name]
		required := slices.Contains(require, name)
		if v.State == Fails && (required || len(require) == 0) || required && v.State != Holds {
			return 10 + i
		}
	}
	return 0
}

// fault records a fault and makes its verdict fail.
func (r *Report) fault(verdict, key, format string, args ...any) {
	r.Faults = r.list(r.Faults, &r.faults, verdict, key, format, args...)
}

func (r *Report) notice(verdict, key, format string, args ...any) {
	r.Notices = r.list(r.Notices, &r.notices, verdict, key, format, args...)
}

// strange says in one line what is in an archive of which no key of the trust file has signed anything, in the place of a line for each object.
func (r *Report) strange() {
	n := r.notices[integrity]
	if n < 2 || r.faults[integrity] > 1 { // that there is no policy is one; others are about what is authentic
		return
	}
	r.Notices = slices.DeleteFunc(r.Notices, func(f Fault) bool { return f.Verdict == integrity })
	r.notices[integrity] = 0
	r.notice(integrity, ledger.Prefix, "the trust file does not fit this archive: %d objects are not signed by its keys", n)
}

// list adds a fault to a list, or only counts it.
func (r *Report) list(list []Fault, count *map[string]uint64, verdict, key, format string, args ...any) []Fault {
	if *count == nil {
		*count = map[string]uint64{}
	}
	if (*count)[verdict]++; (*count)[verdict] > chain.MaxListed {
		return list
	}
	return append(list, Fault{verdict, key, fmt.Sprintf(format, args...)})
}

// findings reports what a chain holds that it should not.
func (r *Report) findings(all *chain.Findings) {
	for _, f := range all.List {
		if f.Kind == chain.Missing || f.Kind == chain.Fork {
			r.fault(integrity, f.Key, "%s: %v", f.Kind, f.Err)
		} else {
			r.notice(integrity, f.Key, "%s: %v", f.Kind, f.Err)
		}
	}
	for kind := range all.Kinds() {
		if n := all.Unlisted(kind); n > 0 && (kind == chain.Missing || kind == chain.Fork) {
			r.faults[integrity] += n
		} else if n > 0 {
			r.notices[integrity] += n
		}
	}
}

// conclude sets the verdicts from the faults. checked gives the words for those that hold; a verdict without words was
// not checked, and says why in unchecked.
func (r *Report) conclude(checked, unchecked map[string]string) {
	first := map[string]string{}
	for _, f := range r.Faults {
		if first[f.Verdict] == "" {
			first[f.Verdict] = f.Key + ": " + f.Detail
		}
	}
	r.Verdicts = map[string]Verdict{}
	for _, name := range VerdictNames() {
		v := Verdict{State: Unchecked, Detail: unchecked[name], Faults: r.faults[name], Notices: r.notices[name]}
		switch {
		case v.Faults == 1:
			v.State, v.Detail = Fails, first[name]
		case v.Faults > 1:
			v.State, v.Detail = Fails, fmt.Sprintf("%s (and %d more)", first[name], v.Faults-1)
		case checked[name] != "":
			v.State, v.Detail = Holds, checked[name]
		}
		r.Verdicts[name] = v
	}
}

// number writes "1 log", "2 logs", "2 leaves", "2 entries".
func number[N ~int | ~uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	for one, many := range map[string]string{"leaf": "leaves", "entry": "entries"} {
		if stem, ok := strings.CutSuffix(noun, one); ok {
			return fmt.Sprintf("%d %s%s", n, stem, many)
		}
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
