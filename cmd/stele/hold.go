package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/erase"
)

func (a *app) holdCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold",
		Short: "Keep something from being erased, until two release it",
		Long: `A hold keeps what a tenant, a person or a session has in the archive from being erased, whoever asks for it
and however it was approved. One person places a hold; two approvers release it. A hold on any part of a scope
holds the scope.`,
		Example: `  stele hold place --subject user-17 --reason 'case 12/345' --as legal.stele
  stele hold list
  stele hold release 5b0f9e0c --as legal.stele`,
	}
	f := targetFlags{}
	place := &cobra.Command{
		Use:   "place",
		Short: "Place a hold",
		Long: `Place a hold, with the role file of a holder or an approver. It stands once a compactor has put it into the
control log. What it is about, a tenant, a person or a session, is in the request file only, and sealed for the key
service.`,
		Example: `  stele hold place --subject user-17 --reason 'case 12/345' --as legal.stele`,
		Args:    takes(),
		RunE:    a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.holdPlace(cmd.Context(), f) }),
	}
	f.add(place)
	release := &cobra.Command{
		Use:   "release ID",
		Short: "Ask that a hold be released",
		Long: `Ask that a hold be released: two approvers have to approve it, with 'stele erase approve'. What was deferred by
the hold is then erased without a further request.`,
		Example: `  stele hold release 5b0f9e0c --as legal.stele`,
		Args:    takes("ID"),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return a.holdRelease(cmd.Context(), args[0])
		}),
	}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the holds",
		Long:    `List the holds that stand, and those that were released. Needs the trust file only.`,
		Example: "  stele hold list --json",
		Args:    takes(),
		RunE:    a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.holdList(cmd.Context()) }),
	}
	cmd.AddCommand(place, release, list)
	return a.group(cmd)
}

func (a *app) holdPlace(ctx context.Context, f targetFlags) (answer, error) {
	if err := f.check("hold place", ""); err != nil {
		return nil, err
	}
	_, desk, err := a.desk(ctx, "admin", "root.stele")
	if err != nil {
		return nil, err
	}
	filed, err := desk.Hold(ctx, f.target)
	if err != nil {
		return nil, err
	}
	return f.written(eraseAnswer{what: "hold     ", next: "it stands once a compactor took it in: 'stele hold list' shows it then"}, filed)
}

func (a *app) holdRelease(ctx context.Context, id string) (answer, error) {
	_, desk, err := a.desk(ctx, "admin", "root.stele")
	if err != nil {
		return nil, err
	}
	filed, err := desk.Release(ctx, id)
	if err != nil {
		return nil, err
	}
	return eraseAnswer{ID: filed.ID, what: "request to release, for two approvers:", next: approveNext("erase", filed.ID)}, nil
}

// holdsAnswer lists holds.
type holdsAnswer struct {
	Holds []erase.HoldInfo `json:"holds"`
}

func (h holdsAnswer) print(w io.Writer) {
	rows := [][]string{{"HOLD", "ON A", "BY", "TIME", "STATE"}}
	for _, i := range h.Holds {
		state := "stands"
		if i.Released {
			state = "released"
		}
		rows = append(rows, []string{i.ID[:12], i.Kind, i.By, i.Time.Format(time.RFC3339), state})
	}
	table(w, rows)
	if len(h.Holds) == 0 {
		fmt.Fprintln(w, "no holds")
	}
}

func (a *app) holdList(ctx context.Context) (answer, error) {
	_, desk, err := a.desk(ctx, "", "")
	if err != nil {
		return nil, err
	}
	holds, err := desk.Holds(ctx)
	return done(holdsAnswer{holds}, err)
}
