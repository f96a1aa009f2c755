package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/cmd/internal/advice"
	"github.com/stelelog/stele/cmd/internal/build"
	"github.com/stelelog/stele/cmd/internal/ready"
	"github.com/stelelog/stele/cmd/internal/settings"
)

const about = `Compactor takes what writers sent to Kafka or a spool, checks every signature, chain and digest, and commits
it to the archive in segments. It moves ciphertext and opens none of it. Where the keys folder is, it is the
key service, too: it takes in the wrapped keys, and answers readers on a socket.

Start as many as there are partitions; they share them and take over from one that dies. A segment is
committed whole or not at all, so a compactor may be stopped or killed at any time. SIGTERM and SIGINT
end it in order, with exit code 0; what is not committed then is taken up by the next one.

It does not start if its role folder, or STELE_AS, holds an identity that can read payloads.

A setting comes from its flag, then its environment variable, then stele.yaml. With STELE_CONFIG set
nothing else is needed on one machine.`

// flags are those that are no settings of stele.yaml.
type flags struct {
	config  string
	once    bool
	since   []string
	timeout time.Duration
	group   string
}

// begun says whether the command line made sense, so that work began, and with which settings.
type begun struct {
	begun    bool
	settings *settings.Settings // nil as long as they are not read
}

func newCommand(env func(string) (string, bool), stderr io.Writer) (*cobra.Command, *begun) {
	f, state := flags{}, new(begun)
	cmd := &cobra.Command{
		Use:   "compactor",
		Short: "Move sealed records from Kafka or a spool into an archive",
		Long:  about,
		Example: `  STELE_CONFIG=/etc/stele/stele.yaml compactor
  compactor --once                     # take all that is there now, commit, and exit
  compactor --config stele.yaml --segment-age 5s --metrics 127.0.0.1:9464`,
		Version:       build.Read().String(),
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetVersionTemplate("compactor {{.Version}}\n")
	set := cmd.Flags()
	set.SortFlags = false // in the order of stele.yaml
	set.StringVar(&f.config, "config", "", "path of stele.yaml ($STELE_CONFIG)")
	set.BoolVar(&f.once, "once", false, "take all that is there now, commit it, take in keys, log the heads, exit")
	set.StringSliceVar(&f.since, "since", nil, "files with signed heads that were saved outside: sign nothing unless the control log continues them")
	set.DurationVar(&f.timeout, "timeout", 0, "with --once: give up after so long; without it an outage of the store is waited for")
	set.StringVar(&f.group, "group", "", `of the compactors that share the partitions (default "stele-" and the archive's name)`)
	for _, field := range used() {
		help := field.Help
		if field.Env != "" {
			help += " ($" + field.Env + ")"
		}
		if field.Name == "metrics" {
			field.Default = ready.Address
		}
		if field.Default != "" {
			help += fmt.Sprintf(" (default %s)", field.Default)
		}
		set.String(field.Flag(), "", help)
	}
	cmd.AddCommand(anchorCommand(env, stderr, state))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		state.begun = true
		c, err := load(f, set, env)
		if err != nil {
			return err
		}
		state.settings = c.Settings
		return c.run(cmd.Context(), newLogger(stderr, c.Settings))
	}
	return cmd, state
}

// used are the settings that a compactor has a use for.
func used() (fields []settings.Field) {
	for _, f := range settings.Fields() {
		switch f.Name {
		case "to", "writer", "spool_dir", "state_dir":
		default:
			fields = append(fields, f)
		}
	}
	return fields
}

// given returns the flags that were given, by the name of the setting.
func given(set *pflag.FlagSet) map[string]string {
	values := map[string]string{}
	for _, f := range used() {
		if flag := set.Lookup(f.Flag()); flag.Changed {
			values[f.Name] = flag.Value.String()
		}
	}
	return values
}

func newLogger(w io.Writer, s *settings.Settings) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // settings knows the levels
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// config is what a compactor needs, read and checked.
type config struct {
	*settings.Settings
	flags
	trust    []byte
	identity []byte // of the compactor
	keysDir  string // folder of the key service role; it may be missing
}

// load reads the settings and the files that they name.
func load(f flags, set *pflag.FlagSet, env func(string) (string, bool)) (*config, error) {
	s, err := settings.Load(settings.Options{Config: f.config, Flags: given(set), Env: env, Role: "compactor"})
	if err != nil {
		return nil, badSetup(cmp.Or(advice.For(err, nil), "'compactor --help' lists the settings, 'stele env' shows where each comes from"), "%w", err)
	}
	if err := s.Need("archive", "from", "trust", "as"); err != nil {
		return nil, badSetup("with STELE_CONFIG set to a stele.yaml nothing else is needed", "%w", err)
	}
	if _, err := location.DefaultLock(s.Archive); err != nil {
		return nil, badSetup("'stele env' shows where it comes from", "%w", err)
	}
	if err := location.CheckTransport(s.From); err != nil {
		return nil, badSetup(s.Origin("from"), "%w", err)
	}
	c := &config{Settings: s, flags: f, keysDir: filepath.Join(filepath.Dir(s.Config), "keys")}
	if s.Config == "" {
		c.keysDir = filepath.Join(filepath.Dir(s.As), "keys")
	}
	return c, c.read(env)
}
