package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/rangeproof"
)

func TestNumbersForPeople(t *testing.T) {
	for got, want := range map[string]string{
		count(1, "record"): "1 record", count(0, "record"): "0 records", count(1234567, "record"): "1,234,567 records",
		count(1, "entry"): "1 entry", count(2, "control entry"): "2 control entries", count(1, "leaf"): "1 leaf", count(0, "leaf"): "0 leaves", count(3, "match"): "3 matches",
		grouped(999): "999", grouped(1000): "1,000", size(0): "0 B", size(999): "999 B", size(1024): "1.0 KiB",
		size(uint64(3) << 40): "3.0 TiB", size(int64(5) << 50): "5120.0 TiB",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestDays(t *testing.T) {
	day := 24 * time.Hour
	for s, want := range map[string]time.Duration{"30d": 30 * day, "2w": 14 * day, "48h": 2 * day, "36500d": 36500 * day,
		"": 0, "d": 0, "0d": 0, "-3d": 0, "1h": 0, "30": 0, "forever": 0, "99999d": 0, "6000w": 0} {
		got, err := parseDays(s)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %v, %v, want %v", s, got, err, want)
		}
	}
}

func TestTimes(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]string{"2026-03-01": "2026-03-01T00:00:00Z", "2026-03-01T12:30": "2026-03-01T12:30:00Z",
		"2026-03-01T12:30:00.5+01:00": "2026-03-01T11:30:00.5Z", "90m": "2026-03-10T10:30:00Z", "7d": "2026-03-03T12:00:00Z",
		"-5m": "", "tomorrow": "", "2026-13-01": ""} {
		got, err := parseTime(s, now)
		if err != nil {
			got = time.Time{}
		}
		if text := got.UTC().Format(time.RFC3339Nano); text != want && (want != "" || err == nil) {
			t.Errorf("%q is %s, %v, want %s", s, text, err, want)
		}
	}
}

func TestPrintableObeysNothing(t *testing.T) {
	if got := printable("a\x1b[31m\nb\u202e\U0001f600", 100); got != "a·[31m·b·\U0001f600" {
		t.Errorf("%q", got)
	}
	if got := printable("abcdef", 3); got != "abc…" {
		t.Errorf("%q", got)
	}
	if got := printableLines("a\tb\r\nc"); got != "a\tb·\nc" {
		t.Errorf("%q", got)
	}
}

// Of what repeats ten lines are printed, and the rest is counted: of faults, of what lies in quarantine, of what was refused.
func TestRepeatsAreCounted(t *testing.T) {
	report := &backup.Report{}
	answer := &quarantineAnswer{}
	status := statusAnswer{Clock: new(erase.Clock)}
	for i := range 40 {
		report.Faults = append(report.Faults, backup.Fault{Verdict: "integrity", Key: fmt.Sprintf("logs/0/%d", i), Detail: fmt.Sprintf("object %08x has %d bytes", i, i)})
		answer.Messages = append(answer.Messages, quarantined{SetAside: backup.SetAside{Offset: int64(i), SHA256: strings.Repeat("a", 64), Reason: "no frame"}})
		status.Refused = append(status.Refused, erase.Refusal{Type: "hold", By: "acme/holder/legal", Why: "closed", Time: time.Unix(int64(i), 0).UTC()})
	}
	report.Faults = append(report.Faults, backup.Fault{Verdict: "integrity", Key: "control/log/7", Detail: "it is another"})
	var b bytes.Buffer
	printFaults(&b, "faults", report.Faults, 1000)
	text := b.String()
	if n := strings.Count(text, " bytes\n"); n != maxAlike || !strings.Contains(text, "control/log/7: it is another") || !strings.Contains(text, "… and 989 more (of one kind ten are shown); --json lists") {
		t.Errorf("%d of a kind:\n%s", n, text)
	}
	b.Reset()
	answer.print(&b)
	if text := b.String(); strings.Count(text, "no frame") != maxAlike+1 || !strings.Contains(text, "… and 30 more") || !strings.Contains(text, "  40: no frame\n") {
		t.Errorf("%s", text)
	}
	b.Reset()
	status.print(&b)
	if text := b.String(); strings.Count(text, "refused: hold") != maxAlike || !strings.Contains(text, "00:00:39Z") || !strings.Contains(text, "refused: … and 30 more") {
		t.Errorf("%s", text)
	}
	a := &app{stderr: &b}
	b.Reset()
	for i := range 40 {
		a.notOpened(&backup.RecordError{Log: "acme/0", Index: uint64(i), Err: fmt.Errorf("leaf %d does not open", i)})
	}
	if text := b.String(); strings.Count(text, "does not open") != maxAlike || strings.Count(text, "and more like these") != 1 {
		t.Errorf("%s", text)
	}
}

