package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Doctor says in time that intake keys run out where no key service runs, and 'stele key renew' makes more.
func TestIntakeKeysRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		stele := func(args ...string) string {
			t.Helper()
			var out bytes.Buffer
			env := func(name string) (string, bool) { return "", false }
			if code := run(t.Context(), append(args, "--config", filepath.Join(dir, "stele.yaml")), env, nil, &out, &out); code > exitFailed {
				t.Fatalf("stele %s: exit code %d\n%s", args[0], code, out.String())
			}
			return out.String()
		}
		var out bytes.Buffer
		none := func(string) (string, bool) { return "", false }
		if code := run(t.Context(), []string{"init", "file://" + filepath.Join(dir, "archive"), "--out", dir}, none, nil, &out, &out); code != exitOK {
			t.Fatal(out.String())
		}
		want := func(report string, lines ...string) {
			t.Helper()
			for _, line := range lines {
				if !strings.Contains(report, line) {
					t.Errorf("%q is missing in\n%s", line, report)
				}
			}
		}
		want(stele("doctor"), "ok     intake keys: the archive has them for 26 weeks", "ok     writer: default has intake keys for 26 weeks")
		id := strings.Fields(stele("erase", "request", "--class", "default", "--as", filepath.Join(dir, "admin"), "--out", filepath.Join(dir, "request.json")))[1]
		stele("erase", "approve", id)
		want(stele("doctor"), "ok     erasures: no approved request waits for more than a day")
		time.Sleep(18 * week)
		want(stele("doctor"), "look   erasures: 1 approved request overdue, the first since")
		want(stele("erase", "status", id), "; overdue since 20", "is the key service running, and which?")
		want(stele("doctor"), "ok     intake keys: the archive has them for 8 weeks", "ok     writer: default has intake keys for 8 weeks")
		time.Sleep(week)
		want(stele("doctor"), "look   intake keys: the archive has them for 7 weeks", "look   writer: default has intake keys for 7 weeks",
			"→ 'stele key renew writer default'", "'stele key renew writer NAME' makes more")
		want(stele("key", "renew", "writer", "default"), "it has intake keys for 26 weeks")
		want(stele("doctor"), "ok     intake keys: the archive has them for 26 weeks", "ok     writer: default has intake keys for 26 weeks")
	})
}

// Doctor says that a policy has no partitions, and is silent of one that has.
func TestPolicyWithoutPartitions(t *testing.T) {
	for draft, want := range map[string]int{
		`{"stele":"policy/v1","policy":{"partitions":0,"period":"quarter"}}`: 1,
		`{"stele":"policy/v1","policy":{"partitions":3,"period":"quarter"}}`: 0,
	} {
		e := &exam{app: new(app), answer: new(doctorAnswer)}
		e.partitions([]byte(draft))
		if got := e.answer.Checks; len(got) != want || want > 0 && (got[0].OK || got[0].Warning || !strings.Contains(got[0].Hint, "policy propose")) {
			t.Errorf("%s: %+v", draft, got)
		}
	}
}
