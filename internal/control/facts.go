package control

import (
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/merkle"
)

// IntakeKeys are intake keys of weeks to come, made by a key service, which keeps the private halves.
type IntakeKeys struct {
	Weeks []Intake `json:"weeks"`
}

// KeyRoot is the head of the chain of root records.
type KeyRoot struct {
	N          uint64        `json:"n"`
	Hash       commit.Hex32  `json:"hash"`
	Generation uint64        `json:"generation"`
	Live       uint64        `json:"live"`
	Commitment merkle.Hash   `json:"commitment"`
	Folded     commit.Source `json:"folded"`
	Arrived    time.Time     `json:"arrived,omitzero"` // newest time that the transport gave to what was folded lately
	Dead       uint64        `json:"dead,omitempty"`   // all generations before it are destroyed, as who says this has seen
}

// LoggedKeyRoot is a head of that chain in the log.
type LoggedKeyRoot struct {
	KeyRoot
	By string
}

// Outcome says how it stands with an approved request.
type Outcome struct {
	Request  commit.Hex32 `json:"request"`
	Erased   uint64       `json:"erased"`             // scopes erased by this step
	Whole    uint64       `json:"whole,omitempty"`    // of these, scopes that went whole for the records or the time that was asked for
	Held     uint64       `json:"held,omitempty"`     // scopes that a hold keeps
	Retained uint64       `json:"retained,omitempty"` // scopes whose minimum retention is not over
	Until    *time.Time   `json:"until,omitempty"`    // when the last of them is
	Left     uint64       `json:"left,omitempty"`     // scopes that go in the erasures that follow at once
	Nothing  bool         `json:"nothing,omitempty"`  // no scope is known that it selects
	Problem  string       `json:"problem,omitempty"`  // "selection": it cannot be opened; "custodian", "replica": it cannot be reached
}

// Complete reports whether nothing is left of the request.
func (o *Outcome) Complete() bool { return o.Held+o.Retained+o.Left == 0 && o.Problem == "" }

// Erased says that a generation of the key trie was left, and what the new one leaves out.
type Erased struct {
	Cause     Cause         `json:"cause"`
	Requests  []Outcome     `json:"requests,omitempty"` // cause "request": those of which scopes went, as in the root record
	From      uint64        `json:"from"`               // generation that was left
	To        uint64        `json:"to"`                 // From + 1
	Before    RootRef       `json:"before"`             // last record of From
	Root      RootRef       `json:"root"`               // first record of To
	Control   uint64        `json:"control"`            // size of this log by which holds and policy were judged
	List      commit.Hex32  `json:"list"`               // object with the paths that were left out
	Paths     merkle.Hash   `json:"paths"`              // RFC 6962 root over them
	Scopes    uint64        `json:"scopes"`
	Removed   uint64        `json:"removed"`
	Spent     uint64        `json:"spent,omitempty"`
	Custody   []Destruction `json:"custody"`           // as far as it is known when this is written
	Watermark uint64        `json:"watermark"`         // least generation that is not dead
	Archive   *time.Time    `json:"archive,omitempty"` // from when on no copy of the archive opens them; absent: not yet, or never certain
	Transport time.Time     `json:"transport"`         // from when on no copy of the transport does
	Single    bool          `json:"single"`            // single control
	Open      []string      `json:"open,omitempty"`    // what could not be closed; words of docs/formats/control.md
}

// Destruction is what a custodian said of its key of a generation.
type Destruction struct {
	Custodian     string     `json:"custodian"`
	Generation    uint64     `json:"generation"`
	Class         string     `json:"class"`
	Destroyed     *time.Time `json:"destroyed,omitempty"`     // absent: not yet
	Irrecoverable *time.Time `json:"irrecoverable,omitempty"` // absent for class C and N
	Statement     string     `json:"statement"`               // docs/formats/custodian.md
}

// Destroyed adds to an erasure what custodians said later.
type Destroyed struct {
	Erased    commit.Hex32  `json:"erased"` // entry
	Custody   []Destruction `json:"custody"`
	Watermark uint64        `json:"watermark"`
	Archive   *time.Time    `json:"archive,omitempty"`
	Open      []string      `json:"open,omitempty"` // all that is open now
}

// Supplement adds to an erasure grants that came after it: buried under a tombstone, or dead on arrival because their
// intake key was erased.
type Supplement struct {
	Request *commit.Hex32 `json:"request,omitempty"` // of the tombstone; absent for grants that were dead
	Root    RootRef       `json:"root"`              // record that counts them
	Buried  uint64        `json:"buried,omitempty"`
	Dead    uint64        `json:"dead,omitempty"`
	Weeks   []uint16      `json:"weeks,omitempty"` // of the erased intake keys
}

// LoggedSupplement is a supplement in the log.
type LoggedSupplement struct {
	Entry commit.Hex32
	Index uint64
	By    string
	Time  time.Time
	Supplement
	Undone bool // a recovery that is done went back behind the record: its grants are counted again
}

// Drill reports a drill.
type Drill struct {
	What   string       `json:"what"` // "erasure"
	OK     bool         `json:"ok"`
	Erased commit.Hex32 `json:"erased"` // entry of the canary's erasure
	Opened uint64       `json:"opened"` // live scopes that open in the restored copy, as they must
	Dead   uint64       `json:"dead"`   // scopes of the canary that do not, as they must not
	Failed uint64       `json:"failed"` // scopes of either kind that are otherwise
	Detail string       `json:"detail,omitempty"`
}

// Expired says that objects were removed because their time was over.
type Expired struct {
	Log     string          `json:"log"`
	From    uint64          `json:"from"` // commits From to To, both included
	To      uint64          `json:"to"`
	Whole   bool            `json:"whole,omitempty"` // of all classes: nothing of the log is left but its commits
	Classes []string        `json:"classes,omitempty"`
	Objects []ExpiredObject `json:"objects"`
	Clock   Clock           `json:"clock"`
}

// ExpiredObject is an object that is gone, in all its versions.
type ExpiredObject struct {
	SHA256 commit.Hex32 `json:"sha256"`
	Until  time.Time    `json:"until"` // end of its lock
}

// Clock says whose time was believed.
type Clock struct {
	Time      time.Time `json:"time"`
	Source    string    `json:"source"`              // "witnesses" or "trusted"; "log" where it is asked for and not written down
	Witnesses []string  `json:"witnesses,omitempty"` // key names
	Size      uint64    `json:"size,omitempty"`      // of the checkpoint of this log that they cosigned
}

// Whose time it is.
const (
	ClockWitnesses = "witnesses"
	ClockTrusted   = "trusted"
	ClockLog       = "log"
)

// LoggedExpired is an expiry in the log.
type LoggedExpired struct {
	Entry commit.Hex32
	By    string
	Expired
}

// Refusal says that an entry was submitted and not taken.
type Refusal struct {
	Entry commit.Hex32 `json:"entry"` // SHA-256 of the file
	Type  string       `json:"type"`
	By    string       `json:"by,omitempty"` // author, if the signature is theirs
	Why   string       `json:"why"`          // a word of docs/formats/control.md
}
