package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/republish"
)

// A topic that says what it takes is asked before each record, one that does not refuses a batch: then nobody knows which
// record it is, nor that those before it are published.
func TestNotWritten(t *testing.T) {
	f := &backup.Found{Log: "acme/0/2026Q4", Index: 7}
	for _, c := range []struct {
		err  error
		want string
		not  string
	}{
		{&republish.TooLargeError{Topic: "out", Size: 900, Limit: 800}, "acme/0/2026Q4 leaf 7: a record makes|all before this record is published|to 900 or more", "one of"},
		{fmt.Errorf("publishing: %w", &republish.TooLargeError{Topic: "out", Size: 900}), "publishing: a record makes|one of the last records up to|leaf 7|to 900 or more", "all before"},
		{errors.New("away"), "leaf 7: away", "max.message.bytes"},
	} {
		err := notWritten(f, c.err)
		text := err.Error()
		if said := new(failure); errors.As(err, &said) {
			text += "; " + said.hint
		}
		for _, want := range strings.Split(c.want, "|") {
			if !strings.Contains(text, want) {
				t.Errorf("%q lacks %q", text, want)
			}
		}
		if strings.Contains(text, c.not) {
			t.Errorf("%q has %q", text, c.not)
		}
	}
}
