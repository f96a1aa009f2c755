package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
)

func (a *app) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Let writers in, list them, revoke them, renew their credentials",
		Long: `Change who may write. Every change is a new version of the access policy in the archive's control
log, signed with the admin's key: bring the admin folder back for it, or name it with --as.

Revoking keeps a writer from opening new streams. What it wrote stays and verifies.`,
		Example: `  stele key add writer checkout --as /media/usb/admin
  stele key list
  stele key renew writer checkout
  stele key revoke writer checkout`,
	}
	var out string
	add := a.keyVerb("add", "Let a new writer in and write its credential", a.keyAdd, &out)
	renew := a.keyVerb("renew", "Give a credential the keys and classes of now", a.keyRenew, &out)
	for _, c := range []*cobra.Command{add, renew} {
		c.Flags().StringVar(&out, "out", "", "file of the credential (default: NAME.stele in the writer folder beside stele.yaml)")
	}
	list := &cobra.Command{
		Use: "list [writer]", Short: "List the writers", Args: cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs), ValidArgs: []string{"writer"},
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.keyList(cmd.Context()) }),
	}
	cmd.AddCommand(add, list, a.keyVerb("revoke", "Keep a writer from opening new streams", a.keyRevoke, nil), renew)
	return cmd
}

// keyVerb makes a subcommand that is about one writer.
func (a *app) keyVerb(name, short string, f func(ctx context.Context, writer, out string) (answer, error), out *string) *cobra.Command {
	return &cobra.Command{
		Use: name + " writer NAME", Short: short,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] != "writer" {
				return fmt.Errorf("write: stele key %s writer NAME", name)
			}
			return nil
		},
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			path := ""
			if out != nil {
				path = *out
			}
			return f(cmd.Context(), args[1], path)
		}),
	}
}

// keyAnswer is about one writer.
type keyAnswer struct {
	Writer     string `json:"writer"`
	Credential string `json:"credential,omitempty"` // path
	done       string
}

func (k keyAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "writer %s %s\n", k.Writer, k.done)
	if k.Credential != "" {
		fmt.Fprintf(w, "credential %s\n\nGive it to the service and to nobody else:\n  export STELE_WRITER=%s\n", k.Credential, k.Credential)
	}
}

func (a *app) keyAdd(ctx context.Context, name, out string) (answer, error) {
	admin, s, err := a.admin(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Need("to"); err != nil {
		return nil, usage("", "the credential must say where the writer sends: %w", err)
	}
	if out == "" {
		out = s.beside("writer", name+".stele")
	}
	if _, err := os.Lstat(out); err == nil {
		return nil, usage("choose another file with --out", "%s exists", out)
	}
	if err := writable(filepath.Dir(out)); err != nil {
		return nil, err
	}
	credential, err := admin.AddWriter(ctx, name, s.To)
	if err != nil {
		return nil, err
	}
	return keyAnswer{name, out, "may write now"}, replaceFile(out, credential)
}

func (a *app) keyRenew(ctx context.Context, name, out string) (answer, error) {
	admin, s, err := a.admin(ctx)
	if err != nil {
		return nil, err
	}
	if out == "" {
		out = s.beside("writer", name+".stele")
	}
	old, err := os.ReadFile(out)
	if err != nil {
		return nil, hinted(err, "name the credential's file with --out")
	}
	credential, err := admin.RenewWriter(ctx, old)
	if err != nil {
		return nil, err
	}
	return keyAnswer{name, out, "has a renewed credential"}, replaceFile(out, credential)
}

func (a *app) keyRevoke(ctx context.Context, name, _ string) (answer, error) {
	admin, _, err := a.admin(ctx)
	if err != nil {
		return nil, err
	}
	return keyAnswer{Writer: name, done: "can open no new streams; what it wrote stays"}, admin.RevokeWriter(ctx, name)
}

// keyListAnswer lists writers.
type keyListAnswer struct {
	Writers []backup.WriterInfo `json:"writers"`
}

func (k keyListAnswer) print(w io.Writer) {
	rows := [][]string{{"WRITER", "KEY", "STATE"}}
	for _, i := range k.Writers {
		state := "may write"
		if i.Revoked != nil {
			state = "revoked " + i.Revoked.Format(time.RFC3339)
		}
		rows = append(rows, []string{i.Name, fmt.Sprintf("%x", i.Key[:min(8, len(i.Key))]), state})
	}
	table(w, rows)
}

func (a *app) keyList(ctx context.Context) (answer, error) {
	admin, _, err := a.admin(ctx)
	if err != nil {
		return nil, err
	}
	writers, err := admin.Writers(ctx)
	return keyListAnswer{writers}, err
}

// admin opens the archive with the identity of the policy root.
func (a *app) admin(ctx context.Context) (*backup.Admin, *site, error) {
	s, err := a.site("admin")
	if err != nil {
		return nil, nil, err
	}
	root, err := s.role("admin", "root.stele")
	if err != nil {
		return nil, nil, err
	}
	store, trust, err := s.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	admin, err := backup.OpenAdmin(ctx, store, trust, root)
	return admin, s, err
}

// replaceFile writes a secret file, whole or not at all.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".stele-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
