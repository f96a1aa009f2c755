// Package control is the control log: signed entries in one small tree, and what follows from them for whoever judges
// the data logs. The format is docs/formats/control.md. Pure: no I/O, no clock.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/commit"
)

const (
	entryFormat  = "entry/v1"
	objectFormat = "control/v1"
	// MaxEntry bounds an entry in bytes. The leaf of one over 65,535 holds its hash: LeafData.
	MaxEntry = 1 << 20
)

// Types of entries.
const (
	TypePolicy     = "policy"
	TypeReadKey    = "readkey"
	TypeHeads      = "heads"
	TypeLogs       = "logs"
	TypeProbe      = "probe"
	TypeQuarantine = "quarantine"
	TypeDivergence = "divergence"
	TypeAck        = "ack"
	TypeDisclosure = "disclosure"
	// what needs two persons, and what follows from it
	TypeRequest = "request"
	TypeApprove = "approve"
	TypeReject  = "reject"
	TypeHold    = "hold"
	TypeRefusal = "refusal"
	// what key services and those who look after the archive say that they did
	TypeIntake     = "intake"
	TypeKeyRoot    = "keyroot"
	TypeOutcome    = "outcome"
	TypeErased     = "erased"
	TypeDestroyed  = "destroyed"
	TypeSupplement = "supplement"
	TypeDrill      = "drill"
	TypeExpired    = "expired"
)

// Entry is one signed statement.
type Entry struct {
	Stele   string          `json:"stele"`
	Type    string          `json:"type"`
	Archive commit.Hex16    `json:"archive"`
	Time    time.Time       `json:"time"`
	By      string          `json:"by"` // key name of the signer
	Body    json.RawMessage `json:"body"`
}

// ReadKey is the read key of a year: public half, and the seed wrapped to each reader.
type ReadKey struct {
	Year  uint16 `json:"year"`
	Key   []byte `json:"key"`
	Wraps []Wrap `json:"wraps"`
}

// Wrap is the seed of a read key for one reader.
type Wrap struct {
	Reader string       `json:"reader"`
	Key    commit.Hex32 `json:"key"` // SHA-256 of the reader's public key
	Enc    []byte       `json:"enc"`
	Sealed []byte       `json:"sealed"`
}

// Heads are new heads of data logs. Roster is the newest roster that their compactor had read in this log: so a roster is known
// to be older than the heads without its place here.
type Heads struct {
	Heads  []Head       `json:"heads"`
	Roster commit.Hex32 `json:"roster,omitzero"` // SHA-256 of its entry
}

// Head is a log's head: the commit it belongs to, and a checkpoint signed by the commit key.
type Head struct {
	Log        string       `json:"log"`
	Commit     uint64       `json:"commit"`
	Hash       commit.Hex32 `json:"hash"`
	Checkpoint string       `json:"checkpoint"`
}

// Probe is what a store was seen to enforce.
type Probe struct {
	Store   string        `json:"store"`
	Lock    string        `json:"lock"`
	Results []ProbeResult `json:"results"`
}

// ProbeResult is one question put to the store.
type ProbeResult struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// MaxReasons is how many reasons for setting messages aside are counted apart: a sender can make up any number.
const MaxReasons = 16

// Quarantine says what a commit set aside.
type Quarantine struct {
	Log     string            `json:"log"`
	Commit  uint64            `json:"commit"`
	Count   uint64            `json:"count"`
	Reasons map[string]uint64 `json:"reasons"`
}

// Kinds of divergence.
const (
	DivergedSource       = "source"
	DivergedEquivocation = "equivocation"
	// and the kinds of chain findings
)

// Divergence is something that an honest system does not show.
type Divergence struct {
	Log    string        `json:"log"`
	Kind   string        `json:"kind"`
	Detail string        `json:"detail"`
	Stream *commit.Hex16 `json:"stream,omitempty"`
}

// Ack takes note of what a stream lost, or of what an hour of a service lacks by a count from outside: it stays visible and
// no longer fails.
type Ack struct {
	Stream  commit.Hex16 `json:"stream,omitzero"`
	UpTo    uint64       `json:"up_to"` // seq
	Service string       `json:"service,omitempty"`
	Hour    time.Time    `json:"hour,omitzero"`
	What    string       `json:"what,omitempty"`
	Missing uint64       `json:"missing,omitempty"` // up to so many
	Reason  string       `json:"reason"`
}

// check refuses one that is about nothing, or about both.
func (a *Ack) check() error {
	ofHour := a.What == "records" || a.What == "calls"
	ofHour = ofHour && a.Missing > 0 && a.Hour.Equal(a.Hour.UTC().Truncate(time.Hour))
	if a.Service != "" && (!ofHour || a.Stream != commit.Hex16{} || a.UpTo != 0) ||
		a.Service == "" && (!a.Hour.IsZero() || a.What != "" || a.Missing != 0) {
		return refuse(whyInvalid, "it acknowledges neither a stream nor an hour of a service")
	}
	return nil
}

// Disclosure says that payloads left the archive.
type Disclosure struct {
	What    string       `json:"what"` // "restore", "kafka"
	Salted  commit.Hex32 `json:"salted"`
	Records uint64       `json:"records"`
	To      string       `json:"to,omitempty"`
}

// Sign makes an entry of a body.
func Sign(archive [16]byte, kind string, at time.Time, body any, signer note.Signer) (string, error) {
	raw, err := commit.MarshalLine(body)
	if err != nil {
		return "", err
	}
	line, err := commit.MarshalLine(Entry{entryFormat, kind, archive, at.UTC(), signer.Name(), raw})
	if err != nil {
		return "", err
	}
	file, err := note.Sign(&note.Note{Text: string(line)}, signer)
	return string(file), err
}

// peek reads an entry without looking at its signature.
func peek(file string) (*Entry, error) {
	if len(file) > MaxEntry {
		return nil, fmt.Errorf("control: entry of %d bytes", len(file))
	}
	text, _, ok := strings.Cut(file, "\n\n")
	if !ok {
		return nil, fmt.Errorf("control: entry is no signed note")
	}
	var e Entry
	if err := commit.UnmarshalLine(text+"\n", entryFormat, &e); err != nil {
		return nil, err
	}
	return &e, rewritten(&e, text)
}

// rewritten checks that v, read from JSON, is written just so: whoever reads it with other means reads the same.
func rewritten(v any, text string) error {
	again, err := commit.MarshalLine(v)
	if err == nil && strings.TrimSuffix(string(again), "\n") != text {
		err = errors.New("control: JSON that is not written as it must be")
	}
	return err
}

// Into reads the body of an entry, strictly.
func (e *Entry) Into(v any) error {
	err := strictJSON(e.Body, v)
	if err == nil {
		err = rewritten(v, string(e.Body))
	}
	if err != nil {
		return fmt.Errorf("control: %s entry of %s: %w", e.Type, e.Time.Format(time.RFC3339), err)
	}
	return nil
}
