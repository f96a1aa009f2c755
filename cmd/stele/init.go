package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/cmd/internal/advice"
	"github.com/stelelog/stele/cmd/internal/settings"
)

// longKeep is the lock beyond which init asks: an archive that nobody can delete costs money for as long.
const longKeep = 400 * 24 * time.Hour

type initFlags struct {
	out, name, lock, keep   string
	period                  string
	partitions, replication int
	yes                     bool
	span                    time.Duration // keep
}

func (a *app) initCommand() *cobra.Command {
	f := initFlags{}
	cmd := &cobra.Command{
		Use:   "init ARCHIVE",
		Short: "Make an archive: keys, roles, topics and stele.yaml",
		Long: `Make an archive in an empty place, and the keys of all roles.

ARCHIVE is file:///path or s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1. The
bucket needs versions and object lock; one that is missing is made so. --to is where writers send:
file:///spool (the default is the folder "spool" in --out), or kafka://host:port/topic; then the topics
are made, too. Topics with messages are refused: two archives in one topic stand in each other's way.
Topics that are empty and were used before need a confirmation, or --yes.

Init first tries out what the store really enforces, and puts the answer into the archive. Into --out
it writes stele.yaml, trust.stele (public keys only, all that an auditor needs), the first writer
credential, and a folder for each role. It says what to move offline.

Objects are locked when they are written. The default, governance for 30 days, can be lifted by who
holds a bypass permission. A compliance lock can be lifted by nobody before it ends, and neither can
a long one be undone: init asks for confirmation, or wants --yes.`,
		Example: `  stele init file:///srv/archive --out /etc/stele
  stele init 's3://audit/chat?region=eu-central-1' --to kafka://broker:9092/chat --partitions 6 --replication 3
  stele init s3://audit/chat --lock compliance --keep 184d --yes`,
		Args: takes("ARCHIVE"),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) { return a.init(cmd.Context(), args[0], f) }),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", ".", "where stele.yaml, trust.stele and the roles' folders go")
	flags.StringVar(&f.name, "name", "", "name of the archive (default: the last part of its URL)")
	flags.StringVar(&f.lock, "lock", "", "none, governance or compliance (default governance; advisory in a directory, which has no other)")
	flags.StringVar(&f.keep, "keep", "30d", "how long objects are locked at least")
	flags.StringVar(&f.period, "period", "quarter", "when a log is closed and the next begun: year, quarter or month; day, hour and minute are for tests")
	flags.IntVar(&f.partitions, "partitions", 3, "partitions of the topic; one log each")
	flags.IntVar(&f.replication, "replication", 1, "replicas of the topics")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	return cmd
}

// initAnswer says what was made.
type initAnswer struct {
	Archive  string            `json:"archive"`
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	To       string            `json:"to"`
	Lock     string            `json:"lock"`
	KeepDays int               `json:"keep_days"`
	Config   string            `json:"config"`
	Trust    string            `json:"trust"`
	Checksum string            `json:"trust_sha256"`
	Writer   string            `json:"writer"`
	Roles    map[string]string `json:"roles"`
	Offline  []string          `json:"offline"`
	Probe    []probe.Result    `json:"probe"`
	// Custodians of the key store; without any it is the one in the keys folder.
	Custodians map[string]string `json:"custodians,omitempty"`
	custody    [][]string
}

func (a *app) init(ctx context.Context, archive string, f initFlags) (answer, error) {
	if err := f.check(archive); err != nil {
		return nil, err
	}
	out, err := filepath.Abs(f.out)
	if err != nil {
		return nil, err
	}
	to := a.initTo(out)
	if err := location.CheckTransport(to); err != nil {
		return nil, usage("", "--to: %w", err)
	}
	if err := a.confirm(f); err != nil {
		return nil, err
	}
	if err := vacant(out); err != nil {
		return nil, err
	}
	if err := a.ownTransport(ctx, to, f); err != nil {
		return nil, err
	}
	store, err := location.Create(ctx, archive, worm.LockMode(f.lock), location.Options{})
	if err != nil {
		return nil, err
	}
	results, err := a.try(ctx, store, f)
	if err != nil {
		return nil, err
	}
	if err := a.initTransport(ctx, to, f); err != nil {
		return nil, err
	}
	set, err := a.initCustodians()
	if err != nil {
		return nil, err
	}
	setup, err := admin.Init(ctx, admin.InitConfig{Store: store, Name: f.name, To: to, Dir: out,
		Lock: worm.LockMode(f.lock), Keep: f.span, Partitions: f.partitions, Period: f.period, Probe: results,
		Custodians: keys.Custodians{URLs: set.Custodians, Sets: set.Custody}})
	if err != nil {
		return nil, err
	}
	ans := initAnswer{Archive: archive, ID: setup.Archive, Name: f.name, To: to, Lock: f.lock, KeepDays: int(f.span / (24 * time.Hour)),
		Config: filepath.Join(out, "stele.yaml"), Trust: setup.Trust, Checksum: setup.Checksum, Writer: setup.Writer,
		Roles: setup.Roles, Offline: setup.Offline, Probe: results, Custodians: set.Custodians, custody: set.Custody}
	if !isKafka(to) {
		if err := admin.OwnSpool(to, setup.Archive); err != nil {
			return ans, hinted(fmt.Errorf("the archive is made, but its spool is not: %w", err), "'compactor' does it when it starts")
		}
	}
	if err := writeSettings(ans); err != nil {
		return ans, hinted(fmt.Errorf("the archive is made, but not %s: %w", ans.Config, err), "write it by hand: archive, to, from, as docs/OPERATIONS.md says")
	}
	return ans, nil
}

