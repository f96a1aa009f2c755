package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/stelelog/stele/backup/custodian"
)

// The marks are keys that are never used: what Destroy is about to do, and what it has made sure of. The server stamps them
// with its own clock, and without deletion_allowed nobody deletes them by mistake.
const (
	destroying = ".destroying"
	destroyed  = ".destroyed"
)

const keyType = "aes256-gcm96"

// key is what the server says of a transit key.
type key struct {
	Name             string                     `json:"name"`
	Type             string                     `json:"type"`
	Exportable       bool                       `json:"exportable"`
	PlaintextBackup  bool                       `json:"allow_plaintext_backup"`
	Derived          bool                       `json:"derived"`
	Imported         bool                       `json:"imported_key"`
	DeletionAllowed  bool                       `json:"deletion_allowed"`
	Versions         map[string]json.RawMessage `json:"keys"`
	LatestVersion    int                        `json:"latest_version"`
	MinDecryptionVer int                        `json:"min_decryption_version"`
	SoftDeleted      bool                       `json:"soft_deleted"` // OpenBao: there, and out of use until it is restored
}

// check refuses a key that Create would not have made: somebody was quicker, and may keep a copy.
func (k key) check() error {
	if k.Type != keyType || k.Exportable || k.PlaintextBackup || k.Derived || k.Imported || k.DeletionAllowed || k.MinDecryptionVer > 1 {
		return fmt.Errorf("there is a key of this name that was not made by Stele, or was changed since "+
			"(type %s, exportable %v, plaintext backup %v, derived %v, imported %v, deletion allowed %v): destroy this generation and use the next",
			k.Type, k.Exportable, k.PlaintextBackup, k.Derived, k.Imported, k.DeletionAllowed)
	}
	return nil
}

// newest is when the newest version was made. The server counts whole seconds; the next one is never too early.
func (k key) newest() (time.Time, error) {
	var newest int64
	for _, made := range k.Versions {
		seconds, err := strconv.ParseInt(string(made), 10, 64)
		if err != nil {
			return time.Time{}, errors.New("the server does not say when a mark was made: is it a transit key of another type?")
		}
		newest = max(newest, seconds)
	}
	if newest <= 0 {
		return time.Time{}, errors.New("the server says of a mark that it has no version")
	}
	return time.Unix(newest+1, 0).UTC(), nil
}

// readKey returns errNotFound if there is no key of this name.
func (c *Custodian) readKey(ctx context.Context, name string) (k key, err error) {
	err = c.client.call(ctx, http.MethodGet, c.mount+"/keys/"+name, nil, &k)
	if err == nil && (k.Name != name || len(k.Versions) == 0) {
		err = errors.New("asked for a key, the server answers something else: is this address a Vault or OpenBao server?")
	}
	return k, err
}

// makeKey makes a key, if there is none of this name.
func (c *Custodian) makeKey(ctx context.Context, name string) error {
	return c.client.call(ctx, http.MethodPost, c.mount+"/keys/"+name, struct {
		Type            string `json:"type"`
		Exportable      bool   `json:"exportable"`
		PlaintextBackup bool   `json:"allow_plaintext_backup"`
	}{Type: keyType}, nil)
}

// forbidUpsert makes sure that encrypting does not make keys.
func (c *Custodian) forbidUpsert(ctx context.Context) error {
	type settings struct {
		DisableUpsert bool `json:"disable_upsert"`
	}
	path := c.mount + "/config/keys"
	hint := fmt.Sprintf("encrypting makes keys at this mount, and that cannot be switched off: have an administrator run "+
		"'vault write %s disable_upsert=true'", path)
	var now settings
	err := c.client.call(ctx, http.MethodGet, path, nil, &now)
	if err == nil && now.DisableUpsert {
		return nil
	}
	if err == nil {
		err = c.client.call(ctx, http.MethodPost, path, settings{true}, nil)
	}
	if err == nil {
		err = c.client.call(ctx, http.MethodGet, path, nil, &now)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", hint, err)
	case !now.DisableUpsert:
		return errors.New(hint)
	}
	return nil
}

