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
	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/keys"
)

func (a *app) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Let writers and people in, list writers, revoke keys, renew credentials",
		Long: `Change who may write. Every change is a new version of the access policy in the archive's control
log, signed with the admin's key: bring the admin folder back for it, or name it with --as.

Revoking keeps a writer from opening new streams, and a compactor or key service from doing more. What they did stays
and verifies.`,
		Example: `  stele key add writer checkout --as /media/usb/admin
  stele key list
  stele key renew writer checkout
  stele key revoke writer checkout`,
	}
	f := keyFlags{}
	add := a.keyVerb("add", "Let a writer in and write its credential, or enter the key of a person", a.keyAdd, &f)
	a.addsRoles(add)
	add.Long = `Let a new writer in: a service, which gets keys of its own, under a name that no writer has or had. The
credential is all that it needs, and lets it append and nothing else. Needs the admin folder.

Or enter the key of an approver, a holder or a reader, made with 'stele key new', into the access policy. The
admin folder alone does it while the archive has fewer than two approvers; from then on it is a request that
two approve. A reader is added by another reader, who wraps the read keys to them, and always needs approval.

Or make the role file of a further compactor or key service, and enter its key in the same way. A second instance
may have the role file of the first; one of its own can be told apart, and revoked alone.`
	add.Example = `  stele key add writer checkout
  stele key add writer checkout --as /media/usb/admin --out /etc/checkout/writer.stele
  stele key add approver anna.stele.pub
  stele key add compactor second --out /media/usb/compactor/compactor.stele
  stele key add reader second.stele.pub --as reader`
	renew := a.keyVerb("renew", "Give a credential, and the archive, the keys of the weeks to come", a.keyRenew, &f)
	renew.Long = `Write a credential anew, with the same service key and with the public keys and classes of now. Needs the
admin folder.

Keys of a week are used once: when they are erased, what lay in the transport in that week is dead. The key
service makes them for half a year ahead, and credentials get the public halves. If it does not run, and its
folder is beside stele.yaml, renew makes what is missing itself.`
	renew.Example = `  stele key renew writer checkout
  stele key renew writer checkout --as /media/usb/admin`
	for _, c := range []*cobra.Command{add, renew} {
		c.Flags().StringVar(&f.out, "out", "", "file of the credential or role (default: NAME.stele in the writer folder beside stele.yaml)")
	}
	revoke := a.keyVerb("revoke", "Keep a writer, a compactor or a key service from going on", a.keyRevoke, &f)
	a.revokesRoles(revoke)
	revoke.Long = `Keep a writer from opening new streams, from now on and for ever. What it wrote stays and verifies; what it
still sends is set aside. Needs the admin folder.

Or take a compactor or key service out of the access policy. Stop it first, and have another one added ('stele key
add compactor NAME') and running. What it has done and the control log knows of stands; what it commits, enters or
records later is refused, and 'stele verify' names it. The admin folder alone does it while the archive has fewer than
two approvers; from then on it is a request that two approve. The key of the control log is that of the trust file and
the same for all compactors, so who has stolen a compactor folder can still delay entries, and fork the log, visibly:
take away the access to the store, too.`
	revoke.Example = `  stele key revoke writer checkout --as /media/usb/admin
  stele key revoke compactor second
  stele key revoke keyservice second --as anna.stele`
	list := &cobra.Command{
		Use: "list [writer]", Short: "List the writers", Args: cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs), ValidArgs: []string{"writer"},
		Long: `List the writers that the archive's access policy knows, and those that were revoked. Needs the trust file
only.`,
		Example: "  stele key list writer\n  stele key list --json | jq -r '.writers[].name'",
		RunE:    a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.keyList(cmd.Context()) }),
	}
	cmd.AddCommand(a.keyNewCommand(), add, list, revoke, renew, a.keyYearCommand())
	return a.group(cmd)
}

// keyFlags are those of the subcommands.
type keyFlags struct{ out string }

// keyVerb makes a subcommand that is about one writer.
func (a *app) keyVerb(name, short string, run func(ctx context.Context, writer string, f keyFlags) (answer, error), f *keyFlags) *cobra.Command {
	return &cobra.Command{
		Use: name + " writer NAME", Short: short,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] != "writer" {
				return fmt.Errorf("write: stele key %s writer NAME", name)
			}
			return nil
		},
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return run(cmd.Context(), args[1], *f)
		}),
	}
}

