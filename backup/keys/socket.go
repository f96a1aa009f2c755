package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// Listen listens on a unix socket that only this user can reach. A socket that nobody serves any more is replaced.
func Listen(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrBusy)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s exists and is no socket: move it away, or name another socket for keys", path)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// A socket is made with the mode that the umask leaves, and whoever gets in before it is changed stays in. So it is
	// made where nobody else can look, and moved when it has its mode.
	private, err := os.MkdirTemp(dir, ".k-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(private, "s")})
	if err != nil {
		return nil, fmt.Errorf("%w (the path of a socket has at most about 100 characters)", err)
	}
	l.SetUnlinkOnClose(false)
	s := &keySocket{UnixListener: l, path: path}
	if err = os.Chmod(l.Addr().String(), 0o600); err == nil {
		s.made, err = os.Lstat(l.Addr().String())
	}
	if err == nil {
		err = os.Rename(l.Addr().String(), path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return s, nil
}

// keySocket removes its path when it is closed, if that is still its own.
type keySocket struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

// Addr is where the socket lies now.
func (s *keySocket) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: s.path} }

func (s *keySocket) Close() error {
	err := s.UnixListener.Close()
	if info, gone := os.Lstat(s.path); gone == nil && os.SameFile(info, s.made) {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}
