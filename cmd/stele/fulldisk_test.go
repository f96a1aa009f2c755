package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

func TestCaptureOnAFullDiskDoesNotSayRunItAgain(t *testing.T) {
	full := fmt.Errorf("spool: %w", syscall.ENOSPC)
	f := judge(keptInPart(full))
	if !strings.Contains(f.hint, "keeps them twice") || !errors.Is(f.err, syscall.ENOSPC) || f.code != exitFailed {
		t.Errorf("a full disk is %d %v, hint %q", f.code, f.err, f.hint)
	}
	other := errors.New("something else")
	if got := keptInPart(other); got != other || keptInPart(nil) != nil {
		t.Errorf("another error became %v", got)
	}
}
