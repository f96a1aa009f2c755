package main

import (
	"context"
	"fmt"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/keys"
)

// notOpened names a record that cannot be given out on stderr, unless enough like it were named.
func (a *app) notOpened(e *backup.RecordError) {
	if a.json {
		return
	}
	if a.closed == nil {
		a.closed = newAlike()
	}
	if a.closed.one(e.Err.Error()) {
		fmt.Fprintf(a.stderr, "unreadable: %v\n", e)
	} else if a.closed.more() == 1 {
		fmt.Fprintln(a.stderr, "unreadable: … and more like these, which are only counted")
	}
}

// unreadNoted says it, once a command, when keys were given out without what the grants transport holds.
type unreadNoted struct {
	keys.Source
	app *app
}

func (u *unreadNoted) Keys(ctx context.Context, request []byte) (*keys.Answer, error) {
	answer, err := u.Source.Keys(ctx, request)
	if err == nil && answer.Unread != "" && u.app.unread == "" {
		u.app.unread = answer.Unread
		if !u.app.json {
			fmt.Fprintf(u.app.stderr, "warning: keys of the newest records may be missing: what came since the grants transport was last read shows as unreadable: %s\n", redact(printable(answer.Unread, 400)))
		}
	}
	return answer, err
}
