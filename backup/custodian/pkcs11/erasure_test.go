//go:build pkcs11 && cgo

package pkcs11_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/evidence"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// tokenArchive is an archive whose custodian is a token of SoftHSM.
type tokenArchive struct {
	t     *testing.T
	hsm   *testbed.SoftHSM2
	store *storetest.Memory
	dir   string
	by    keys.Custodians
}

func (a *tokenArchive) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func newTokenArchive(t *testing.T) *tokenArchive {
	a := &tokenArchive{t: t, hsm: testbed.SoftHSM(t), store: storetest.NewMemory(), dir: t.TempDir()}
	a.forget()
	t.Cleanup(a.forget)
	t.Setenv("STELE_PKCS11_PIN", a.hsm.PIN)
	url := "pkcs11:token=" + a.hsm.Token(t) + "?module-path=" + a.hsm.Module
	a.by = keys.Custodians{URLs: map[string]string{"hsm": url}, Sets: [][]string{{"hsm"}}}
	a.must(os.Mkdir(filepath.Join(a.dir, "spool"), 0o700))
	_, err := admin.Init(t.Context(), admin.InitConfig{Store: a.store, Name: "acme", To: a.spool(), Dir: a.dir, Lock: worm.LockNone, Custodians: a.by})
	a.must(err)
	return a
}

// forget ends the library: it keeps what it read of the token directory.
func (a *tokenArchive) forget() {
	library := p11.New(a.hsm.Module)
	if library == nil {
		a.t.Fatalf("cannot load %s", a.hsm.Module)
	}
	if err := library.Finalize(); err != nil && !errors.Is(err, p11.Error(p11.CKR_CRYPTOKI_NOT_INITIALIZED)) {
		a.t.Fatal(err)
	}
}

func (a *tokenArchive) spool() string { return "file://" + filepath.Join(a.dir, "spool") }

func (a *tokenArchive) file(name string) []byte {
	a.t.Helper()
	data, err := os.ReadFile(filepath.Join(a.dir, filepath.FromSlash(name)))
	a.must(err)
	return data
}

// once commits what is there, folds, and carries out what was approved.
func (a *tokenArchive) once() {
	a.t.Helper()
	ctx := a.t.Context()
	service, err := keys.Open(ctx, keys.Config{Store: a.store, Trust: a.file("trust.stele"), Identity: a.file("keys/keyservice.stele"), Custodians: a.by, From: a.spool()})
	a.must(err)
	c, err := compact.Open(ctx, compact.Config{Store: a.store, Trust: a.file("trust.stele"), Identity: a.file("compactor/compactor.stele"), From: a.spool(), Keys: service})
	a.must(err)
	a.must(c.Once(ctx))
	_, err = service.CarryOut(ctx)
	a.must(errors.Join(err, service.Close(), c.Once(ctx)))
}

// bodies are what opens with the key store in a store and the token as it is now.
func (a *tokenArchive) bodies(store worm.Store) (out []string, err error) {
	ctx := a.t.Context()
	service, err := keys.Open(ctx, keys.Config{Store: store, Trust: a.file("trust.stele"), Custodians: a.by})
	if err != nil {
		return nil, err
	}
	defer service.Close()
	archive, err := backup.OpenArchive(ctx, store, a.file("trust.stele"))
	a.must(err)
	r, err := archive.Unlock(a.file("reader/reader.stele"), service)
	a.must(err)
	for f, err := range r.Records(ctx, backup.Query{}) {
		a.must(err)
		var body bytes.Buffer
		body.Write(f.Body)
		for _, p := range f.Parts {
			body.Write(p.Data)
		}
		out = append(out, body.String())
	}
	slices.Sort(out)
	return out, nil
}

// copied is a copy of all that is in the store.
func (a *tokenArchive) copied() *storetest.Memory {
	a.t.Helper()
	out := storetest.NewMemory()
	for v, err := range a.store.Versions(a.t.Context(), "", "") {
		a.must(err)
		data, err := a.store.Read(a.t.Context(), v.Key, v.ID, worm.Range{})
		a.must(err)
		_, err = out.Create(a.t.Context(), v.Key, data, worm.Lock{Mode: worm.LockNone})
		a.must(err)
	}
	return out
}

// TestOldTokenDirectoryAfterAnErasure: a token was copied before an erasure, and comes back after it. With it, a copy of the
// key store from before opens what was erased; and the certificate had said that this can be.
func TestOldTokenDirectoryAfterAnErasure(t *testing.T) {
	a := newTokenArchive(t)
	ctx := t.Context()
	pipe, err := logpipe.Open(ctx, logpipe.Config{Credential: filepath.Join(a.dir, "writer", "default.stele"), To: a.spool()})
	a.must(err)
	for _, name := range []string{"ada", "bob"} {
		a.must(pipe.Capture(ctx, &logpipe.Record{Kind: logpipe.Input, Subject: name, Body: []byte("of " + name)}))
	}
	a.must(pipe.Close(ctx))
	a.once()
	before, token := a.copied(), t.TempDir()
	a.must(os.CopyFS(token, os.DirFS(a.hsm.Tokens)))

	desk, err := erase.Open(ctx, a.store, a.file("trust.stele"), a.file("admin/root.stele"))
	a.must(err)
	filed, err := desk.Request(ctx, erase.Ask{Target: erase.Target{Subject: "bob"}})
	a.must(err)
	_, err = desk.Approve(ctx, filed.ID)
	a.must(err)
	a.once()
	if got, err := a.bodies(a.store); err != nil || !slices.Equal(got, []string{"of ada"}) {
		t.Fatalf("after the erasure: %q, %v", got, err)
	}
	if got, err := a.bodies(before); !errors.Is(err, custodian.ErrDestroyed) {
		t.Fatalf("a copy of the store, with the token of today: %q, %v", got, err)
	}
	archive, err := backup.OpenArchive(ctx, a.store, a.file("trust.stele"))
	a.must(err)
	certificate, err := archive.Certificate(ctx, filed.ID, nil)
	a.must(err)
	report, err := evidence.Check(a.file("trust.stele"), certificate.File)
	a.must(err)
	says := func(list []evidence.Statement, what, detail string) bool {
		return slices.ContainsFunc(list, func(s evidence.Statement) bool { return s.What == what && strings.Contains(s.Detail, detail) })
	}
	if !says(report.Holds, "best-effort", "no time can be stated") || !says(report.Holds, "custodian", "class C") || !says(report.Missing, "open", "best-effort hsm") ||
		!says(report.Missing, "archive", "") || says(report.Holds, "dead", "") || says(report.Holds, "archive", "") {
		t.Errorf("the certificate does not say what this token is worth: %+v, missing %+v", report.Holds, report.Missing)
	}

	a.forget()
	a.must(os.RemoveAll(a.hsm.Tokens))
	a.must(os.CopyFS(a.hsm.Tokens, os.DirFS(token)))
	if got, err := a.bodies(before); err != nil || !slices.Equal(got, []string{"of ada", "of bob"}) {
		t.Errorf("with the old token: %q, %v", got, err)
	}
}
