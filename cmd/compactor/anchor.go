package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stelelog/stele/backup/anchor/trillian"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/cmd/internal/settings"
)

// anchorFlags are those of 'compactor anchor'.
type anchorFlags struct {
	config, server, dir, origin string
	once, rebuild, tls          bool
}

// anchorSettings are the settings that an anchor has a use for.
func anchorSettings() []string {
	return []string{"archive", "trust", "heads_every", "log_level", "log_format"}
}

// anchorCommand is for the operator of an anchor, who is somebody else than that of the archive.
func anchorCommand(env func(string) (string, bool), stderr io.Writer, state *begun) *cobra.Command {
	f := anchorFlags{}
	cmd := &cobra.Command{
		Use:   "anchor",
		Short: "Put the heads of the control log into a Trillian log, and record that they are there",
		Long: `Anchor is for somebody else than the operator of the archive. It puts each published head of the control log into a
tree on a Trillian server of his, verifies what the server answers, signs the tree's root with his own key, and leaves the
record in the archive under control/anchors/. It needs to read control/ in the store, and to create there; it opens
no payload. docs/formats/anchor.md says what a record is.

With --init it makes a tree and the key, and prints the line for trust.stele. It signs nothing, and ends with exit code 1, if the
archive, the server and what it has signed before contradict each other.`,
		Example: `  compactor anchor --init anchor.example/acme --server 127.0.0.1:8090 --dir anchor
  compactor anchor --server 127.0.0.1:8090 --dir anchor
  compactor anchor --server 127.0.0.1:8090 --dir anchor --rebuild --once     # the server has lost its tree`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	set := cmd.Flags()
	set.StringVar(&f.config, "config", "", "path of stele.yaml ($STELE_CONFIG)")
	set.StringVar(&f.server, "server", "", "host:port of the Trillian log server")
	set.BoolVar(&f.tls, "tls", false, "the server has TLS, with a certificate that this system trusts")
	set.StringVar(&f.dir, "dir", "anchor", "folder of the role: its key, and the newest record")
	set.StringVar(&f.origin, "init", "", "make a tree and a key for a log of this name, print the line for trust.stele, exit")
	set.BoolVar(&f.rebuild, "rebuild", false, "make a new tree and put all heads of the records into it again")
	set.BoolVar(&f.once, "once", false, "anchor the newest head and exit")
	for _, field := range settings.Fields() {
		for _, name := range anchorSettings() {
			if field.Name == name {
				set.String(field.Flag(), "", field.Help)
			}
		}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		state.begun = true
		s, err := settings.Load(settings.Options{Config: f.config, Flags: givenOf(set, anchorSettings()), Env: env})
		if err != nil {
			return badSetup("'compactor anchor --help' lists the settings", "%w", err)
		}
		if err := s.Need("archive", "trust"); err != nil {
			return badSetup("with STELE_CONFIG set to a stele.yaml nothing else is needed", "%w", err)
		}
		if f.server == "" {
			return badSetup("name the Trillian log server with --server host:port", "no server to anchor in")
		}
		return f.run(cmd.Context(), s, cmd.OutOrStdout(), stderr)
	}
	return cmd
}

// givenOf returns the flags that were given, of those settings.
func givenOf(set *pflag.FlagSet, names []string) map[string]string {
	values := map[string]string{}
	for _, field := range settings.Fields() {
		if flag := set.Lookup(field.Flag()); flag != nil && flag.Changed {
			for _, name := range names {
				if name == field.Name {
					values[name] = flag.Value.String()
				}
			}
		}
	}
	return values
}

func (f *anchorFlags) run(ctx context.Context, s *settings.Settings, stdout, stderr io.Writer) error {
	trust, err := os.ReadFile(s.Trust)
	if err != nil {
		return badSetup("it is public; take it from 'stele init' or from an auditor", "trust file: %w", err)
	}
	var config *tls.Config
	if f.tls {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if f.origin != "" {
		tree, err := trillian.CreateTree(ctx, f.server, config)
		if err != nil {
			return err
		}
		line, err := trillian.NewRole(trust, f.dir, f.origin, tree)
		if err == nil {
			fmt.Fprintln(stdout, line)
		}
		return err
	}
	if f.rebuild {
		tree, err := trillian.CreateTree(ctx, f.server, config)
		if err == nil {
			err = trillian.UseTree(f.dir, tree)
		}
		if err != nil {
			return err
		}
	}
	store, err := location.Open(ctx, s.Archive, location.Options{})
	if err != nil {
		return err
	}
	log := newLogger(stderr, s)
	anchor, err := trillian.Open(ctx, trillian.Config{Store: store, Trust: trust, Dir: f.dir, Server: f.server, TLS: config, Logger: log})
	if err != nil {
		return err
	}
	defer anchor.Close()
	if f.rebuild {
		if err := anchor.Rebuild(ctx); err != nil {
			return err
		}
		log.Info("the tree is rebuilt")
	}
	if f.once {
		n, err := anchor.Once(ctx)
		if err == nil {
			log.Info("anchored", "entries", n)
		}
		return err
	}
	err = anchor.Run(ctx, s.HeadsEvery)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		log.Info("stopped as asked")
		return nil
	}
	return err
}
