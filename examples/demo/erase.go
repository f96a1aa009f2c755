package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/evidence"
)

// erase forgets one subject: one person asks, two approve, the key service carries it out, and a certificate says so.
func (d *demo) erase(ctx context.Context) (string, error) {
	subject := d.plan[0].Subject
	id, err := d.ask(ctx, subject)
	if err != nil {
		return "", err
	}
	done, err := d.keys.CarryOut(ctx)
	if err != nil {
		return "", err
	}
	if len(done) != 1 || done[0].Scopes == 0 {
		return "", fmt.Errorf("%d erasures were carried out", len(done))
	}
	if err := d.local.Once(ctx, d.keys); err != nil { // what was done goes into the control log
		return "", err
	}
	gone, left, err := d.remains(ctx, subject)
	if err != nil {
		return "", err
	}
	held, err := d.certificate(ctx, id)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("two approved; %s, %s unreadable, %d left; certificate: %d points hold (best effort: the custodian is a file); the archive still verifies",
		count(int(done[0].Scopes), "scope"), count(gone, "record"), left, held), nil
}

// ask lets two approvers in, has the first ask, and both approve. Here one process is all of them; elsewhere each keeps
// their own file.
func (d *demo) ask(ctx context.Context, subject string) (id string, err error) {
	trust, err := os.ReadFile(filepath.Join(d.dir, "trust.stele"))
	if err != nil {
		return "", err
	}
	reader, err := os.ReadFile(filepath.Join(d.dir, "reader", "reader.stele"))
	if err != nil {
		return "", err
	}
	root, err := os.ReadFile(filepath.Join(d.dir, "admin", "root.stele"))
	if err != nil {
		return "", err
	}
	admin, err := d.local.Desk(ctx, root)
	if err != nil {
		return "", err
	}
	var approvers []*erase.Desk
	for _, name := range []string{"anna", "bert"} {
		private, public, err := erase.NewKey(trust, "approver", name, reader)
		if err != nil {
			return "", err
		}
		if _, err := admin.AddKey(ctx, "approver", public); err != nil {
			return "", err
		}
		desk, err := d.local.Desk(ctx, private)
		if err != nil {
			return "", err
		}
		approvers = append(approvers, desk)
	}
	asked, err := approvers[0].Request(ctx, erase.Ask{Target: erase.Target{Subject: subject, Reason: "asked for by letter"}})
	if err != nil {
		return "", err
	}
	if err := d.local.Once(ctx, d.keys); err != nil { // takes the request from the inbox into the control log
		return "", err
	}
	for _, a := range approvers {
		if _, err := a.Approve(ctx, asked.ID); err != nil {
			return "", err
		}
	}
	return asked.ID, d.local.Once(ctx, d.keys)
}

// remains reads all that can be read, and verifies the archive as an auditor.
func (d *demo) remains(ctx context.Context, subject string) (gone, left int, err error) {
	r, err := d.local.Reader(ctx, d.keys)
	if err != nil {
		return 0, 0, err
	}
	for f, err := range r.Records(ctx, backup.Query{Erased: true}) {
		switch {
		case err != nil:
			return 0, 0, err
		case f.Erased:
			gone++
		case f.Subject == subject:
			return 0, 0, fmt.Errorf("a record of the erased subject can still be read")
		default:
			left++
		}
	}
	a, err := d.local.Archive(ctx)
	if err != nil {
		return 0, 0, err
	}
	report, err := a.Verify(ctx, backup.VerifyOptions{})
	if err != nil {
		return 0, 0, err
	}
	if code := report.ExitCode("integrity", "completeness", "erasure"); code != 0 || gone == 0 || gone+left != d.seen.n {
		return 0, 0, fmt.Errorf("after the erasure: exit code %d, %d records gone, %d left of %d: %v", code, gone, left, d.seen.n, report.Faults)
	}
	return gone, left, nil
}

// certificate writes the certificate of an erasure and checks it with the trust file alone.
func (d *demo) certificate(ctx context.Context, id string) (held int, err error) {
	a, err := d.local.Archive(ctx)
	if err != nil {
		return 0, err
	}
	e, err := a.Certificate(ctx, id, nil)
	if err != nil {
		return 0, err
	}
	path := filepath.Join(d.dir, "erasure.stele")
	if err := os.WriteFile(path, e.File, 0o644); err != nil {
		return 0, err
	}
	trust, err := os.ReadFile(filepath.Join(d.dir, "trust.stele"))
	if err != nil {
		return 0, err
	}
	report, err := evidence.Check(trust, e.File)
	if err != nil {
		return 0, err
	}
	if !report.Whole() {
		return 0, fmt.Errorf("the certificate lacks %v", report.Missing)
	}
	return len(report.Holds), nil
}
