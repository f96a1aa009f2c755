package main

import (
	"fmt"
	"time"

	"github.com/stelelog/stele/backup/erase"
)

// clockSlack is how far the second clock of erasures may be behind without being worth a word: a key service makes an entry
// of the control log where none has come for 20 hours.
const clockSlack = 30 * time.Hour

// apart says how a clock and that of this machine differ, and what follows; "" if that is nothing.
func apart(c *erase.Clock, now time.Time) string {
	whose := "the witnesses'"
	if c.By == "log" {
		whose = "the control log's"
	}
	switch behind := now.Sub(c.Time); {
	case c.Time.IsZero():
		return fmt.Sprintf("nobody says how late it is by %s clock: what is erased without a request waits", whose)
	case behind > clockSlack && c.Gap.IsZero():
		return fmt.Sprintf("%s clock is %s behind this one, at %s: what is erased without a request waits for it", whose, days(behind), c.Time.Format(time.RFC3339))
	case behind > clockSlack:
		return fmt.Sprintf("%s clock is %s behind this one, at %s: nothing came then until %s, which is believed a week later if nobody contradicts; what is erased without a request waits",
			whose, days(behind), c.Time.Format(time.RFC3339), c.Gap.Format(time.RFC3339))
	case behind < -time.Hour:
		return fmt.Sprintf("this clock is %s behind %s: a key service with such a clock erases late what nobody asked for", days(-behind), whose)
	}
	return ""
}

// days is a duration in days, or in hours if that is short.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return count(int(d/time.Hour), "hour")
	}
	return count(int(d/(24*time.Hour)), "day")
}
