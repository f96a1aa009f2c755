// Package transport opens what writers send to: two topics, or a spool directory.
package transport

import (
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"syscall"

	"github.com/stelelog/stele/internal/kafka"
	"github.com/stelelog/stele/internal/spool"
)

// Access says how brokers are reached.
type Access struct {
	Username, Password string
	TLS                *tls.Config
	Logger             *slog.Logger
}

// Open opens the frames topic of a URL and its grants topic.
func Open(rawURL string, a Access) (frames, grants *kafka.Client, err error) {
	k, err := kafka.ParseURL(rawURL)
	if err != nil {
		return nil, nil, err
	}
	if err := k.Login(a.Username, a.Password); err != nil {
		return nil, nil, err
	}
	if a.TLS != nil {
		k.TLS = a.TLS
	}
	k.Logger = a.Logger
	if frames, err = kafka.Open(k); err != nil {
		return nil, nil, err
	}
	k.Topic += grantsSuffix
	if grants, err = kafka.Open(k); err != nil {
		return nil, nil, errors.Join(err, frames.Close())
	}
	return frames, grants, nil
}

// grantsSuffix makes the name of the grants topic.
const grantsSuffix = ".grants"

// OpenSpool opens a spool whose directory is there: one that is made here by mistake would look like another source.
// It is the archive's: one that names another is refused.
func OpenSpool(path string, archive [16]byte) (*spool.Dir, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no spool directory %s: is it where the writers send to? 'stele init' and writers make it: %w", path, err)
	}
	dir, err := spool.Open(path, spool.Options{Archive: archive, Own: true})
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil, fmt.Errorf("whoever compacts takes claims in the spool %s and removes what is committed; let it write there: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return dir, nil
}

// FilePath is the path of a file:// URL.
func FilePath(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "file" || u.Host != "" || u.Path == "" || u.RawQuery != "" {
		return "", fmt.Errorf("%q is no file URL; write file:///absolute/path", raw)
	}
	return u.Path, nil
}

// LaneID parses the name of a lane.
func LaneID(lane string) (id [16]byte, err error) {
	b, err := hex.DecodeString(lane)
	if err != nil || len(b) != 16 {
		return id, fmt.Errorf("spool: %q is no lane", lane)
	}
	return [16]byte(b), nil
}

// SpoolEnds are the ends of one log of all lanes. One that is damaged ends there, and is given to damaged.
func SpoolEnds(dir *spool.Dir, kind spool.Kind, damaged func(lane string, err error)) (map[string]int64, error) {
	lanes, err := dir.Lanes()
	if err != nil {
		return nil, err
	}
	ends := map[string]int64{}
	for _, l := range lanes {
		end, err := dir.End(l.ID, kind)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var e *spool.Error
		if errors.Is(err, spool.ErrDamaged) && errors.As(err, &e) {
			damaged(hex.EncodeToString(l.ID[:]), err)
			end, err = e.Pos, nil
		}
		if err != nil {
			return nil, err
		}
		ends[hex.EncodeToString(l.ID[:])] = int64(end)
	}
	return ends, nil
}
