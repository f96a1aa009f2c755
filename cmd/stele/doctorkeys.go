package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/cmd/internal/advice"
	"github.com/stelelog/stele/cmd/internal/ready"
)

// keyService checks whether the key store is whole, and whether readers can get keys of it.
func (e *exam) keyService(ctx context.Context) {
	if answers(ctx, e.site.Keys) {
		e.ok("key service", "answers at %s", e.site.Keys)
		e.keyStore(ctx)
		return
	}
	none := "none answers" + e.site.atKeys()
	info, err := os.Lstat(e.site.Keys)
	died := err == nil && info.Mode().Type() == fs.ModeSocket
	if died {
		none += ", where a process that died has left its socket"
	}
	_, err = os.Stat(e.site.beside("keys", ""))
	switch folder := err == nil; {
	case !folder && len(e.site.Custodians) == 0:
		e.look("key service", "start the compactor that has the keys folder, or name its socket with --keys; only readers need it. If that folder is lost, put it back from its backup: docs/OPERATIONS.md, A lost key store",
			"%s", none)
		e.keyStore(ctx)
	case e.archive == nil: // which is told already
	case e.keyStore(ctx):
		e.custodians(e.openKeys(ctx, none, folder, died))
	}
}

// custodians looks for the folders of custodians on files, of which one that is new has none yet. Those that told names are
// told already.
func (e *exam) custodians(told error) {
	all := e.site.KeyCustodians(e.site.beside("keys", "")).URLs
	for _, name := range slices.Sorted(maps.Keys(all)) {
		path, isFile := strings.CutPrefix(all[name], "file://")
		if _, err := os.Stat(path); !isFile || !errors.Is(err, fs.ErrNotExist) || told != nil && strings.Contains(told.Error(), path) {
			continue
		}
		hint := "mount the disk of the folder, or put the folder back from its backup: without its custodians nothing in an archive can be read"
		if len(e.site.Custodians) == 0 {
			e.bad("custodian", hint, fmt.Errorf("%s has no folder %s", name, path))
		} else {
			e.look("custodian", hint+". A new one gets its folder when it is first used", "%s has no folder %s", name, path)
		}
	}
}

// keyStore looks for objects of the key store that are known and gone.
func (e *exam) keyStore(ctx context.Context) bool {
	if e.archive == nil {
		return false
	}
	store, trust, err := e.site.open(ctx)
	if err != nil {
		e.bad("key store", "", err)
		return false
	}
	d, err := keys.Inspect(ctx, keys.Config{Store: store, Trust: trust})
	if err != nil {
		e.bad("key store", "", err)
		return false
	}
	damage := damageOf(d)
	if gone := append(damage.Lost, damage.Packs...); len(gone) > 0 {
		e.bad("key store", "search every copy of the store for it: replica, backup, an older disk. Put it back under its key and start the compactor again. If there is no copy, 'stele recover status'; docs/OPERATIONS.md, 3 a.m.",
			fmt.Errorf("lost, and no key is given out or taken in without: %s", strings.Join(gone, ", ")))
		return false
	}
	if d.Older != nil {
		e.bad("key store", "'stele recover status' says more; docs/OPERATIONS.md, 3 a.m.", d.Older)
		return false
	}
	e.ok("key store", "nothing that is known is missing")
	return true
}

// openKeys opens the key store as a reader on this machine does while no key service runs, and returns why it does not open.
func (e *exam) openKeys(ctx context.Context, none string, folder, died bool) error {
	store, trust, err := e.site.open(ctx)
	if err != nil {
		e.bad("key service", "", err)
		return err
	}
	service, err := keys.Open(ctx, keys.Config{Store: store, Trust: trust, Custodians: e.site.KeyCustodians(e.site.beside("keys", ""))})
	if err != nil {
		e.bad("key service", cmp.Or(advice.For(err, e.site.Settings), "mend what it names, or put it back from its backup; a compactor that runs goes on by itself, and commits without. docs/OPERATIONS.md, A lost key store"),
			fmt.Errorf("%s, and the key store does not open here: %w", none, err))
		return err
	}
	defer service.Close()
	_, err = os.Stat(e.site.beside("keys", "keyservice.stele"))
	switch {
	case folder && errors.Is(err, fs.ErrNotExist):
		e.look("key service", "put it back from its backup; if there is none, 'stele key add keyservice NAME' makes another identity. docs/OPERATIONS.md, A lost key store",
			"%s, and none can start here: %s is missing", none, e.site.beside("keys", "keyservice.stele"))
	case died:
		e.look("key service", "start the compactor again, it replaces the socket; the end of its log may say why it died. Readers on this machine open the key store by themselves meanwhile", "%s", none)
	default:
		e.ok("key service", "none runs; its folder is here, so readers on this machine open it by themselves")
	}
	return nil
}

// compactor asks the compactor of this machine, where one belongs, how it gets on.
func (e *exam) compactor(ctx context.Context) {
	_, err := os.Stat(e.site.beside("compactor"))
	if e.archive == nil || err != nil && e.site.Metrics == "" {
		return
	}
	const name = "compactor runs"
	figures := cmp.Or(e.site.Metrics, ready.Address)
	failing, err := ready.Ask(ctx, e.site.Metrics, e.archive.ID())
	switch {
	case errors.Is(err, ready.ErrOther):
		e.look(name, "give each compactor on this machine an address of its own, with metrics in stele.yaml", "unknown: at %s answers something else, or the compactor of another archive", figures)
	case err != nil:
		e.look(name, "start it: 'STELE_CONFIG="+cmp.Or(e.site.Config, "…/stele.yaml")+" compactor'; the last line of its log says why it ended. Without one nothing gets into the archive. docs/OPERATIONS.md, A compactor has stopped",
			"none answers at %s", figures)
	case len(failing) > 0:
		e.bad(name, "mend what it names, and it goes on by itself; what is halted starts anew with the process. docs/OPERATIONS.md, When something is wrong",
			errors.New(strings.Join(failing, "; ")))
	default:
		e.ok(name, "one answers at %s, and nothing fails", figures)
	}
}
