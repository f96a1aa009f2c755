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

func TestAFullDiskAtTheStart(t *testing.T) {
	for err, phrase := range map[error]string{syscall.ENOSPC: "the disk is full", syscall.EFBIG: "ulimit"} {
		f := new(app).judge(nothingKept(&logpipe.OpError{Op: "open", What: "spool directory", Err: fmt.Errorf("spool: %w", err)}))
		if !strings.Contains(f.hint, phrase) || !strings.Contains(f.hint, "nothing was captured") || !errors.Is(f, err) || f.code != exitFailed {
			t.Errorf("%v at the start: %d, hint %q", err, f.code, f.hint)
		}
	}
	if other := errors.New("something else"); nothingKept(other) != other || nothingKept(nil) != nil {
		t.Errorf("another error became %v", nothingKept(other))
	}
}
