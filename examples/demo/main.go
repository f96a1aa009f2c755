// Demo is the whole job in one process and without any server: an OpenAI-compatible chat server with a small language
// model, trained at start on the documentation of the Go installation, serves a few thousand requests. They are captured,
// sealed, committed, verified, tampered with in a copy, restored and compared; then one subject is erased.
//
//	go run ./examples/demo [-dir DIR]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	dir := flag.String("dir", "", "where the archive goes; a new temporary directory if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run walks through the job, one step after the other. Each step says what it did, with its figure.
func run(ctx context.Context, dir string) error {
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "stele-demo-"); err != nil {
			return err
		}
	}
	d := &demo{dir: dir, begun: time.Now()}
	steps := []struct {
		name string
		run  func(context.Context) (string, error)
	}{
		{"train", d.train},
		{"serve and capture", d.capture},
		{"commit", d.commit},
		{"verify", d.verify},
		{"flip one bit in a copy", d.tamper},
		{"restore and compare", d.restore},
		{"erase one subject", d.erase},
	}
	defer d.close()
	fmt.Printf("Stele demo in %s\n\n", dir)
	for i, s := range steps {
		start := time.Now()
		said, err := s.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Printf("%d  %-24s %6.1f s   %s\n", i+1, s.name, time.Since(start).Seconds(), said)
	}
	d.picture()
	fmt.Printf("\nDone in %.1f s. What is left to look at:\n", time.Since(d.begun).Seconds())
	for _, p := range []struct{ path, what string }{
		{"archive", "the archive: commits, Arrow segments, control log; read-only files"},
		{"trust.stele", "public keys: all that an auditor needs"},
		{"restored.jsonl", "what came back, one record a line"},
		{"erasure.stele", "the certificate of the erasure: stele check reads it with trust.stele alone"},
		{"tampered", "the copy with one bit flipped"},
	} {
		fmt.Printf("  %-60s %s\n", filepath.Join(dir, p.path), p.what)
	}
	return nil
}
