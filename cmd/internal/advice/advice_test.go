package advice

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/cmd/internal/settings"
)

func TestFor(t *testing.T) {
	s, err := settings.Load(settings.Options{
		Flags: map[string]string{"to": "kafka://10.0.0.1:9092/chat"},
		Env: func(name string) (string, bool) {
			return "s3://b/x?endpoint=http://10.0.0.2:9000", name == "STELE_ARCHIVE"
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := func(path string, err error) error {
		return fmt.Errorf("far below: %w", &fs.PathError{Op: "open", Path: path, Err: err})
	}
	dial := func(ip string, port int) error {
		return fmt.Errorf("kafka: %w", &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: port}, Err: syscall.ECONNREFUSED})
	}
	gone := func(name, path string) error {
		return &custodian.Error{Custodian: name, Op: "unwrap", Generation: 1, Err: fmt.Errorf("%w: %w", custodian.ErrUnavailable, at(path, syscall.ENOENT))}
	}
	for _, c := range []struct {
		err  error
		s    *settings.Settings
		want []string
		not  string
	}{
		{err: at("/r/writer/default.stele", syscall.EACCES), want: []string{"/r/writer/default.stele", "user of the role, mode 0600"}},
		{err: at("/r/trust.stele", syscall.EACCES), want: []string{"public"}, not: "0600"},
		{err: at("/srv/spool/lock", syscall.EACCES), want: []string{"/srv/spool/lock", "let in by its mode"}, not: "0600"},
		{err: fs.ErrPermission, want: []string{"credentials"}, not: "mode"},
		{err: at("/srv/spool/lock", syscall.EROFS), want: []string{"mount it writable"}},
		{err: at("/srv/x", syscall.ENOSPC), want: []string{"disk is full"}},
		{err: syscall.ECONNREFUSED, want: []string{"stele env"}},
		{err: dial("10.0.0.1", 9092), s: s, want: []string{"10.0.0.1:9092", "to is set by --to"}, not: "from"},
		{err: dial("10.0.0.2", 9000), s: s, want: []string{"archive is set by STELE_ARCHIVE"}, not: "to is set"},
		{err: dial("10.0.0.3", 9092), s: s, want: []string{"10.0.0.3:9092", "No setting has this address", "advertised.listeners"}},
		{err: dial("10.0.0.1", 9092), want: []string{"10.0.0.1:9092", "stele env"}},
		{err: errors.Join(gone("a", "/srv/a"), gone("b", "/srv/b"), gone("a", "/srv/a")), want: []string{"custodian a in /srv/a, custodian b in /srv/b: mount", "backup", "nothing in the archive can be read"}},
		{err: fmt.Errorf("key store: %w", gone("a", "/srv/a")), want: []string{"custodian a in /srv/a: mount"}},
		{err: fmt.Errorf("key store: %w", &custodian.Error{Custodian: "a", Op: "unwrap", Generation: 2, Err: custodian.ErrDestroyed}), want: []string{"older than an erasure", "keys/ of today"}},
		{err: &custodian.Error{Custodian: "a", Op: "create", Generation: 2, Err: custodian.ErrDestroyed}, not: "older"},
		{err: &custodian.Error{Custodian: "v", Op: "unwrap", Err: fmt.Errorf("%w: %w", custodian.ErrUnavailable, syscall.ECONNREFUSED)}, want: []string{"nothing listens"}, not: "folder"},
	} {
		hint := For(c.err, c.s)
		for _, want := range c.want {
			if !strings.Contains(hint, want) {
				t.Errorf("%v: %q lacks %q", c.err, hint, want)
			}
		}
		if c.not != "" && strings.Contains(hint, c.not) {
			t.Errorf("%v: %q has %q", c.err, hint, c.not)
		}
	}
	if hint := For(errors.New("something else"), s); hint != "" {
		t.Errorf("advice about what is not known: %q", hint)
	}
}