// keyAnswer is about one writer.
type keyAnswer struct {
	Writer     string `json:"writer"`
	Credential string `json:"credential,omitempty"`   // path
	Weeks      int    `json:"intake_weeks,omitempty"` // for which the credential has intake keys
	done       string
}

func (k keyAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "writer %s %s\n", k.Writer, k.done)
	if k.Credential != "" {
		if k.Weeks > 0 {
			fmt.Fprintf(w, "it has intake keys for %s\n", count(k.Weeks, "week"))
		}
		fmt.Fprintf(w, "credential %s\n\nGive it to the service and to nobody else:\n  export STELE_WRITER=%s\n", k.Credential, k.Credential)
	}
}

func (a *app) keyAdd(ctx context.Context, name string, f keyFlags) (answer, error) {
	if !validName(name) {
		return nil, usage("", "%q is no name of a writer: %s", name, nameRule)
	}
	out := f.out
	admin, s, err := a.admin(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.transport("to"); err != nil {
		return nil, err
	}
	if out == "" {
		out = s.beside("writer", name+".stele")
	}
	if _, err := os.Lstat(out); err == nil {
		return nil, usage("'stele key renew writer "+name+"' renews a credential; another writer takes another name, or another file with --out", "%s exists", out)
	}
	if err := writable(filepath.Dir(out)); err != nil {
		return nil, err
	}
	if err := kept(out, func(keep func([]byte) error) error { return admin.AddWriter(ctx, name, s.To, keep) }); err != nil {
		return nil, err
	}
	return keyAnswer{Writer: name, Credential: out, done: "may write now"}, nil
}

func (a *app) keyRenew(ctx context.Context, name string, f keyFlags) (answer, error) {
	admin, s, err := a.admin(ctx)
	if err != nil {
		return nil, err
	}
	ans := keyAnswer{Writer: name, Credential: f.out, done: "has a renewed credential"}
	if ans.Credential == "" {
		ans.Credential = s.beside("writer", name+".stele")
	}
	old, err := os.ReadFile(ans.Credential)
	if err != nil {
		return nil, hinted(err, "name the credential's file with --out")
	}
	if c, err := readCredential(string(old)); err != nil {
		return nil, err
	} else if c.Service != name {
		return nil, usage("name the file of "+name+" with --out", "%s is the credential of %s", ans.Credential, c.Service)
	}
	if err := s.renewIntake(ctx); err != nil {
		return nil, err
	}
	credential, err := admin.RenewWriter(ctx, old)
	if err != nil {
		return nil, err
	}
	c, err := readCredential(string(credential))
	if err != nil {
		return nil, err
	}
	if ans.Weeks = c.weeksLeft(time.Now()); ans.Weeks < fewWeeks {
		fmt.Fprintf(a.stderr, "the archive has intake keys for %s only: the key service makes them; is it running, and a compactor?\n",
			count(ans.Weeks, "week"))
	}
	return done(ans, replaceFile(ans.Credential, credential))
}

// renewIntake lets the key store make the intake keys that are missing, if it can be opened here: a key service that runs
// does that by itself.
func (s *site) renewIntake(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.beside("keys", ""), "keyservice.stele")); err != nil || answers(ctx, s.Keys) {
		return nil
	}
	cfg, err := s.keyService(ctx)
	if err != nil {
		return err
	}
	service, err := keys.Open(ctx, cfg)
	if errors.Is(err, keys.ErrBusy) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("key store: %w", err)
	}
	return errors.Join(service.Fold(ctx), service.Close())
}

func (a *app) keyRevoke(ctx context.Context, name string, _ keyFlags) (answer, error) {
	admin, _, err := a.admin(ctx)
	if err != nil {
		return nil, err
	}
	return done(keyAnswer{Writer: name, done: "can open no new streams; what it wrote stays"}, admin.RevokeWriter(ctx, name))
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
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	return keyListAnswer{archive.Writers()}, nil
}

// admin opens the archive with the identity of the policy root.
func (a *app) admin(ctx context.Context) (*admin.Admin, *site, error) {
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
	admin, err := admin.Open(ctx, store, trust, root)
	return admin, s, err
}
