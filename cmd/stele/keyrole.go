package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/erase"
)

func (a *app) keyNewCommand() *cobra.Command {
	var out, like string
	cmd := &cobra.Command{
		Use:   "new approver|holder|reader NAME",
		Short: "Make the role file of an approver, a holder or a reader",
		Long: `Make a role file with keys of its own, and FILE.pub beside it. Whoever will play the role runs this, on a machine
of theirs: the role file never leaves it, and goes to nobody. FILE.pub goes to who looks after the archive, who
enters it with 'stele key add'. Only trust.stele is needed.

The pepper by which people are found is taken from a role file or credential that has it: --like names one, such
as a reader's. Readers and holders need it. An approver without it cannot check whose records a request would erase.`,
		Example: `  stele key new approver anna --out anna.stele --like reader/reader.stele
  stele key new holder legal --out legal.stele --like reader/reader.stele`,
		Args: takes("ROLE", "NAME"),
		RunE: a.verb(func(_ *cobra.Command, args []string) (answer, error) { return a.keyNew(args[0], args[1], out, like) }),
	}
	cmd.Flags().StringVar(&out, "out", "", "the role file (required)")
	cmd.Flags().StringVar(&like, "like", "", "a role file or credential of this archive that has the pepper")
	return cmd
}

// roleAnswer is about a key of a person.
type roleAnswer struct {
	Role   string `json:"role,omitempty"`
	Name   string `json:"name,omitempty"`
	File   string `json:"file,omitempty"`
	Public string `json:"public,omitempty"`
	ID     string `json:"id,omitempty"`
	Done   bool   `json:"done"` // the key is in the access policy
}

func (r roleAnswer) print(w io.Writer) {
	switch {
	case r.File != "" && r.Public == "":
		fmt.Fprintf(w, "made %s: bring it to the machine of %s %s, and keep no copy here\n", r.File, r.Role, r.Name)
		if !r.Done {
			fmt.Fprintf(w, "it is of no use before two approvers approve: %s\nnext      %s\n", r.ID, approveNext("policy", r.ID))
		}
	case r.File != "":
		fmt.Fprintf(w, "made %s: keep it, and show it to nobody\nmade %s: enter it with 'stele key add %s %s'\n", r.File, r.Public, r.Role, r.Public)
	case r.Done:
		fmt.Fprintln(w, "entered into the access policy")
	default:
		fmt.Fprintf(w, "proposed, for approval: %s\nnext      %s\n", r.ID, approveNext("policy", r.ID))
	}
}

func (a *app) keyNew(role, name, out, like string) (answer, error) {
	if out == "" {
		return nil, usage("", "name the role file with --out")
	}
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	trust, err := s.trustFile()
	if err != nil {
		return nil, err
	}
	var pepper []byte
	if like != "" {
		if pepper, err = os.ReadFile(like); errors.Is(err, syscall.EISDIR) {
			err = usage("name the file in it, reader.stele say", "--like: %s is a folder", like)
		}
		if err != nil {
			return nil, err
		}
	}
	private, public, err := erase.NewKey(trust, role, name, pepper)
	if err != nil {
		return nil, usage("'stele key new --help' says more", "%w", err)
	}
	ans := roleAnswer{Role: role, Name: name, File: out, Public: out + ".pub"}
	for _, path := range []string{ans.File, ans.Public} {
		if _, err := os.Lstat(path); err == nil {
			return nil, usage("choose another file with --out", "%s exists", path)
		}
	}
	if err := errors.Join(replaceFile(ans.File, private), replaceFile(ans.Public, public)); err != nil {
		return nil, err
	}
	return ans, nil
}

// addsRoles makes 'key add' take the keys of people, too.
func (a *app) addsRoles(add *cobra.Command) {
	writer, run := add.Args, add.RunE
	person := func(args []string) bool {
		return len(args) == 2 && slices.Contains([]string{"approver", "holder", "reader"}, args[0])
	}
	service := func(args []string) bool {
		return len(args) == 2 && slices.Contains([]string{"compactor", "keyservice"}, args[0])
	}
	add.Use = "add writer NAME | approver FILE.pub | holder FILE.pub | reader FILE.pub | compactor NAME | keyservice NAME"
	add.Args = func(cmd *cobra.Command, args []string) error {
		if person(args) || service(args) {
			return nil
		}
		return writer(cmd, args)
	}
	people := a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
		return a.keyAddRole(cmd.Context(), args[0], args[1])
	})
	services := a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
		out, _ := cmd.Flags().GetString("out")
		return a.keyAddService(cmd.Context(), args[0], args[1], out)
	})
	add.RunE = func(cmd *cobra.Command, args []string) error {
		if person(args) {
			return people(cmd, args)
		}
		if service(args) {
			return services(cmd, args)
		}
		return run(cmd, args)
	}
}

