package logpipe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/identity"
	"github.com/stelelog/stele/internal/record"
)

// Durability says what [Pipe.Capture] waits for.
type Durability uint8

// The durabilities.
const (
	Memory  Durability = iota // nothing: the record is in the memory of the process
	Spooled                   // the record is sealed and on the local disk, synced
	Acked                     // the record is sealed and acknowledged by the transport: by all in-sync brokers, or synced to the spool
)

// OnFull says what [Pipe.Capture] does when the pipe has no room.
type OnFull uint8

// What can be done.
const (
	Wait           OnFull = iota // wait for room as long as the class says, then ErrFull
	Reject                       // ErrFull at once
	Spill                        // as Wait; Open insists on a spool directory, into which sealed frames make room
	DropAndDeclare               // drop the record, return nil, and declare the loss in the stream
)

// ClassConfig is how records of a retention class are treated. The zero ClassConfig is ready to use.
type ClassConfig struct {
	Durability Durability
	OnFull     OnFull
	Wait       time.Duration // for room, with Wait and Spill; 100 ms if 0
}

// SASL is a mechanism (RFC 4422) for brokers that want another one than PLAIN or SCRAM, such as AWS_MSK_IAM or
// OAUTHBEARER. It is used for every new connection, by several goroutines at once.
type SASL interface {
	// Name is the registered name of the mechanism.
	Name() string

	// Start begins one exchange: the initial response, nil for none, and what answers each challenge until it says
	// that the exchange is complete.
	Start(ctx context.Context) (next func(ctx context.Context, challenge []byte) (done bool, response []byte, err error), initial []byte, err error)
}

// Config configures [Open]. With STELE_WRITER set the zero Config works.
type Config struct {
	Credential string // path of the writer credential, or its bytes in base64; $STELE_WRITER if empty
	To         string // file:///dir or kafka://host:port[,…]/topic; $STELE_TO if empty, else what the credential says

	// SpoolDir takes frames that a broker cannot take, and makes durability Spooled possible. A file:// destination is
	// itself the spool.
	SpoolDir   string
	SpoolBytes int64  // bound of the spool directory; 4 GiB if 0, none if negative
	StateDir   string // links each stream to its predecessor; state/<service> in the spool if empty, else none

	Memory  int64 // bound in bytes for records and frames that the transport has not taken yet; 32 MiB if 0
	MaxBody int   // bytes of the largest body; 16 MiB if 0

	Default ClassConfig            // for classes that Classes does not name
	Classes map[string]ClassConfig // by name

	// Redact may change its record, which is a copy, before it is sealed. It runs off the caller's path, on one
	// goroutine for each stream. If it fails or panics the body is withheld and the record marked.
	Redact func(*Record) error

	// Sample is asked once for each Call, at Begin. Records of a call that is not sampled are kept only if the call
	// ends in an error; else they are counted in the stream.
	Sample func(*Record) bool

	Streams int           // independent streams, each with its own sealing goroutine; 1 if 0, at most 64
	Linger  time.Duration // how long a record may wait for company before it is sealed; 250 ms if 0, which is also the most
	Beat    time.Duration // interval of the sign of life; 10 s if 0

	TLS                *tls.Config // for kafka:// destinations
	SASL               SASL
	Username, Password string // for PLAIN and SCRAM; $STELE_KAFKA_USERNAME and $STELE_KAFKA_PASSWORD if empty

	Compression string       // "small" (default) or "fast"
	Logger      *slog.Logger // nil: silent; never sees content
}

const (
	defaultMemory  = 32 << 20
	minMemory      = 256 << 10
	defaultMaxBody = 16 << 20
	defaultSpool   = 4 << 30
	defaultClass   = "default"
	maxStreams     = 64
	maxLinger      = 250 * time.Millisecond
)

// settings is a Config with its gaps filled and checked.
type settings struct {
	Config
	writer  *identity.Writer
	filedir string // directory of a file:// destination
}