func TestObjectHoldsWhatWentWrong(t *testing.T) {
	var b bytes.Buffer
	fail := &failure{exitRefused, errors.New("open kafka://u:p@ss@host/t\nand more"), "try https://u:p@host"}
	if err := writeObject(&b, "key-add", "", ackAnswer{Stream: "<5b>"}, fail); err != nil {
		t.Fatal(err)
	}
	want := `{"stele":"key-add/v1","exit":3,"error":"open kafka://***@host/t; and more","hint":"try https://***@host","stream":"<5b>","reason":""}` + "\n"
	if got := b.String(); strings.Contains(got, "u:p") || strings.Contains(got, "ss@") || got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestHints(t *testing.T) {
	for _, err := range []error{fs.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.ECONNREFUSED} {
		if f := new(app).judge(&fs.PathError{Op: "open", Path: "x", Err: err}); f.code != exitFailed || f.hint == "" {
			t.Errorf("%v: code %d, hint %q", err, f.code, f.hint)
		}
	}
}

func TestFailedVerdictsAreAllListed(t *testing.T) {
	state := func(s ...backup.State) *backup.Report {
		r := &backup.Report{Verdicts: map[string]backup.Verdict{}}
		for i, name := range backup.VerdictNames() {
			r.Verdicts[name] = backup.Verdict{State: s[i]}
		}
		return r
	}
	const h, f, u = backup.Holds, backup.Fails, backup.Unchecked
	for _, c := range []struct {
		report  *backup.Report
		require []string
		want    []int
	}{
		{state(h, h, u, u, u, u), nil, nil},
		{state(f, h, u, f, u, f), nil, []int{10, 13, 15}},
		{state(f, h, u, f, u, f), []string{"worm", "anchoring", "completeness"}, []int{12, 13}},
		{state(h, f, h, h, h, h), []string{"integrity"}, nil},
	} {
		got := failedVerdicts(c.report, c.require)
		if len(got) != len(c.want) || len(got) > 0 && (got[0] != c.want[0] || got[len(got)-1] != c.want[len(got)-1]) {
			t.Errorf("%v of %v: %v, want %v", c.require, c.report.Verdicts, got, c.want)
		}
		if code := c.report.ExitCode(c.require...); len(got) > 0 && code != got[0] || len(got) == 0 && code != 0 {
			t.Errorf("exit code %d, list %v", code, got)
		}
	}
}

// TestMatchesAreCapped: what a file shows stands behind its matches, of which there may be a million.
func TestMatchesAreCapped(t *testing.T) {
	for n, want := range map[int]string{100: "", 101: "… and 1 more, all of them in the file", 3000: "… and 2,900 more"} {
		var out strings.Builder
		printRange(&out, &rangeproof.Range{Matches: make([]rangeproof.Match, n), Records: uint64(n)})
		if lines := strings.Count(out.String(), "  leaf "); lines != min(n, 100) || strings.Contains(out.String(), "more") != (want != "") || !strings.Contains(out.String(), want) {
			t.Errorf("%d matches: %d lines, %q not at the end", n, lines, want)
		}
	}
}
