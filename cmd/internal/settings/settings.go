// Package settings finds the settings of the commands: a flag wins over the environment, which wins over stele.yaml,
// which wins over a default. With STELE_CONFIG=DIR/stele.yaml alone everything on one machine resolves.
package settings

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/stelelog/stele/backup/location"
)

// Settings are all settings of all commands. A field that no source names has its default, or is empty.
type Settings struct {
	Config string // path of stele.yaml

	Archive string // URL of the store
	To      string // URL that writers send to
	From    string // URL that the compactor reads; To if nothing else is said
	Trust   string // path of the trust file
	Writer  string // path of the writer credential, or the credential itself
	As      string // directory of the role to act as
	Keys    string // path of the socket of the key service
	Replica string // URL of the second store of the key store; empty if there is none

	// Custodians are URLs by name, Custody the authorised sets of names; both may be empty.
	Custodians map[string]string
	Custody    [][]string

	SpoolDir string // where a writer puts what it cannot send
	StateDir string // where a writer keeps where it stopped

	SegmentBytes int64
	SegmentAge   time.Duration
	HeadsEvery   time.Duration
	IdleAge      time.Duration
	EraseEvery   time.Duration
	ExpireEvery  time.Duration // 0: never
	Partitions   []int         // nil shares them with the other compactors

	Metrics   string // host:port; empty means none
	Tiles     string // host:port; empty means none
	LogLevel  string // debug, info, warn or error
	LogFormat string // text or json

	KafkaUsername, KafkaPassword string // from the environment only

	sources map[string]string
	aws     []Value
}

// Value is one setting as 'stele env' shows it: without secrets.
type Value struct {
	Name   string `json:"name"`
	Value  string `json:"value,omitempty"`
	Source string `json:"source,omitempty"` // empty if it is not set
}

// Source says where a setting came from: a flag, a variable, a line of stele.yaml, "default", or "" if it is not set.
func (s *Settings) Source(name string) string { return s.sources[name] }

// Origin says the same in a sentence: "to is set by --to".
func (s *Settings) Origin(name string) string {
	switch source := s.sources[name]; source {
	case "":
		return name + " is not set"
	case besideConfig:
		return name + " is not set, so it is the one " + source
	case sameAsTo:
		return name + " is not set, so it is the same as to; " + s.Origin("to")
	case "default":
		return name + " is not set and has its default"
	default:
		return name + " is set by " + source
	}
}

// Sources of settings that nobody has set.
const (
	besideConfig = "beside stele.yaml"
	sameAsTo     = "same as to"
)

// List returns all settings, the order of stele.yaml first, then what only the environment has. Secrets appear as "set".
func (s *Settings) List() []Value {
	list := []Value{{"config", s.Config, s.sources["config"]}}
	for _, f := range fields() {
		v := Value{f.Name, f.get(s), s.sources[f.Name]}
		switch {
		case f.secret && v.Value != "", f.Name == "writer" && isCredential(v.Value):
			v.Value = "set"
		case f.url:
			v.Value = location.Redact(v.Value)
		}
		list = append(list, v)
	}
	return append(list, s.aws...)
}

// isCredential reports whether text is a writer credential and not the path of one.
func isCredential(text string) bool {
	return len(text) > 1000 || strings.HasPrefix(strings.TrimSpace(text), "{")
}

// Need returns an error that says how to set what is missing of names.
func (s *Settings) Need(names ...string) error {
	for _, f := range fields() {
		for _, name := range names {
			if f.Name == name && f.get(s) == "" {
				return fmt.Errorf("%s is not set: %s", name, f.ways())
			}
		}
	}
	return nil
}

// ways tells how a setting can be set.
func (f *Field) ways() string {
	var ways []string
	if !f.secret {
		ways = append(ways, "use --"+f.Flag())
	}
	if f.Env != "" {
		ways = append(ways, "set "+f.Env)
	}
	if !f.secret {
		ways = append(ways, "put "+f.Name+" into stele.yaml and name that with STELE_CONFIG")
	}
	return strings.Join(ways, ", or ")
}

// Options say where to look.
type Options struct {
	Config string                      // value of the flag --config, if it was given
	Flags  map[string]string           // flags that were given, by the name of the setting
	Env    func(string) (string, bool) // os.LookupEnv
	Role   string                      // role of the verb: reader, admin, compactor, keys; empty if it needs none
}

// Load finds all settings. Errors name the source, for stele.yaml with its line, and never show secrets.
func Load(o Options) (*Settings, error) {
	s := &Settings{sources: map[string]string{}}
	for _, f := range fields() {
		if f.Default == "" {
			continue
		}
		if err := s.set(&f, f.Default, "default"); err != nil {
			return nil, err
		}
	}
	if value, ok := o.Env("STELE_CONFIG"); ok && value != "" {
		s.Config, s.sources["config"] = value, "STELE_CONFIG"
	}
	if o.Config != "" {
		s.Config, s.sources["config"] = o.Config, "--config"
	}
	if s.Config != "" {
		if err := s.readFile(); err != nil {
			return nil, err
		}
	}
	if err := s.readEnvironment(o.Env); err != nil {
		return nil, err
	}
	for _, f := range fields() {
		if value, ok := o.Flags[f.Name]; ok {
			if err := s.set(&f, value, "--"+f.Flag()); err != nil {
				return nil, err
			}
		}
	}
	s.derive(o.Role)
	return s, nil
}

// set stores a value and where it came from.
func (s *Settings) set(f *Field, value, source string) error {
	if err := f.put(s, value); err != nil {
		return fmt.Errorf("%s: %s: %w", source, f.Name, err)
	}
	s.sources[f.Name] = source
	return nil
}

func (s *Settings) readEnvironment(lookup func(string) (string, bool)) error {
	for _, f := range fields() {
		if f.Env == "" {
			continue
		}
		if value, ok := lookup(f.Env); ok && value != "" {
			if err := s.set(&f, value, f.Env); err != nil {
				return err
			}
		}
	}
	for _, v := range []struct {
		name   string
		secret bool
	}{
		{"AWS_ACCESS_KEY_ID", true}, {"AWS_SECRET_ACCESS_KEY", true}, {"AWS_SESSION_TOKEN", true},
		{"AWS_PROFILE", false}, {"AWS_SHARED_CREDENTIALS_FILE", false}, {"AWS_REGION", false}, {"AWS_DEFAULT_REGION", false},
	} {
		shown := Value{Name: v.name}
		if value, ok := lookup(v.name); ok && value != "" {
			shown.Value, shown.Source = value, "environment"
			if v.secret {
				shown.Value = "set"
			}
		}
		s.aws = append(s.aws, shown)
	}
	return nil
}

// derive fills what is empty: 'stele init' puts all files beside stele.yaml.
func (s *Settings) derive(role string) {
	fill := func(name string, field *string, value, source string) {
		if *field == "" && value != "" {
			*field, s.sources[name] = value, source
		}
	}
	fill("from", &s.From, s.To, sameAsTo)
	if s.Config == "" {
		return
	}
	dir := filepath.Dir(s.Config)
	for _, d := range []struct {
		name  string
		field *string
		path  string
	}{
		{"trust", &s.Trust, "trust.stele"}, {"writer", &s.Writer, "writer/default.stele"}, {"keys", &s.Keys, "keys.sock"},
		{"state_dir", &s.StateDir, "state"}, {"spool_dir", &s.SpoolDir, "state/spool"}, {"as", &s.As, role},
	} {
		if d.path != "" {
			fill(d.name, d.field, filepath.Join(dir, filepath.FromSlash(d.path)), besideConfig)
		}
	}
}
