//go:build !linux

package spool

import "os"

// datasync brings f to stable storage. On Darwin os.File.Sync asks the disk itself to flush.
func datasync(f *os.File) error { return f.Sync() }