func (c Config) settle() (*settings, error) {
	s := &settings{Config: c}
	if err := s.settleWriter(); err != nil {
		return nil, err
	}
	if err := s.settleDirs(); err != nil {
		return nil, err
	}
	if err := s.settleNumbers(); err != nil {
		return nil, err
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	s.Username = cmp.Or(s.Username, os.Getenv("STELE_KAFKA_USERNAME"))
	s.Password = cmp.Or(s.Password, os.Getenv("STELE_KAFKA_PASSWORD"))
	return s, s.checkClasses()
}

func badConfig(what, format string, args ...any) error {
	return &OpError{"open", what, fmt.Errorf(format, args...)}
}

func (s *settings) settleWriter() (err error) {
	source := "Config.Credential"
	if s.Credential == "" {
		source, s.Credential = "STELE_WRITER", os.Getenv("STELE_WRITER")
	}
	if s.Credential == "" {
		return badConfig("credential", "none: set STELE_WRITER to the path of a writer credential, or to its base64 text")
	}
	s.writer, err = identity.LoadWriter(s.Credential)
	if err != nil {
		return badConfig(source, "%w", err)
	}
	s.To = cmp.Or(s.To, os.Getenv("STELE_TO"), s.writer.To)
	return nil
}

func (s *settings) settleDirs() error {
	switch {
	case strings.HasPrefix(s.To, "kafka://"):
	case strings.HasPrefix(s.To, "file:"):
		u, err := url.Parse(s.To)
		if err != nil || u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "" || u.User != nil {
			return badConfig("destination", "this is no file URL; write file:///absolute/path")
		}
		s.filedir = u.Path
	case s.To == "":
		return badConfig("destination", "neither STELE_TO nor the credential names one; write file:///dir or kafka://host:port/topic")
	default:
		scheme, _, _ := strings.Cut(s.To, ":")
		return badConfig("destination", "%q is no transport; write file:///dir or kafka://host:port/topic", scheme)
	}
	if s.StateDir == "" {
		if base := cmp.Or(s.filedir, s.SpoolDir); base != "" {
			s.StateDir = filepath.Join(base, "state", s.writer.Service)
		}
	}
	return nil
}

func (s *settings) settleNumbers() error {
	s.Memory = cmp.Or(s.Memory, defaultMemory)
	s.MaxBody = cmp.Or(s.MaxBody, defaultMaxBody)
	s.SpoolBytes = cmp.Or(s.SpoolBytes, defaultSpool)
	s.Streams = cmp.Or(s.Streams, 1)
	s.Linger = cmp.Or(s.Linger, maxLinger)
	s.Beat = cmp.Or(s.Beat, 10*time.Second)
	s.Compression = cmp.Or(s.Compression, "small")
	switch {
	case s.Memory < minMemory:
		return badConfig("Memory", "%d bytes are too few, the least is %d", s.Memory, minMemory)
	case s.MaxBody < 0 || s.MaxBody > 1<<30:
		return badConfig("MaxBody", "%d bytes are not between 0 and 1 GiB", s.MaxBody)
	case s.Streams < 0 || s.Streams > maxStreams:
		return badConfig("Streams", "%d is not between 1 and %d", s.Streams, maxStreams)
	case s.Linger < 0 || s.Linger > maxLinger:
		return badConfig("Linger", "%v is not between 0 and %v", s.Linger, maxLinger)
	case s.Beat < time.Millisecond || s.Beat > time.Hour:
		return badConfig("Beat", "%v is not between 1 ms and 1 h", s.Beat)
	case s.Compression != "small" && s.Compression != "fast":
		return badConfig("Compression", `%q is neither "small" nor "fast"`, s.Compression)
	}
	return nil
}

func (s *settings) checkClasses() error {
	check := func(name string, c ClassConfig) error {
		spool := s.filedir != "" || s.SpoolDir != ""
		switch {
		case c.Durability > Acked || c.OnFull > DropAndDeclare || c.Wait < 0:
			return badConfig("class "+name, "a value is out of range")
		case c.Durability == Spooled && !spool:
			return badConfig("class "+name, "durability Spooled needs Config.SpoolDir")
		case c.OnFull == Spill && !spool:
			return badConfig("class "+name, "Spill needs Config.SpoolDir")
		}
		return nil
	}
	errs := []error{check(defaultClass, s.Default)}
	for name, c := range s.Classes {
		if !record.ValidClass(name) {
			errs = append(errs, badConfig("Classes", "%q is no class name: 1 to 32 of a-z, 0-9 and -", name))
		}
		errs = append(errs, check(name, c))
	}
	return errors.Join(errs...)
}
