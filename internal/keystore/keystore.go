// Package keystore keeps wrapped scope keys in one local file. It is the development store of the key service: deleting
// from it is best effort, and no certificate can be given for it. docs/formats/keyservice.md says what is asked of it.
package keystore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Key is a wrapped scope key and what it is bound to.
type Key struct {
	Scope  [16]byte
	Stream [16]byte
	Start  int64 // ns
	Encap  [16]byte
	Inner  [48]byte
	Tags   [3][16]byte // tenant, subject, session; zero: none
	Class  string
}

// State of a scope in the store.
type State int

// States.
const (
	Unknown State = iota
	Live
	Erased
)

var (
	scopes    = []byte("scopes")    // scope → key
	tags      = []byte("tags")      // tag ‖ scope → nothing
	positions = []byte("positions") // lane → next
	erased    = []byte("erased")    // scope → time
)

// Store is an open key store. Safe for concurrent use; one process at a time.
type Store struct {
	mu sync.RWMutex // held for writing while the file is replaced
	db *bolt.DB
}

// ErrBusy says that another process holds the store.
var ErrBusy = errors.New("another process holds the key service role")

// Open opens or makes the store at path.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 200 * time.Millisecond})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: %w", path, ErrBusy)
	}
	if err != nil {
		return nil, fmt.Errorf("key store %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{scopes, tags, positions, erased} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{db: db}, nil
}

// Close releases the store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db.Close()
}

func (s *Store) update(f func(*bolt.Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db.Update(f)
}

func (s *Store) view(f func(*bolt.Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db.View(f)
}

// Fold takes keys and the positions up to which the grants transport was read, in one transaction. A scope that is
// known already keeps its first key; one that was erased stays erased.
func (s *Store) Fold(keys []Key, next map[string]int64) error {
	return s.update(func(tx *bolt.Tx) error {
		for i := range keys {
			k := &keys[i]
			if tx.Bucket(erased).Get(k.Scope[:]) != nil || tx.Bucket(scopes).Get(k.Scope[:]) != nil {
				continue
			}
			if err := tx.Bucket(scopes).Put(k.Scope[:], k.encode()); err != nil {
				return err
			}
			for _, tag := range k.Tags {
				if tag == [16]byte{} {
					continue
				}
				if err := tx.Bucket(tags).Put(append(tag[:], k.Scope[:]...), nil); err != nil {
					return err
				}
			}
		}
		for lane, n := range next {
			if err := tx.Bucket(positions).Put([]byte(lane), binary.LittleEndian.AppendUint64(nil, uint64(n))); err != nil {
				return err
			}
		}
		return nil
	})
}

// Positions is how far the grants transport has been folded.
func (s *Store) Positions() (map[string]int64, error) {
	out := map[string]int64{}
	return out, s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(positions).ForEach(func(lane, v []byte) error {
			out[string(lane)] = int64(binary.LittleEndian.Uint64(v))
			return nil
		})
	})
}

// Get returns the state of a scope, and its key while it is live.
func (s *Store) Get(scope [16]byte) (k Key, state State, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		if v := tx.Bucket(scopes).Get(scope[:]); v != nil {
			state = Live
			return k.decode(scope, v)
		}
		if tx.Bucket(erased).Get(scope[:]) != nil {
			state = Erased
		}
		return nil
	})
	return k, state, err
}

// Tagged returns the live scopes that carry a tag.
func (s *Store) Tagged(tag [16]byte) (ids [][16]byte, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(tags).Cursor()
		for k, _ := c.Seek(tag[:]); len(k) == 32 && [16]byte(k) == tag; k, _ = c.Next() {
			ids = append(ids, [16]byte(k[16:]))
		}
		return nil
	})
	return ids, err
}

// Erase deletes the keys of scopes and rewrites the file, so that its free pages do not keep them. Copies of the file,
// of its blocks on the disk, and of the grants transport are beyond its reach.
func (s *Store) Erase(ids [][16]byte, at time.Time) error {
	err := s.update(func(tx *bolt.Tx) error {
		for _, id := range ids {
			v := tx.Bucket(scopes).Get(id[:])
			if v == nil {
				continue
			}
			var k Key
			if err := k.decode(id, v); err != nil {
				return err
			}
			for _, tag := range k.Tags {
				if err := tx.Bucket(tags).Delete(append(tag[:], id[:]...)); err != nil {
					return err
				}
			}
			if err := tx.Bucket(scopes).Delete(id[:]); err != nil {
				return err
			}
			if err := tx.Bucket(erased).Put(id[:], binary.LittleEndian.AppendUint64(nil, uint64(at.UnixNano()))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.rewrite()
}

// rewrite copies what lives into a new file and puts it in the place of the old one.
func (s *Store) rewrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.db.Path()
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh, err := bolt.Open(tmp, 0o600, nil)
	if err != nil {
		return err
	}
	if err := bolt.Compact(fresh, s.db, 1<<20); err != nil {
		return errors.Join(err, fresh.Close())
	}
	if err := errors.Join(fresh.Close(), s.db.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	next, err := Open(path)
	if err != nil {
		return err
	}
	s.db = next.db
	return nil
}

func (k *Key) encode() []byte {
	b := append([]byte{1}, k.Stream[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(k.Start))
	b = append(b, k.Encap[:]...)
	b = append(b, k.Inner[:]...)
	for _, t := range k.Tags {
		b = append(b, t[:]...)
	}
	return append(b, k.Class...)
}

func (k *Key) decode(scope [16]byte, b []byte) error {
	const fixed = 1 + 16 + 8 + 16 + 48 + 48
	if len(b) < fixed || b[0] != 1 {
		return errors.New("key store: an entry is damaged")
	}
	k.Scope = scope
	copy(k.Stream[:], b[1:])
	k.Start = int64(binary.LittleEndian.Uint64(b[17:]))
	copy(k.Encap[:], b[25:])
	copy(k.Inner[:], b[41:])
	for i := range k.Tags {
		copy(k.Tags[i][:], b[89+16*i:])
	}
	k.Class = string(b[fixed:])
	return nil
}
