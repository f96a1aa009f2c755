package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/erase"
)

func TestApart(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		clock erase.Clock
		want  string // "" wants nothing
	}{
		{erase.Clock{Time: now.Add(-20 * time.Hour), By: "log"}, ""},
		{erase.Clock{Time: now.Add(30 * time.Minute), By: "witnesses"}, ""},
		{erase.Clock{By: "witnesses"}, "nobody says how late it is by the witnesses' clock"},
		{erase.Clock{Time: now.Add(-31 * time.Hour), By: "witnesses"}, "the witnesses' clock is 31 hours behind this one"},
		{erase.Clock{Time: now.AddDate(-10, 0, 0), By: "log", Gap: now.AddDate(0, 0, -1)}, "the control log's clock is 3,652 days behind this one, at 2016-11-28T12:00:00Z: nothing came then until 2026-11-27T12:00:00Z"},
		{erase.Clock{Time: now.AddDate(0, 0, 5), By: "log"}, "this clock is 5 days behind the control log's"},
	} {
		if got := apart(&c.clock, now); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.clock, got, c.want)
		}
	}
}