// revokesRoles makes 'key revoke' take compactors and key services, too.
func (a *app) revokesRoles(revoke *cobra.Command) {
	run := revoke.RunE
	service := func(args []string) bool {
		return len(args) == 2 && slices.Contains([]string{"compactor", "keyservice"}, args[0])
	}
	revoke.Use = "revoke writer NAME | compactor NAME | keyservice NAME"
	revoke.Args = func(_ *cobra.Command, args []string) error {
		if service(args) || len(args) == 2 && args[0] == "writer" {
			return nil
		}
		return errors.New("write: stele key revoke writer NAME, or compactor NAME, or keyservice NAME")
	}
	services := a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
		_, desk, err := a.desk(cmd.Context(), "admin", "root.stele")
		if err != nil {
			return nil, err
		}
		filed, err := desk.Revoke(cmd.Context(), args[0], args[1])
		if err != nil {
			return nil, err
		}
		return revokeAnswer{args[0], args[1], filed.ID, filed.Done}, nil
	})
	revoke.RunE = func(cmd *cobra.Command, args []string) error {
		if service(args) {
			return services(cmd, args)
		}
		return run(cmd, args)
	}
}

// revokeAnswer is about the key of a compactor or key service.
type revokeAnswer struct {
	Role string `json:"role"`
	Name string `json:"name"`
	ID   string `json:"id,omitempty"`
	Done bool   `json:"done"` // the key is revoked
}

func (r revokeAnswer) print(w io.Writer) {
	if !r.Done {
		fmt.Fprintf(w, "proposed, for approval: %s\n%s %s goes on until two approvers have approved it\nnext      %s\n", r.ID, r.Role, r.Name, approveNext("policy", r.ID))
		return
	}
	fmt.Fprintf(w, "%s %s is revoked: what it has done so far stays, and it can do nothing more\n", r.Role, r.Name)
}

// keyAddRole enters the public half of a role file into the access policy, or asks for it.
func (a *app) keyAddRole(ctx context.Context, role, path string) (answer, error) {
	public, err := os.ReadFile(path)
	if err != nil {
		return nil, hinted(err, "it is made with 'stele key new "+role+"', by who will play the role")
	}
	if isRoleFile(public) {
		return nil, usage("enter "+path+".pub, which 'stele key new' made beside it; if "+path+" came from who will play the role, they make another key: this one is known to two now",
			"%s is the role file itself, which never leaves who plays the role", path)
	}
	folder, file := "admin", "root.stele"
	if role == "reader" { // who adds a reader wraps the read keys to them
		folder, file = "reader", "reader.stele"
	}
	_, desk, err := a.desk(ctx, folder, file)
	if err != nil {
		return nil, err
	}
	filed, err := desk.AddKey(ctx, role, public)
	if err != nil {
		return nil, err
	}
	return roleAnswer{Role: role, ID: filed.ID, Done: filed.Done}, nil
}

// isRoleFile reports whether a file is the private half of a key that a person has.
func isRoleFile(file []byte) bool {
	var head struct {
		Stele string `json:"stele"`
	}
	formats := []string{"approver/v1", "holder/v1", "reader/v1"}
	return json.Unmarshal(file, &head) == nil && slices.Contains(formats, head.Stele)
}

// keyAddService makes the role file of a further compactor or key service, and enters its key or asks for it.
func (a *app) keyAddService(ctx context.Context, role, name, out string) (answer, error) {
	s, desk, err := a.desk(ctx, "admin", "root.stele")
	if err != nil {
		return nil, err
	}
	if out == "" {
		out = s.beside(role+"-"+name, role+".stele")
	}
	if _, err := os.Lstat(out); err == nil {
		return nil, usage("choose another file with --out", "%s exists", out)
	}
	if err := writable(filepath.Dir(out)); err != nil {
		return nil, err
	}
	var filed *erase.Filed
	if err := kept(out, func(keep func([]byte) error) error {
		filed, err = desk.AddService(ctx, role, name, keep)
		return err
	}); err != nil {
		return nil, err
	}
	return roleAnswer{Role: role, Name: name, File: out, ID: filed.ID, Done: filed.Done}, nil
}

// kept runs add, which hands a new role file on before the archive hears of its key. What nobody can say has failed is kept.
func kept(out string, add func(keep func(file []byte) error) error) error {
	written := false
	err := add(func(file []byte) error {
		err := replaceFile(out, file)
		written = err == nil
		return err
	})
	if err != nil && written {
		return hinted(fmt.Errorf("%w; the archive may know the new key all the same, so %s is kept", err, out),
			"look with 'stele key list'; if it is not there, remove the file and try again")
	}
	return err
}

func (a *app) keyYearCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "year [YEAR]",
		Short: "Make the read key of a year",
		Long: `Make the read key of a year, the next one if none is named, and wrap it to every reader, recovery among them. What
is written with it can be read with the key of its own year only, so a year's key that gets into wrong hands opens
that year. A reader makes it; it takes an approval, as a change of the policy does. Writers use it when their
credentials have been renewed and the year has begun; without it they go on with the last one.`,
		Example: `  stele key year --as reader
  stele key year 2031 --as reader`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			year := time.Now().UTC().Year() + 1
			if len(args) == 1 {
				var err error
				if year, err = strconv.Atoi(args[0]); err != nil {
					return nil, usage("", "%q is no year", args[0])
				}
			}
			_, desk, err := a.desk(cmd.Context(), "reader", "reader.stele")
			if err != nil {
				return nil, err
			}
			filed, err := desk.NewReadKey(cmd.Context(), year)
			if err != nil {
				return nil, err
			}
			return eraseAnswer{ID: filed.ID, what: fmt.Sprintf("read key of %d, for approval:", year), next: approveNext("policy", filed.ID)}, nil
		}),
	}
}
