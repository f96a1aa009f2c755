package settings

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Field describes one setting.
type Field struct {
	Name    string // in stele.yaml; the flag has '-' for '_'
	Env     string // variable; empty if there is none
	Default string
	Help    string // one line

	example           string // for stele.yaml, where nothing is usual
	secret, url, path bool
	put               func(*Settings, string) error
	get               func(*Settings) string
}

// Flag is the name of the flag, without the dashes. There are no flags for secrets.
func (f *Field) Flag() string { return strings.ReplaceAll(f.Name, "_", "-") }

// Fields lists the settings that have a flag, in the order of stele.yaml.
func Fields() []Field {
	return slices.DeleteFunc(fields(), func(f Field) bool { return f.secret })
}

func fields() []Field {
	from := address("from", "STELE_FROM", "where the compactor reads; the same as to if left out", func(s *Settings) *string { return &s.From })
	from.example = "kafka://host:9092/topic"
	replica := address("replica", "STELE_REPLICA", "second store that gets the key store, elsewhere: file:///path or s3://bucket/prefix?endpoint=…; nothing is erased before it is there", func(s *Settings) *string { return &s.Replica })
	replica.example = "s3://other-bucket/prefix"
	as := file("as", "STELE_AS", "directory of the role to act as, or its file; left out, each verb takes its own", func(s *Settings) *string { return &s.As })
	as.example = "reader"
	return []Field{
		address("archive", "STELE_ARCHIVE", "store of the archive: file:///path or s3://bucket/prefix?endpoint=…&region=…", func(s *Settings) *string { return &s.Archive }),
		address("to", "STELE_TO", "where writers send: kafka://host:port/topic or file:///spool", func(s *Settings) *string { return &s.To }),
		from,
		file("trust", "STELE_TRUST", "trust file, public: all that is needed to verify", func(s *Settings) *string { return &s.Trust }),
		file("writer", "STELE_WRITER", "writer credential: a path (in STELE_WRITER also the credential itself)", func(s *Settings) *string { return &s.Writer }),
		as,
		file("keys", "", "socket of the key service", func(s *Settings) *string { return &s.Keys }),
		replica,
		{Name: "custodians", example: "a=file:///var/lib/stele/custodian", Help: "who holds the top key of the key store: name=URL, several with spaces between",
			put: func(s *Settings, v string) (err error) { s.Custodians, err = parseCustodians(v); return err },
			get: func(s *Settings) string { return formatCustodians(s.Custodians) }},
		{Name: "custody", example: "a+b a+c b+c", Help: "which custodians are enough together, from the next erasure on; left out, each of them alone at first, then as before",
			put: func(s *Settings, v string) (err error) { s.Custody, err = parseCustody(v); return err },
			get: func(s *Settings) string { return formatCustody(s.Custody) }},
		file("spool_dir", "", "where a writer keeps what it cannot send at the moment", func(s *Settings) *string { return &s.SpoolDir }),
		file("state_dir", "", "where a writer keeps how far it came", func(s *Settings) *string { return &s.StateDir }),
		{Name: "segment_bytes", Default: "64MiB", Help: "the compactor commits a segment at this size",
			put: func(s *Settings, v string) (err error) { s.SegmentBytes, err = parseSize(v); return err },
			get: func(s *Settings) string { return formatSize(s.SegmentBytes) }},
		duration("segment_age", "1m", "or at this age", func(s *Settings) *time.Duration { return &s.SegmentAge }),
		duration("heads_every", "10s", "how often new heads go into the control log", func(s *Settings) *time.Duration { return &s.HeadsEvery }),
		duration("idle_age", "1h", "how often a log is committed to which nothing but signs of life came", func(s *Settings) *time.Duration { return &s.IdleAge }),
		duration("erase_every", "1h", "how long approved erasures that are not urgent wait for others, to be carried out together", func(s *Settings) *time.Duration { return &s.EraseEvery }),
		{Name: "expire_every", example: "24h", Help: "how often the compactor removes what has expired, by the time of witnesses; left out, never: 'stele expire' does",
			put: func(s *Settings, v string) (err error) {
				if s.ExpireEvery, err = ParseDuration(v); err == nil && s.ExpireEvery < time.Second {
					err = fmt.Errorf("%s is less than a second", v)
				}
				return err
			},
			get: func(s *Settings) string {
				if s.ExpireEvery == 0 {
					return ""
				}
				return FormatDuration(s.ExpireEvery)
			}},
		{Name: "partitions", example: "0,2", Help: "partitions of this compactor, as 0,2,5; left out, compactors share them",
			put: func(s *Settings, v string) (err error) { s.Partitions, err = parsePartitions(v); return err },
			get: func(s *Settings) string {
				return strings.Trim(strings.ReplaceAll(fmt.Sprint(s.Partitions), " ", ","), "[]")
			}},
		{Name: "metrics", example: "127.0.0.1:9464", Help: "host:port for /metrics, /healthz and /readyz of the compactor",
			put: func(s *Settings, v string) error { s.Metrics = v; return checkAddress(v) },
			get: func(s *Settings) string { return s.Metrics }},
		{Name: "tiles", example: "127.0.0.1:9465", Help: "host:port where the compactor serves the logs as C2SP tiles, clear columns and all; left out, nowhere",
			put: func(s *Settings, v string) error { s.Tiles = v; return checkAddress(v) },
			get: func(s *Settings) string { return s.Tiles }},
		choice("log_level", "info", "what is logged", []string{"debug", "info", "warn", "error"}, func(s *Settings) *string { return &s.LogLevel }),
		choice("log_format", "text", "how it is logged", []string{"text", "json"}, func(s *Settings) *string { return &s.LogFormat }),
		secret("kafka_username", "STELE_KAFKA_USERNAME", func(s *Settings) *string { return &s.KafkaUsername }),
		secret("kafka_password", "STELE_KAFKA_PASSWORD", func(s *Settings) *string { return &s.KafkaPassword }),
	}
}

