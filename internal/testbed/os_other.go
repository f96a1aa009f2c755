//go:build !linux

package testbed

import (
	"errors"
	"syscall"
)

// The services run on Linux only; see artefact.get, which says so before anything here is reached.

func lockFile(string, bool) (func(), error) { return nil, errors.ErrUnsupported }

func lockByte(string, int64) (func(), error) { return nil, errors.ErrUnsupported }

func childAttr(*account) *syscall.SysProcAttr { return nil }

func onChildThread(f func()) { f() }

func signalGroup(int, syscall.Signal) error { return errors.ErrUnsupported }
