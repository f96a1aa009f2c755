package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/cmd/internal/advice"
)

// staleAfter is the age of the newest commit at which no stream counts as live any more.
const staleAfter = 3 * time.Hour

// settings checks that the settings name an archive.
func (e *exam) settings() {
	from := e.site.Config
	if from == "" {
		e.look("settings", "set STELE_CONFIG to the stele.yaml of the archive", "no stele.yaml; flags and environment only")
		return
	}
	e.ok("settings", "%s", from)
}

// store checks the trust file, the archive, and what its store really holds.
func (e *exam) store(ctx context.Context) {
	store, trust, err := e.site.open(ctx)
	if err != nil {
		e.bad("archive", "", err)
		return
	}
	archive, err := backup.OpenArchive(ctx, store, trust)
	if err == nil {
		err = e.site.misfit(archive.Founded())
	}
	if err == nil {
		err = e.site.forward(ctx, archive)
	}
	if err != nil {
		e.bad("archive", "", err)
		return
	}
	e.archive = archive
	e.ok("archive", "%s at %s, %s", archive.Name(), location.Redact(e.site.Archive), count(len(archive.Segments()), "commit"))
	e.freshness(archive)
	e.intake(archive)
	e.revoked(archive)
	e.locks(ctx, store, trust, archive)
}

// freshness looks at the age of the newest commit.
func (e *exam) freshness(archive *backup.Archive) {
	var newest time.Time
	for _, s := range archive.Segments() {
		if t, err := time.Parse(time.RFC3339, s.Time); err == nil && t.After(newest) {
			newest = t
		}
	}
	age := time.Since(newest).Round(time.Second)
	switch {
	case newest.IsZero():
		e.look("commits", "capture something and run 'compactor --once'", "none yet")
	case age > staleAfter:
		e.look("commits", "is a compactor running? without one nothing gets into the archive", "the newest is %s old", age)
	default:
		e.ok("commits", "the newest is %s old", age)
	}
}

// intake looks at how long the archive can still give credentials keys.
func (e *exam) intake(archive *backup.Archive) {
	left := archive.IntakeLeft(time.Now())
	if left < fewWeeks {
		e.look("intake keys", "the key service makes them: is it running, and a compactor? 'stele key renew writer NAME' makes more, too, where the admin and keys folders are; without them capture goes on, but what is captured cannot be read",
			"the archive has them for %s", count(left, "week"))
		return
	}
	e.ok("intake keys", "the archive has them for %s", count(left, "week"))
}

// locks tries what the store enforces, for the strongest lock that the archive uses, and logs it if the admin is here.
func (e *exam) locks(ctx context.Context, store worm.Store, trust []byte, archive *backup.Archive) {
	lock, err := location.DefaultLock(e.site.Archive)
	if err != nil {
		e.bad("locks", "", err)
		return
	}
	if segments := archive.Segments(); len(segments) > 0 && segments[len(segments)-1].Lock != "" && lock != worm.LockAdvisory {
		lock = worm.LockMode(segments[len(segments)-1].Lock)
	}
	results, err := probe.Run(ctx, store, probe.Options{Lock: lock})
	for _, r := range results {
		c := check{Result: r}
		if r.Name == probe.Clock && !r.OK {
			c.Hint = "set the clock of this machine, or of the store: locks end by it"
		} else if !r.OK {
			c.Hint, e.worm = "the store does not hold what is put into it: move to one that does, a plain copy of the objects is as good", true
		}
		c.Name = "store, " + r.Name
		e.add(c)
	}
	if err != nil {
		e.bad("store", cmp.Or(advice.For(err, e.site.Settings), "probing needs credentials that may write under probe/"), err)
		return
	}
	e.logProbe(ctx, store, trust, results)
}

// logProbe enters the outcome into the control log, but for that of an older copy: an entry there would fork it.
func (e *exam) logProbe(ctx context.Context, store worm.Store, trust []byte, results []probe.Result) {
	root, err := e.site.role("admin", "root.stele")
	if err != nil {
		e.ok("probe logged", "no: the admin folder is not here, which is as it should be")
		return
	}
	if e.site.older(e.archive) {
		e.look("probe logged", "name the archive itself with --archive", "no: this user has seen a newer head of the archive elsewhere, so this is an older copy, and an entry in its control log would make another history of it")
		return
	}
	admin, err := admin.Open(ctx, store, trust, root)
	if err == nil {
		err = admin.LogProbe(ctx, results)
	}
	if err != nil {
		e.bad("probe logged", "", fmt.Errorf("the outcome could not be entered into the control log: %w", err))
		return
	}
	e.ok("probe logged", "yes, in the archive's control log")
}
