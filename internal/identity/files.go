package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ID is an archive id; hex in JSON.
type ID [16]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes hex.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText reads 32 hex digits.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != 32 {
		return fmt.Errorf("archive id of %d digits, not 32", len(text))
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// Formats of files.
const (
	RootFormat       = "root/v1"
	CompactorFormat  = "compactor/v1"
	KeyServiceFormat = "keyservice/v1"
	ReaderFormat     = "reader/v1"
	WriterFormat     = "writer/v1"
)

// Root can set the access policy.
type Root struct {
	Stele   string `json:"stele"`
	Archive ID     `json:"archive"`
	Name    string `json:"name"`
	Key     []byte `json:"key"`     // Ed25519 seed of the policy root
	Control []byte `json:"control"` // Ed25519 seed of the control log
	Pepper  []byte `json:"pepper"`
}

// Compactor can commit.
type Compactor struct {
	Stele   string `json:"stele"`
	Archive ID     `json:"archive"`
	Name    string `json:"name"`
	By      string `json:"by"`      // name of this compactor
	Key     []byte `json:"key"`     // Ed25519 seed of the commit key
	Control []byte `json:"control"` // Ed25519 seed of the control log
}

// KeyService can take in grants, with the custodians of the archive's keys. It opens no payload: keys stay wrapped to the readers.
type KeyService struct {
	Stele   string `json:"stele"`
	Archive ID     `json:"archive"`
	Name    string `json:"name"`
	By      string `json:"by"`  // name of this key service
	Key     []byte `json:"key"` // Ed25519 seed of the key that signs root records
}

// Reader can open payloads.
type Reader struct {
	Stele   string `json:"stele"`
	Archive ID     `json:"archive"`
	Name    string `json:"name"`
	By      string `json:"by"`
	Key     []byte `json:"key"`  // HPKE seed
	Sign    []byte `json:"sign"` // Ed25519 seed
	Pepper  []byte `json:"pepper"`
}

// Writer is a credential: it can append.
type Writer struct {
	Stele      string      `json:"stele"`
	Archive    ID          `json:"archive"`
	Name       string      `json:"name"`
	Service    string      `json:"service"`
	To         string      `json:"to"`
	Partitions uint32      `json:"partitions"`
	Key        []byte      `json:"key"` // Ed25519 seed of the service key
	Pepper     []byte      `json:"pepper"`
	Read       []ReadKey   `json:"read"`
	Intake     []PublicKey `json:"intake"`
	Classes    []Class     `json:"classes"`
}

// ReadKey is the public half of the read key of a year.
type ReadKey struct {
	Year uint16 `json:"year"`
	Key  []byte `json:"key"`
}

// PublicKey is the public half of the intake key of a week.
type PublicKey struct {
	Week uint16 `json:"week"`
	Key  []byte `json:"key"`
}

// Class is a retention class as a writer needs to know it. TTLDays 0 means that it does not expire by itself.
type Class struct {
	Name    string `json:"name"`
	TTLDays uint16 `json:"ttl_days,omitempty"`
}

// SigningKey is the service key.
func (w *Writer) SigningKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(w.Key) }

// Check reports what is wrong with the credential.
func (w *Writer) Check() error {
	switch {
	case len(w.Key) != ed25519.SeedSize || len(w.Pepper) != 32:
		return errors.New("key or pepper has a wrong length")
	case len(w.Read) == 0 || len(w.Intake) == 0:
		return errors.New("no read key or no intake key; renew it with 'stele key renew writer'")
	case !ValidName(w.Name) || !ValidName(w.Service):
		return errors.New("no valid archive or service name")
	case w.Partitions == 0:
		return errors.New("no partitions")
	}
	return nil
}

// ParseWriter reads a credential: JSON, or the same in base64.
func ParseWriter(data []byte) (*Writer, error) {
	data = bytes.TrimSpace(data)
	if len(data) > 0 && data[0] != '{' {
		raw, err := base64.StdEncoding.DecodeString(string(data))
		if err != nil {
			return nil, errors.New("writer credential: neither JSON nor base64 of it")
		}
		data = raw
	}
	var w Writer
	if err := decode(data, WriterFormat, &w); err != nil {
		return nil, fmt.Errorf("writer credential: %w", err)
	}
	if err := w.Check(); err != nil {
		return nil, fmt.Errorf("writer credential: %w", err)
	}
	return &w, nil
}

// LoadWriter reads a credential from a path, or from the text of it if no such file can be meant.
func LoadWriter(pathOrText string) (*Writer, error) {
	if text := strings.TrimSpace(pathOrText); len(text) > 1000 || strings.HasPrefix(text, "{") {
		return ParseWriter([]byte(text))
	}
	data, err := os.ReadFile(pathOrText)
	if err != nil {
		return nil, fmt.Errorf("writer credential: %w", err)
	}
	w, err := ParseWriter(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pathOrText, err)
	}
	return w, nil
}

// Format returns the format that a role file claims to have, or "".
func Format(data []byte) string {
	var head struct {
		Stele string `json:"stele"`
	}
	if json.Unmarshal(data, &head) != nil {
		return ""
	}
	return head.Stele
}

// Parse reads the content of a role file into v, whose format must be the given one.
func Parse(data []byte, format string, v any) error { return decode(data, format, v) }

func decode(data []byte, format string, v any) error {
	if got := Format(data); got != format {
		return fmt.Errorf("this is %q, not %q", got, format)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// Save writes a role file, readable by its owner only. It refuses to replace one.
func Save(path string, v any) error {
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(append(data, '\n')); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// PayloadReaders returns the paths under dir of files that can open payloads.
func PayloadReaders(dir string) (found []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".stele") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if Format(data) == ReaderFormat {
			found = append(found, path)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return found, err
}
