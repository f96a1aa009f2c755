package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/location"
)

// fewWeeks is when to renew credentials, and the archive's own intake keys: they run out.
const fewWeeks = 8

// transport checks the topics, or the spool directory.
func (e *exam) transport(ctx context.Context) {
	if err := e.site.transport("from"); err != nil {
		e.bad("transport", "", err)
		return
	}
	if !isKafka(e.site.From) {
		e.spool()
		return
	}
	partitions, err := e.site.partitions()
	if err != nil {
		e.bad("topics", "the number of partitions is in the credential; name it with --writer", err)
		return
	}
	topics := e.site.topics(e.site.From)
	ctx, cancel := context.WithTimeout(ctx, kafkaWait)
	defer cancel()
	checks, err := topics.Check(ctx, partitions)
	if err != nil {
		e.bad("topics", "", err)
		return
	}
	if e.fix && !allOK(checks) {
		if err := e.site.createTopics(ctx, e.site.From, partitions, 1); err == nil {
			if again, err := topics.Check(ctx, partitions); err == nil {
				checks = again
			}
		}
	}
	for _, c := range checks {
		e.add(check{Result: c, Hint: "'stele topics create' makes what is missing; what exists is changed with Kafka's own tools"})
	}
}

func (e *exam) spool() {
	path := strings.TrimPrefix(e.site.From, "file://")
	shown := location.Redact(e.site.From)
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		e.repair("spool", shown+" is missing", func() error { return os.MkdirAll(path, 0o700) })
		return
	}
	if err == nil {
		err = writable(path)
	}
	if errors.Is(err, syscall.ENOSPC) {
		e.bad("spool", "look at the compactor first: what it has committed it trims. Then make room, never by deleting in the spool; docs/OPERATIONS.md, A disk is full", err)
		return
	}
	if err != nil {
		e.bad("spool", "", err)
		return
	}
	if c, failed := e.site.credential(); failed == nil {
		if err := admin.CheckSpool(e.site.From, c.Archive); err != nil {
			e.bad("spool", "name the spool of this archive with --from; docs/OPERATIONS.md, Two archives in one transport", err)
			return
		}
	}
	e.ok("spool", "%s", shown)
}

// writerCredential checks the credential and how long its keys last.
func (e *exam) writerCredential() {
	if e.site.Writer == "" {
		e.ok("writer", "no credential here")
		return
	}
	c, err := e.site.credential()
	if errors.Is(err, fs.ErrNotExist) {
		e.ok("writer", "no credential here")
		return
	}
	if err != nil {
		e.bad("writer", "'stele key add' and 'stele key renew' write credentials", err)
		return
	}
	left := c.weeksLeft(time.Now())
	if left == 0 {
		e.bad("writer", "'stele key renew writer "+c.Service+"', and give the service the renewed credential",
			fmt.Errorf("the intake keys of %s have run out; two weeks after the last one, what it sends can be read by nobody", c.Service))
	} else if left < fewWeeks {
		e.look("writer", "'stele key renew writer "+c.Service+"'; capture goes on without, but erasure takes longer to reach old copies",
			"%s has intake keys for %s", c.Service, count(left, "week"))
	} else {
		e.ok("writer", "%s has intake keys for %s", c.Service, count(left, "week"))
	}
	if e.site.To != "" && c.To != e.site.To {
		e.look("writer's transport", "services with this credential alone send there; 'stele env' shows where the setting comes from",
			"the credential says %s, the settings say %s", location.Redact(c.To), location.Redact(e.site.To))
	}
}

// roles checks the folders of the roles: modes, and that nobody has what is not his.
func (e *exam) roles() {
	for _, role := range []string{"admin", "recovery", "compactor", "keys", "reader", "writer"} {
		dir := e.site.beside(role)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		if open, err := tooOpen(dir); err != nil {
			e.bad(role, "", err)
		} else if len(open) > 0 {
			e.repair(role, fmt.Sprintf("others may read %s", strings.Join(open, ", ")), func() error { return tighten(open) })
		}
		switch role {
		case "admin", "recovery":
			e.look(role, "move it offline: with it somebody can change the policy, or read", "%s is on this machine", dir)
		case "compactor", "keys":
			e.innocent(role, dir)
		}
	}
}

// innocent checks that a role that must not read payloads cannot.
func (e *exam) innocent(role, dir string) {
	found, err := keys.PayloadReaders(dir)
	switch {
	case err != nil:
		e.bad(role, "", err)
	case len(found) > 0:
		e.bad(role, "move it to the account of the reader; the compactor does not start beside it",
			fmt.Errorf("an identity that can read payloads lies in the wrong folder: %s", strings.Join(found, ", ")))
	default:
		e.ok(role, "%s, and nothing in it opens payloads", dir)
	}
}

// tooOpen lists the role files and folders under dir that others may read or write.
func tooOpen(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && !d.Type().IsDir() || err == nil && path == dir && info.Mode().Perm()&0o077 != 0 {
			paths = append(paths, path)
		}
		return err
	})
	return paths, err
}

// tighten takes the rights of others away.
func tighten(paths []string) error {
	var errs []error
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Chmod(path, info.Mode().Perm()&0o700)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// overdue looks for approved requests that nobody carries out.
func (e *exam) overdue(ctx context.Context, desk *erase.Desk) {
	requests, err := desk.Requests(ctx)
	if err != nil {
		e.bad("erasures", "", err)
		return
	}
	n, oldest := 0, time.Time{}
	for i := range requests {
		if since := requests[i].Overdue; !since.IsZero() {
			if n++; oldest.IsZero() || since.Before(oldest) {
				oldest = since
			}
		}
	}
	if n > 0 {
		e.look("erasures", "'stele erase status' names them; is a key service running, and a compactor? If it refuses, give the archive another one: 'stele key add keyservice NAME'",
			"%s overdue, the first since %s", count(n, "approved request"), oldest.Format(time.RFC3339))
		return
	}
	e.ok("erasures", "no approved request waits for more than a day")
}

// partitions looks for a policy that lost the number of partitions, which older programs let through.
func (e *exam) partitions(draft []byte) {
	var t policyText
	if json.Unmarshal(draft, &t) != nil || t.Policy.Partitions > 0 {
		return
	}
	e.bad("partitions", "'stele policy show --draft >FILE', enter the number that the archive was made with, which stands in its credentials, and 'stele policy propose FILE'; then start the compactors again",
		errors.New("the access policy has none, which compactors read as one: what writers send to others than partition 0 waits in the transport"))
}

// clock checks the second clock of erasures that nobody asked for.
func (e *exam) clock(ctx context.Context) {
	store, trust, err := e.site.open(ctx)
	if err != nil {
		return // which is told already
	}
	desk, err := erase.Open(ctx, store, trust, nil)
	if err != nil {
		return
	}
	e.overdue(ctx, desk)
	if policy, err := desk.Policy(ctx); err == nil {
		e.partitions(policy.JSON)
	}
	c, err := desk.Clock(ctx)
	if err != nil {
		e.bad("clock", "", err)
		return
	}
	if word := apart(c, time.Now()); word != "" {
		e.look("clock", "compare this clock with another; is a compactor running, and do the witnesses answer?", "%s", word)
		return
	}
	e.ok("clock", "others than this machine say that it is %s, as far as erasures without a request go", c.Time.Format(time.RFC3339))
}
