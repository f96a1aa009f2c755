package settings_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stelelog/stele/cmd/internal/settings"
)

func env(pairs ...string) func(string) (string, bool) {
	values := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := values[name]; return v, ok }
}

func config(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stele.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, o settings.Options) *settings.Settings {
	t.Helper()
	if o.Env == nil {
		o.Env = env()
	}
	s, err := settings.Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPrecedence(t *testing.T) {
	path := config(t, "archive: file:///yaml\nto: file:///yaml\nlog_level: debug\n\ntrust: t.stele\n")
	variables := []string{"STELE_CONFIG", path, "STELE_ARCHIVE", "file:///env", "STELE_TO", "", "STELE_TRUST", "from/env"}
	s := load(t, settings.Options{Env: env(variables...), Flags: map[string]string{"archive": "file:///flag", "segment_age": "2s"}})
	for name, want := range map[string][2]string{
		"config":      {path, "STELE_CONFIG"},
		"archive":     {"file:///flag", "--archive"},
		"to":          {"file:///yaml", path + ":2"}, // an empty variable is none
		"from":        {"file:///yaml", "same as to"},
		"trust":       {"from/env", "STELE_TRUST"}, // relative to where the command runs
		"log_level":   {"debug", path + ":3"},
		"log_format":  {"text", "default"},
		"segment_age": {"2s", "--segment-age"},
		"idle_age":    {"1h", "default"},
		"metrics":     {"", ""},
		"as":          {"", ""},
	} {
		i := slices.IndexFunc(s.List(), func(v settings.Value) bool { return v.Name == name })
		if i < 0 {
			t.Errorf("%s is not listed", name)
		} else if v := s.List()[i]; v.Value != want[0] || v.Source != want[1] || s.Source(name) != want[1] {
			t.Errorf("%+v, want %s", v, want)
		}
	}
	if s.SegmentAge != 2*time.Second || s.Archive != "file:///flag" || s.SegmentBytes != 64<<20 {
		t.Errorf("%+v", s)
	}
	other := config(t, "archive: file:///other\n")
	if s := load(t, settings.Options{Env: env("STELE_CONFIG", path), Config: other}); s.Archive != "file:///other" || s.Source("config") != "--config" {
		t.Errorf("--config does not win: %s", s.Archive)
	}
}

func TestOneVariableIsEnough(t *testing.T) {
	path := config(t, "archive: file:///a\nto: file:///spool\n")
	dir := filepath.Dir(path)
	for _, role := range []string{"reader", "admin", "compactor", "keys"} {
		s := load(t, settings.Options{Env: env("STELE_CONFIG", path), Role: role})
		want := settings.Settings{Archive: "file:///a", To: "file:///spool", From: "file:///spool", Trust: dir + "/trust.stele",
			Writer: dir + "/writer/default.stele", As: dir + "/" + role, Keys: dir + "/keys.sock",
			StateDir: dir + "/state", SpoolDir: dir + "/state/spool"}
		got := settings.Settings{Archive: s.Archive, To: s.To, From: s.From, Trust: s.Trust, Writer: s.Writer, As: s.As, Keys: s.Keys,
			StateDir: s.StateDir, SpoolDir: s.SpoolDir}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v\nwant %+v", role, got, want)
		}
		if err := s.Need("archive", "to", "trust", "as"); err != nil {
			t.Error(err)
		}
	}
	if s := load(t, settings.Options{Env: env("STELE_CONFIG", path, "STELE_AS", "/else/where"), Role: "reader"}); s.As != "/else/where" {
		t.Errorf("STELE_AS does not win: %s", s.As)
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	path := config(t, "trust: ../t\nwriter: /abs/w\nas: roles/r\nkeys: k.sock\nspool_dir: sp\nstate_dir: st\n")
	dir := filepath.Dir(path)
	s := load(t, settings.Options{Env: env("STELE_CONFIG", path)})
	got := []string{s.Trust, s.Writer, s.As, s.Keys, s.SpoolDir, s.StateDir}
	want := []string{filepath.Join(dir, "../t"), "/abs/w", dir + "/roles/r", dir + "/k.sock", dir + "/sp", dir + "/st"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

func TestBadFiles(t *testing.T) {
	for text, want := range map[string]string{
		"archive: file:///a\nregoin: x\n":        `stele.yaml:2: unknown setting "regoin"; known are archive, to,`,
		"to: file:///a\n\nto: file:///b\n":       "stele.yaml:3: to appears twice",
		"Archive: file:///a":                     `:1: unknown setting "Archive"`,
		"kafka_password: hunter2":                ":1: kafka_password is a secret and not kept in files: set STELE_KAFKA_PASSWORD",
		"archive:\n":                             ":1: archive has no value",
		"archive: ''\n":                          ":1: archive has no value",
		"archive: /var/lib/a\n":                  ":1: archive: is no URL",
		"archive: [a]\n":                         ":1: archive is no plain value",
		"archive: {a: b}\n":                      ":1: archive is no plain value",
		"x: &a file:///a\narchive: *a":           ":1: unknown setting",
		"archive: &a file:///a\nto: *a":          ":2: to is no plain value",
		"- archive":                              "line 1: is no mapping",
		"archive: a: b":                          "mapping values are not allowed",
		"---\nto: file:///a\n---\nto: file:///b": "more than one document",
		"segment_age: 60":                        `:1: segment_age: "60" is no duration such as`,
		"segment_age: 10ms":                      "10ms is less than a second",
		"segment_bytes: 64MB":                    `"64MB" is no size such as 64MiB`,
		"segment_bytes: 0":                       "is no size",
		"segment_bytes: 9999999999GiB":           "is no size",
		"metrics: '9464'":                        "is not host:port",
		"log_level: loud":                        `"loud" is none of debug, info, warn, error`,
		"partitions: [0, 0]":                     "is no list of partitions",
		"partitions: [[0]]":                      "partitions is no plain value",
		"partitions: -1":                         "is no list of partitions",
		"writer: '{\"stele\":\"writer/v1\"}'":    "writer is a path here",
	} {
		_, err := settings.Load(settings.Options{Env: env("STELE_CONFIG", config(t, text))})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q gives %v, want %q", text, err, want)
		}
	}
	_, err := settings.Load(settings.Options{Env: env("STELE_CONFIG", filepath.Join(t.TempDir(), "none.yaml"))})
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "STELE_CONFIG: ") || !strings.Contains(err.Error(), "stele init") {
		t.Errorf("a missing file gives %v", err)
	}
	for _, text := range []string{"", "# nothing\n", "---\n", "null\n"} {
		load(t, settings.Options{Env: env("STELE_CONFIG", config(t, text))})
	}
}

func TestBadFlagsAndVariables(t *testing.T) {
	if _, err := settings.Load(settings.Options{Env: env("STELE_TO", "x")}); err == nil || !strings.HasPrefix(err.Error(), "STELE_TO: to: is no URL") {
		t.Error(err)
	}
	_, err := settings.Load(settings.Options{Env: env(), Flags: map[string]string{"heads_every": "x"}})
	if err == nil || !strings.HasPrefix(err.Error(), `--heads-every: heads_every: "x"`) {
		t.Error(err)
	}
}

func TestNeed(t *testing.T) {
	s := load(t, settings.Options{Env: env("STELE_TO", "file:///a")})
	for name, want := range map[string]string{
		"archive":        "archive is not set: use --archive, or set STELE_ARCHIVE, or put archive into stele.yaml",
		"keys":           "keys is not set: use --keys, or put keys",
		"kafka_password": "kafka_password is not set: set STELE_KAFKA_PASSWORD",
	} {
		if err := s.Need("to", name); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := s.Need("to", "from", "log_level"); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	const secret = "hunter2"
	credential := `{"stele":"writer/v1","key":"` + secret + `"}`
	s := load(t, settings.Options{Env: env("STELE_KAFKA_USERNAME", secret, "STELE_KAFKA_PASSWORD", secret, "AWS_SECRET_ACCESS_KEY", secret,
		"AWS_ACCESS_KEY_ID", secret, "AWS_SESSION_TOKEN", secret, "AWS_PROFILE", "ops", "STELE_WRITER", credential,
		"STELE_ARCHIVE", "s3://key:"+secret+"@bucket", "STELE_TO", "kafka://u:"+secret+"@h/t")})
	set := map[string]string{}
	for _, v := range s.List() {
		if strings.Contains(v.Value, secret) {
			t.Errorf("%s shows %s", v.Name, v.Value)
		}
		set[v.Name] = v.Value
	}
	for _, name := range []string{"kafka_username", "kafka_password", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "writer"} {
		if set[name] != "set" {
			t.Errorf("%s is shown as %q", name, set[name])
		}
	}
	if set["AWS_PROFILE"] != "ops" || s.KafkaPassword != secret || s.Writer != credential {
		t.Errorf("%v", set)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stele.yaml")
	want := load(t, settings.Options{Env: env(), Flags: map[string]string{"archive": "s3://bucket/p?endpoint=http://127.0.0.1:9000&region=eu",
		"to": "kafka://a:9092,b:9092/topic", "writer": filepath.Join(dir, "writer", "other.stele"), "keys": "/run/stele.sock",
		"partitions": "2,0", "idle_age": "1d", "metrics": ":9464"}})
	if err := settings.Write(path, want); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, text)
	got := load(t, settings.Options{Env: env("STELE_CONFIG", path)})
	if got.Archive != want.Archive || got.To != want.To || got.From != want.To || got.Writer != want.Writer || got.Keys != want.Keys ||
		!slices.Equal(got.Partitions, []int{0, 2}) || got.IdleAge != want.IdleAge || got.Metrics != want.Metrics ||
		got.SegmentBytes != want.SegmentBytes || got.Trust != filepath.Join(dir, "trust.stele") {
		t.Errorf("%+v\ncame back as\n%+v", want, got)
	}
	if err := settings.Write(path, want); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second Write gives %v", err)
	}
	if err := settings.Write(filepath.Join(dir, "b.yaml"), &settings.Settings{To: "kafka://u:hunter2@h/t"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a URL with a password gives %v", err)
	}
	if err := settings.Write(filepath.Join(dir, "b.yaml"), &settings.Settings{Writer: "{}"}); err == nil {
		t.Error("a credential is written")
	}
}

// golden compares with testdata/stele.yaml, which shows what users get.
func golden(t *testing.T, text []byte) {
	t.Helper()
	want, err := os.ReadFile("testdata/stele.yaml")
	if err != nil || string(want) != string(text) {
		t.Errorf("written:\n%s\nwant (%v):\n%s", text, err, want)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "90s": 90 * time.Second, "1m30s": 90 * time.Second, "0d": 0, "0": 0, "106751d": 106751 * 24 * time.Hour,
	} {
		if got, err := settings.ParseDuration(text); got != want || err != nil {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "30", "-1d", "-5s", "1.5d", "1d-1h", "1d+1h", "1d1d", "106752d", "106751d24h", "30 d", "1w", "9999999999999999999d"} {
		if got, err := settings.ParseDuration(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := time.Duration(rapid.Int64Min(0).Draw(t, "duration"))
		if got, err := settings.ParseDuration(settings.FormatDuration(want)); got != want || err != nil {
			t.Fatalf("%v is written %s and read %v, %v", want, settings.FormatDuration(want), got, err)
		}
	})
}

func TestFields(t *testing.T) {
	names := map[string]bool{}
	for _, f := range settings.Fields() {
		if f.Help == "" || strings.Contains(f.Flag(), "_") || names[f.Name] || strings.HasPrefix(f.Name, "kafka_") {
			t.Errorf("%+v", f)
		}
		names[f.Name] = true
	}
	for _, name := range []string{"archive", "to", "from", "trust", "writer", "as"} {
		if !names[name] {
			t.Errorf("%s is missing among %v", name, slices.Collect(maps.Keys(names)))
		}
	}
}
