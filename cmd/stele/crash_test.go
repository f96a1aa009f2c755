package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdCrash captures a file and kills the capturing process when everything is in the spool, before it can close its
// stream: crash FILE
func cmdCrash(ts *testscript.TestScript, neg bool, args []string) {
	cmd := exec.Command("stele", "capture")
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "STELE_CONFIG="+ts.Getenv("STELE_CONFIG"))
	in, err := cmd.StdinPipe()
	ts.Check(err)
	before := sizeOf(ts, ts.MkAbs("spool"))
	ts.Check(cmd.Start())
	_, err = in.Write([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	settled(ts, ts.MkAbs("spool"), before)
	ts.Check(cmd.Process.Kill())
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		ts.Fatalf("the process was not killed: %v", err)
	}
}

// settled waits until a spool has grown, and then has not for four times as long as a record waits for company.
func settled(ts *testscript.TestScript, dir string, before int64) {
	last, since := before, time.Now()
	for end := since.Add(time.Minute); last == before || time.Since(since) < time.Second; time.Sleep(20 * time.Millisecond) {
		if size := sizeOf(ts, dir); size != last {
			last, since = size, time.Now()
		}
		if time.Now().After(end) {
			ts.Fatalf("nothing came to %s", dir)
		}
	}
}

func sizeOf(ts *testscript.TestScript, dir string) (size int64) {
	ts.Check(filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // it may be going, or not be there yet
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	}))
	return size
}