func address(name, env, help string, at func(*Settings) *string) Field {
	f := file(name, env, help, at)
	f.path, f.url = false, true
	f.put = func(s *Settings, v string) error {
		if !strings.Contains(v, "://") {
			other := "kafka://host:port/topic"
			if name == "archive" || name == "replica" {
				other = "s3://bucket/prefix"
			}
			return errors.New("is no URL: write file:// and an absolute path, as in file:///srv/" + name + ", or " + other)
		}
		*at(s) = v
		return nil
	}
	return f
}

func file(name, env, help string, at func(*Settings) *string) Field {
	return Field{Name: name, Env: env, Help: help, path: true,
		put: func(s *Settings, v string) error { *at(s) = v; return nil }, get: func(s *Settings) string { return *at(s) }}
}

func secret(name, env string, at func(*Settings) *string) Field {
	f := file(name, env, "for Kafka; in the environment only", at)
	f.path, f.secret = false, true
	return f
}

func duration(name, value, help string, at func(*Settings) *time.Duration) Field {
	return Field{Name: name, Default: value, Help: help,
		put: func(s *Settings, v string) (err error) {
			*at(s), err = ParseDuration(v)
			if err == nil && *at(s) < time.Second {
				err = fmt.Errorf("%s is less than a second", v)
			}
			return err
		},
		get: func(s *Settings) string { return FormatDuration(*at(s)) }}
}

func choice(name, value, help string, of []string, at func(*Settings) *string) Field {
	all := strings.Join(of, ", ")
	return Field{Name: name, Default: value, Help: help + ": " + all,
		put: func(s *Settings, v string) error {
			if *at(s) = v; !slices.Contains(of, v) {
				return fmt.Errorf("%q is none of %s", v, all)
			}
			return nil
		},
		get: func(s *Settings) string { return *at(s) }}
}

func checkAddress(v string) error {
	_, port, err := net.SplitHostPort(v)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
		return fmt.Errorf("%q is not host:port, such as 127.0.0.1:9464 or :9464", v)
	}
	return nil
}

func parsePartitions(v string) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(v, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31)
		if err != nil || slices.Contains(all, int(n)) {
			return nil, fmt.Errorf("%q is no list of partitions such as 0,2,5", v)
		}
		all = append(all, int(n))
	}
	slices.Sort(all)
	return all, nil
}

const day = 24 * time.Hour

// ParseDuration reads what [time.ParseDuration] reads, and days before the rest: 30d, 1d12h. Negative ones are refused.
func ParseDuration(v string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no duration such as 90s, 10m, 12h or 30d", v)
	rest, days := v, time.Duration(0)
	if number, behind, ok := strings.Cut(v, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return 0, bad
		}
		days, rest = time.Duration(n)*day, behind
		if rest == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.HasPrefix(rest, "+") || d > math.MaxInt64-days {
		return 0, bad
	}
	return days + d, nil
}

// FormatDuration writes the short form that [ParseDuration] reads.
func FormatDuration(d time.Duration) string {
	days, rest := d/day, d%day
	text := rest.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	switch {
	case days == 0:
		return text
	case rest == 0:
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%s", days, text)
}

var units = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// parseSize reads bytes: a number, alone or with KiB, MiB or GiB behind.
func parseSize(v string) (int64, error) {
	number, factor := v, int64(1)
	for _, u := range units {
		if before, ok := strings.CutSuffix(v, u.name); ok {
			number, factor = strings.TrimSpace(before), u.size
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is no size such as 64MiB", v)
	}
	return n * factor, nil
}

func formatSize(n int64) string {
	for _, u := range units {
		if n > 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
