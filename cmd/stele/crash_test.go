package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/keys"
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

// cmdErase erases a subject in the key store of the archive in the current directory: erase SUBJECT
func cmdErase(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	store, err := dirstore.Open(ts.MkAbs("archive"), dirstore.Options{})
	ts.Check(err)
	service, err := keys.Open(ctx, keys.Config{
		Store: store, Trust: []byte(ts.ReadFile("trust.stele")), Identity: []byte(ts.ReadFile("keys/keyservice.stele")),
		Custodians: keys.Custodians{URLs: map[string]string{"default": admin.DefaultCustodian(ts.MkAbs("."))}}, From: "file://" + ts.MkAbs("spool"),
	})
	ts.Check(err)
	defer service.Close()
	var reader struct{ Pepper []byte }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("reader/reader.stele")), &reader))
	tag := hmac.New(sha256.New, reader.Pepper)
	tag.Write(append([]byte{2}, args[0]...)) // docs/formats/grant.md
	done, err := service.Erase(ctx, keys.Erasure{Tags: [][16]byte{[16]byte(tag.Sum(nil))}})
	ts.Check(err)
	if done.Scopes == 0 {
		ts.Fatalf("nothing to erase of %s", args[0])
	}
}
