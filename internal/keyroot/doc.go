// Package keyroot is the chain of root records: what makes a version of all wrapped keys (package keyring) the one that
// counts, who can open it, and when an older one is dead. The format is docs/formats/keys.md, sections Root record,
// Custody and Recovery.
//
// A [Record] is public. [State] follows the chain with the rules of package chain and says what may follow what; it
// needs no secret. The top key of a generation opens a record ([Record.Open]); it is split over sets of custodians
// ([Split]) and never stored. Pure: no I/O, no clock; randomness is passed in.
package keyroot

import (
	"errors"
	"time"

	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/merkle"
)

const (
	version = "keyroot/v1"

	// MaxLen bounds a record's file in bytes.
	MaxLen = 4 << 20
)

var (
	// ErrRule is wrapped by errors about authentic records that may not follow the one before.
	ErrRule = errors.New("keyroot: may not follow the record before")

	// ErrTop says that a top key does not open a record: it is of another generation, or shares were mixed up.
	ErrTop = errors.New("keyroot: this is not the top key of the record's generation")

	// ErrLost says that a record that the control log knows is not in the chain: it was removed, or something was put in
	// its place. A key service must stop; see Recovery.
	ErrLost = errors.New("keyroot: a record that is known to exist is not in the chain")
)

// Record is one version of all wrapped keys.
type Record struct {
	Stele      string        `json:"stele"`
	Archive    commit.Hex16  `json:"archive"`
	N          uint64        `json:"n"`
	Prev       commit.Hex32  `json:"prev"`
	Burnt      []uint64      `json:"burnt,omitempty"`
	By         string        `json:"by"`
	Time       time.Time     `json:"time"`
	Control    uint64        `json:"control"`
	Generation uint64        `json:"generation"`
	Folded     commit.Source `json:"folded"`
	Live       uint64        `json:"live"`
	Commitment merkle.Hash   `json:"commitment"`
	NextPack   uint64        `json:"next_pack"`
	Runs       []Run         `json:"runs"`
	Packs      []Pack        `json:"packs"`
	Salt       merkle.Hash   `json:"salt"`
	Sealed     []byte        `json:"sealed"`
	Custody    Custody       `json:"custody"`
	Fold       *Fold         `json:"fold,omitempty"`
	Erased     *Erased       `json:"erased,omitempty"`
	Recovery   *Recovery     `json:"recovery,omitempty"`
}

// Run is the public part of a run. Links are pack, offset, and the two lengths.
type Run struct {
	Count uint64      `json:"count"`
	Hash  merkle.Hash `json:"hash"`
	Keys  [4]uint64   `json:"keys"`
	Index [4]uint64   `json:"index"`
	Packs []uint64    `json:"packs"`
}

// Pack is an object with nodes, keys/packs/<sha256>.
type Pack struct {
	N      uint64       `json:"n"`
	SHA256 commit.Hex32 `json:"sha256"`
	Size   int64        `json:"size"`
}

// Fold is what became of the grants since the record before: how many scopes were Added, of which Moved have a moved
// entry, how many were Buried by a tombstone, and how many Intake keys came in. The others left nothing.
type Fold struct {
	Added    uint64 `json:"added"`
	Moved    uint64 `json:"moved"`
	Buried   uint64 `json:"buried"`
	Intake   uint64 `json:"intake"`
	Repeated uint64 `json:"repeated"`
	Replayed uint64 `json:"replayed"`
	Refused  uint64 `json:"refused"`
	Dead     uint64 `json:"dead"`
	// Late says under whose tombstones scopes were buried, ascending by request; one that came under several counts for each.
	Late []Late `json:"late,omitempty"`
	// Weeks are those of the intake keys that grants which were Dead needed, ascending, at most MaxWeeks.
	Weeks []uint16 `json:"weeks,omitempty"`
}

// Late counts the scopes that came after an erasure, and were destroyed on arrival.
type Late struct {
	Request commit.Hex32 `json:"request"`
	Buried  uint64       `json:"buried"`
}

// MaxWeeks is how many weeks a record names.
const MaxWeeks = 64

// Erased is what a new generation leaves out: how many paths were Removed, of which Scopes are keys, and how many Spent
// paths were added. List is the object keys/erased/<list>. Requests are those of the batch of which scopes went, ascending;
// none for other causes.
type Erased struct {
	Cause    string       `json:"cause"` // "request", "session" or "ttl"
	Requests []Outcome    `json:"requests"`
	Scopes   uint64       `json:"scopes"`
	Removed  uint64       `json:"removed"`
	Spent    uint64       `json:"spent"`
	Root     merkle.Hash  `json:"root"`
	List     commit.Hex32 `json:"list"`
	Size     int64        `json:"size"`
}

// MaxBatch is how many requests one erasure carries out at most.
const MaxBatch = 1000

// Outcome is how it stands with one request of a batch, as in an outcome of docs/formats/control.md.
type Outcome struct {
	Request  commit.Hex32 `json:"request"`
	Erased   uint64       `json:"erased"`
	Whole    uint64       `json:"whole,omitempty"`
	Held     uint64       `json:"held,omitempty"`
	Retained uint64       `json:"retained,omitempty"`
	Until    *time.Time   `json:"until,omitempty"`
	Left     uint64       `json:"left,omitempty"`
}

// Recovery lets record From stand in for newer ones of its generation that are Lost.
type Recovery struct {
	From     uint64       `json:"from"`
	Lost     []Lost       `json:"lost"`
	Missing  uint64       `json:"missing"`
	Approval commit.Hex32 `json:"approval"`
}

// Lost names a record that the control log knows.
type Lost struct {
	N    uint64       `json:"n"`
	Hash commit.Hex32 `json:"hash"`
}
