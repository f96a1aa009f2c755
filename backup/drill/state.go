package drill

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/internal/durable"
	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/ledger"
)

const (
	stateFormat = "drill/v1"
	stateFile   = "drill.json"
	requestFile = "request.json"
	copyDir     = "copy"
)

// state is what a drill remembers between calls.
type state struct {
	Stele    string       `json:"stele"`
	Archive  commit.Hex16 `json:"archive"`
	Subject  string       `json:"subject,omitempty"`
	Session  string       `json:"session,omitempty"`
	Canaries int          `json:"canaries,omitempty"`
	Planted  *time.Time   `json:"planted,omitempty"`
	Copied   *time.Time   `json:"copied,omitempty"`
	All      bool         `json:"all,omitempty"`
	Since    time.Time    `json:"since,omitzero"` // of the sample
	Read     []readRecord `json:"read,omitempty"` // before the erasure
	Request  string       `json:"request,omitempty"`
	Erased   string       `json:"erased,omitempty"`
	Reported bool         `json:"reported,omitempty"`
}

// readRecord is a record that opened before the erasure.
type readRecord struct {
	ID     commit.Hex16 `json:"id"`
	Digest commit.Hex32 `json:"digest"`
	Canary bool         `json:"canary,omitempty"`
}

// drill is one call.
type drill struct {
	cfg    Config
	trust  identity.Trust
	reader *identity.Reader
	signer note.Signer
	log    *ledger.Log
	state  state
}

func open(ctx context.Context, cfg Config) (*drill, error) {
	d := &drill{cfg: cfg, state: state{Stele: stateFormat}}
	if err := d.trust.UnmarshalText(cfg.Trust); err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	var err error
	if d.reader, d.signer, err = d.trust.Reader(cfg.Reader); err != nil {
		return nil, err
	}
	if d.log, err = ledger.Open(ctx, cfg.Store, d.trust); err != nil {
		return nil, err
	}
	d.state.Archive = d.trust.Archive
	data, err := os.ReadFile(d.path(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return d, os.MkdirAll(cfg.Dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &d.state); err != nil || d.state.Stele != stateFormat || d.state.Archive != commit.Hex16(d.trust.Archive) {
		return nil, fmt.Errorf("%s is of no drill of this archive: name another directory", d.path(stateFile))
	}
	return d, nil
}

func (d *drill) path(name string) string { return filepath.Join(d.cfg.Dir, name) }

func (d *drill) save() error {
	data, err := json.Marshal(&d.state)
	if err != nil {
		return err
	}
	return durable.WriteFile(d.path(stateFile), data, 0o600)
}

// copied is the store with the copy.
func (d *drill) copied() (*dirstore.Store, error) {
	return dirstore.Open(d.path(copyDir), dirstore.Options{Create: true})
}

// end removes what a drill that passed has left.
func (d *drill) end(ok bool) error {
	if !ok {
		return nil
	}
	return errors.Join(os.RemoveAll(d.path(copyDir)), os.Remove(d.path(requestFile)), os.Remove(d.path(stateFile)))
}

func random() string {
	var b [8]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x", b)
}
