package testbed

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTrillian(t *testing.T) {
	l := Trillian(t)
	if got := l.Query(t, "trillian", "SELECT count(*) FROM trees"); got != "0" {
		t.Errorf("a new Trillian has %s trees", got)
	}
	c, err := net.Dial("tcp", l.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestLitewitness(t *testing.T) {
	w := Litewitness(t, "witness.example", "log.example", "log.example+d85f6874+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop")
	if !strings.Contains(w.Log(), w.VKey) {
		t.Errorf("its key is not %s\n%s", w.VKey, w.Log())
	}
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestFsck(t *testing.T) {
	dir := t.TempDir()
	const vkey = "log.example+d85f6874+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
	if err := Fsck(t, dir, "log.example", vkey, time.Minute); err == nil || !strings.Contains(err.Error(), "checkpoint") {
		t.Errorf("nothing is accepted: %v", err)
	}
	if err := os.WriteFile(dir+"/checkpoint", []byte("log.example\n7\nSuGRk59UjZk0dAuI3qLFy4m7iHD8RQXNed7Gu/qu6cs=\n\n"+
		"— log.example 2F9odNg46E3e3+lppltDHfsHOYps7VPzml2FsDqaAD+Hgn2WydhE9f7hlsKmLCQpFq0JtHHbWFmySp1bfyUqKnp91gU=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Fsck(t, dir, "log.example", vkey, time.Minute); err == nil || !strings.Contains(err.Error(), "entries") {
		t.Errorf("a head without entries: %v", err)
	}
}
