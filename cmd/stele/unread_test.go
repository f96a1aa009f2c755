package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stelelog/stele/backup/keys"
)

// behind is a key service whose grants transport is away.
type behind struct{ why string }

func (b behind) Keys(context.Context, []byte) (*keys.Answer, error) {
	return &keys.Answer{Unread: b.why}, nil
}

// What could not be read is said once a command, on stderr or in the object, without secrets, and not where all was read.
func TestUnreadGrantsAreSaid(t *testing.T) {
	for _, x := range []struct {
		why  string
		json bool
		want int
	}{{"broker kafka://u:secret@h:1/t is away", false, 1}, {"broker is away", true, 0}, {"", false, 0}} {
		var stderr, out bytes.Buffer
		a := &app{stderr: &stderr, json: x.json}
		source := &unreadNoted{behind{x.why}, a}
		for range 3 {
			if _, err := source.Keys(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(stderr.String(), "warning: keys of the newest records may be missing"); n != x.want || strings.Contains(stderr.String(), "secret") {
			t.Errorf("%+v: %q", x, stderr.String())
		}
		if err := writeObject(&out, "search", a.unread, nil, nil); err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(out.String(), `"grants_unread":"broker `); said != (x.why != "") || strings.Contains(out.String(), "secret") {
			t.Errorf("%+v: %s", x, out.String())
		}
	}
}