// Destroy implements [custodian.Custodian]: it marks what it begins, allows the deletion, deletes, reads until the answer is
// 404, and marks that it is done.
func (c *Custodian) Destroy(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	err = func() error {
		before, err := c.status(ctx, generation, nil)
		switch {
		case err != nil:
			return err
		case before.State == custodian.Unknown:
			return custodian.ErrUnknown
		case before.State == custodian.Destroyed:
			s = before
			return nil
		}
		label := c.id.Label(generation)
		if err := c.makeKey(ctx, label+destroying); err != nil {
			return err
		}
		if err := c.deleteKey(ctx, label); err != nil {
			return err
		}
		if err := c.markDestroyed(ctx, label+destroyed); err != nil {
			return err
		}
		evidence := c.evidence(ctx)
		evidence["read_after_delete"] = strconv.Itoa(http.StatusNotFound)
		s, err = c.status(ctx, generation, evidence)
		return err
	}()
	return s, c.failed("destroy", generation, err)
}

// deleteKey deletes a key, if it is there, and returns when it is seen to be gone.
func (c *Custodian) deleteKey(ctx context.Context, name string) error {
	allow := struct {
		DeletionAllowed bool `json:"deletion_allowed"`
	}{true}
	err := c.client.call(ctx, http.MethodPost, c.mount+"/keys/"+name+"/config", allow, nil)
	if err == nil {
		err = c.client.call(ctx, http.MethodDelete, c.mount+"/keys/"+name, nil, nil)
	}
	// Both are refused, with 400, if the key is gone: by another process, or by a call whose answer was lost.
	_, readErr := c.readKey(ctx, name)
	switch {
	case errors.Is(readErr, errNotFound):
		return nil
	case readErr != nil:
		return errors.Join(readErr, err)
	case err != nil:
		return err
	}
	return errors.New("the server deleted the key, and shows it still")
}

// markDestroyed makes the mark that Destroy is done, or a new version of it if the key was brought back in between.
func (c *Custodian) markDestroyed(ctx context.Context, name string) error {
	_, err := c.readKey(ctx, name)
	if errors.Is(err, errNotFound) {
		return c.makeKey(ctx, name)
	}
	if err != nil {
		return err
	}
	return c.client.call(ctx, http.MethodPost, c.mount+"/keys/"+name+"/rotate", struct{}{}, nil)
}

// Status implements [custodian.Custodian].
func (c *Custodian) Status(ctx context.Context, generation uint64) (custodian.Status, error) {
	s, err := c.status(ctx, generation, c.evidence(ctx))
	return s, c.failed("status", generation, err)
}

func (c *Custodian) status(ctx context.Context, generation uint64, evidence map[string]string) (custodian.Status, error) {
	s := custodian.Status{Class: c.erasure.Class}
	label := c.id.Label(generation)
	// First the key, then the marks: a Destroy in between must not make a destroyed generation look unknown.
	k, err := c.readKey(ctx, label)
	switch {
	case err == nil:
		s.State = custodian.Live
		if evidence != nil {
			evidence["type"], evidence["exportable"] = k.Type, strconv.FormatBool(k.Exportable)
			evidence["plaintext_backup"] = strconv.FormatBool(k.PlaintextBackup)
		}
	case !errors.Is(err, errNotFound):
		return s, err
	default:
		if s.State, s.Destroyed, err = c.marks(ctx, label); err != nil {
			return s, err
		}
	}
	s.Irrecoverable = c.erasure.From(s.Destroyed)
	s.Attestation, err = custodian.Attestation{
		Identity: c.id, Kind: "vault", Generation: generation, State: s.State, Class: s.Class, Declared: c.declared,
		Time: c.now(), Destroyed: s.Destroyed, From: s.Irrecoverable, Evidence: evidence,
	}.Marshal()
	return s, err
}

// marks says what became of a key that is not there.
func (c *Custodian) marks(ctx context.Context, label string) (custodian.State, time.Time, error) {
	done, err := c.readKey(ctx, label+destroyed)
	if err == nil {
		at, err := done.newest()
		return custodian.Destroyed, at, err
	}
	if !errors.Is(err, errNotFound) {
		return custodian.Unknown, time.Time{}, err
	}
	_, err = c.readKey(ctx, label+destroying)
	switch {
	case err == nil:
		return custodian.Live, time.Time{}, nil
	case errors.Is(err, errNotFound):
		return custodian.Unknown, time.Time{}, nil
	}
	return custodian.Unknown, time.Time{}, err
}

// evidence is what the server says of itself. It need not say anything.
func (c *Custodian) evidence(ctx context.Context) map[string]string {
	evidence := map[string]string{"mount": c.mount}
	_, answer, err := c.client.send(ctx, http.MethodGet, "sys/health", "", nil)
	var health struct {
		Version string `json:"version"`
		Cluster string `json:"cluster_id"`
	}
	if err == nil && json.Unmarshal(answer, &health) == nil && health.Version != "" {
		evidence["version"], evidence["cluster"] = health.Version, health.Cluster
	}
	return evidence
}
