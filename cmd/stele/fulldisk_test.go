package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stelelog/stele/logpipe"
)

func TestCaptureOnAFullDiskDoesNotSayRunItAgain(t *testing.T) {
	full := fmt.Errorf("spool: %w", syscall.ENOSPC)
	f := new(app).judge(keptInPart(full))
	if !strings.Contains(f.hint, "keeps them twice") || !errors.Is(f.err, syscall.ENOSPC) || f.code != exitFailed {
		t.Errorf("a full disk is %d %v, hint %q", f.code, f.err, f.hint)
	}
	large := new(app).judge(keptInPart(fmt.Errorf("spool: %w", syscall.EFBIG)))
	if !strings.Contains(large.hint, "ulimit") || !strings.Contains(large.hint, "keeps them twice") {
		t.Errorf("a file that may not grow: hint %q", large.hint)
	}
	ans := new(captureAnswer)
	ans.count(logpipe.Stats{Captured: 2000, Acked: 1200, Lost: map[string]uint64{"full": 10}})
	var said strings.Builder
	ans.print(&said)
	if !strings.Contains(said.String(), "captured 1990, declared lost 10") || !strings.Contains(said.String(), "acknowledged by the destination: 1200; the other 790") {
		t.Errorf("after a failure it says %q", said.String())
	}
	other := errors.New("something else")
	if got := keptInPart(other); got != other || keptInPart(nil) != nil {
		t.Errorf("another error became %v", got)
	}
}