// try finds out what the store enforces, and refuses one that does not hold what is asked for.
func (a *app) try(ctx context.Context, store worm.Store, f initFlags) ([]probe.Result, error) {
	for v, err := range store.Versions(ctx, "control/", "") {
		if err != nil {
			return nil, fmt.Errorf("the store cannot be listed: %w", err)
		}
		return nil, hinted(fmt.Errorf("the store holds an archive already (%s)", v.Key), "choose another path or prefix")
	}
	results, err := probe.Run(ctx, store, probe.Options{Lock: worm.LockMode(f.lock)})
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		if !r.OK && r.Name != probe.Clock {
			return nil, hinted(fmt.Errorf("the store does not enforce what an archive needs: %s: %s", r.Name, r.Detail),
				"choose another store or bucket; --lock none makes an archive that nothing holds")
		}
	}
	return results, nil
}

// initCustodians are those of the flags: another archive's settings say nothing about this one.
func (a *app) initCustodians() (*settings.Settings, error) {
	flags := map[string]string{}
	for _, name := range []string{"custodians", "custody"} {
		if v, ok := a.flags.given()[name]; ok {
			flags[name] = v
		}
	}
	s, err := settings.Load(settings.Options{Flags: flags, Env: func(string) (string, bool) { return "", false }})
	if err != nil {
		return nil, usage("see docs/CUSTODIANS.md", "%w", err)
	}
	return s, nil
}

// writeSettings makes stele.yaml.
func writeSettings(n initAnswer) error {
	s, err := settings.Load(settings.Options{Env: func(string) (string, bool) { return "", false }})
	if err != nil {
		return err
	}
	s.Archive, s.To, s.From = n.Archive, n.To, n.To
	s.Custodians, s.Custody = n.Custodians, n.custody
	return settings.Write(n.Config, s)
}

// check completes the flags and refuses those that make no sense.
func (f *initFlags) check(archive string) (err error) {
	usual, err := location.DefaultLock(archive)
	if err != nil {
		return usage("", "%w", err)
	}
	switch worm.LockMode(f.lock) {
	case "":
		f.lock = string(usual)
	case worm.LockNone, worm.LockGovernance, worm.LockCompliance:
	default:
		return usage("", "--lock is %q, none of none, governance, compliance", f.lock)
	}
	if f.span, err = parseDays(f.keep); err != nil {
		return usage("", "--keep: %w", err)
	}
	if f.partitions < 1 || f.replication < 1 {
		return usage("", "--partitions and --replication are at least 1")
	}
	if f.name == "" {
		f.name = nameOf(archive)
	}
	if !validName(f.name) {
		return usage("", "--name: %q is no name of an archive: %s", f.name, nameRule)
	}
	return nil
}

const nameRule = "use 1 to 63 of a–z 0–9 . -, none of the last two at the ends"

// validName reports whether something can be the name of an archive or a writer.
func validName(name string) bool {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`).MatchString(name)
}

// nameOf makes a name for an archive from the last part of its URL.
func nameOf(archive string) string {
	path, _, _ := strings.Cut(archive, "?")
	path = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '/' {
			return r
		}
		return '-'
	}, strings.ToLower(strings.TrimRight(path, "/")))
	name := strings.Trim(path[strings.LastIndexByte(path, '/')+1:], ".-")
	if name == "" || len(name) > 63 {
		return "archive"
	}
	return name
}

// initTo is the transport that writers will use.
func (a *app) initTo(out string) string {
	if to := a.flags.given()["to"]; to != "" {
		return to
	}
	if to, _ := a.env("STELE_TO"); to != "" {
		return to
	}
	return "file://" + filepath.ToSlash(filepath.Join(out, "spool"))
}

// vacant makes the directory and tries whether files can be made in it, before anything else is.
func vacant(dir string) error {
	for _, name := range []string{"stele.yaml", "trust.stele"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return hinted(fmt.Errorf("%s holds an archive already: %s", dir, name), "choose another directory with --out")
		}
	}
	return writable(dir)
}

func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return hinted(err, writeHint(err, dir))
	}
	f, err := os.CreateTemp(dir, ".stele-*")
	if err != nil {
		return hinted(err, writeHint(err, dir))
	}
	_, err = f.Write(make([]byte, roomFor)) // on a full disk empty files can be made
	if err == nil {
		err = f.Sync()
	}
	f.Close()
	if err != nil {
		err = hinted(err, writeHint(err, dir))
	}
	return errors.Join(err, os.Remove(f.Name()))
}

// roomFor is how much a directory must have room for to be called writable.
const roomFor = 1 << 20

// writeHint says what to do about a directory in which no file can be made.
func writeHint(err error, dir string) string {
	if hint := advice.For(err, nil); hint != "" {
		return hint
	}
	return "choose a directory that you can write to, other than " + dir
}

// initTransport makes the topics, or the spool directory.
func (a *app) initTransport(ctx context.Context, to string, f initFlags) error {
	if path, ok := strings.CutPrefix(to, "file://"); ok {
		return os.MkdirAll(path, 0o700)
	}
	s, err := a.site("")
	if err != nil {
		return err
	}
	return s.createTopics(ctx, to, f.partitions, f.replication)
}

// online lists the roles whose folders stay, in the order in which people meet them.
func (n initAnswer) online() (roles []string) {
	for _, role := range []string{"writer", "compactor", "keys", "reader"} {
		if dir, ok := n.Roles[role]; ok && !slices.Contains(n.Offline, dir) {
			roles = append(roles, role)
		}
	}
	return roles
}
