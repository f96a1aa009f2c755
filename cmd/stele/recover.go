package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/erase"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/cmd/internal/advice"
)

func (a *app) recoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Recover the key store after its newest records were lost",
		Long: `Recover the key store when its newest root record, or a pack that it names, is lost in the archive's store and in
every copy of it. First look for a copy: an object that is put back under its key is as good as new. Only where
none is left, an older record of the same generation may stand in, if two approvers say so. What an erasure
destroyed does not come back: records of older generations open with nothing.`,
		Example: `  stele recover status
  stele recover request --as anna.stele
  stele erase approve 5b0f9e0c --as bert.stele
  stele recover run`,
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "status",
			Short: "Say what the key store lacks, and what could stand in",
			Long: `Say which root records and packs are missing, by what the control log knows, and which older record could stand
in for them. Changes nothing. Needs the trust file. Where the keys folder or the setting custodians is, it asks the
custodians, too, and says which of them are away.`,
			Example: "  stele recover status",
			Args:    takes(),
			RunE:    a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.recoverStatus(cmd.Context()) }),
		},
		&cobra.Command{
			Use:   "request",
			Short: "Ask that an older record stand in",
			Long: `Ask that the newest record that is whole stand in for what is lost. Two approvers decide, with 'stele erase
approve'; the admin folder while there are not two. Then 'stele recover run' does it.`,
			Example: "  stele recover request --as anna.stele",
			Args:    takes(),
			RunE:    a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.recoverRequest(cmd.Context()) }),
		},
		&cobra.Command{
			Use:   "run",
			Short: "Let an older record stand in, as was approved",
			Long: `Let an older record of the key store stand in for what is lost, as an approved request says, and take in again
what the transport still holds. It needs the keys folder and the custodians. Stop all key services first. It may
be repeated.`,
			Example: "  stele recover run",
			Args:    takes(),
			RunE:    a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.recoverRun(cmd.Context()) }),
		})
	return a.group(cmd)
}

// damageAnswer is what the key store lacks.
type damageAnswer struct {
	Whole   bool       `json:"whole"`
	Newest  rootAnswer `json:"newest"`
	Lost    []string   `json:"lost"`  // root records, by key
	Packs   []string   `json:"packs"` // by key
	StandIn rootAnswer `json:"stand_in,omitzero"`
	Missing uint64     `json:"missing,omitempty"`
	Weeks   []string   `json:"weeks,omitempty"` // first days
	Refused string     `json:"refused,omitempty"`
	Away    string     `json:"away,omitempty"`   // why custodians that were asked do not open it
	Closed  bool       `json:"closed,omitempty"` // and the others are not enough
	advice  string     // about those that are away
	done    bool
}

// rootAnswer names a root record.
type rootAnswer struct {
	N          uint64 `json:"n"`
	Hash       string `json:"hash"`
	Generation uint64 `json:"generation"`
}

func rootOf(r keys.Root) rootAnswer {
	if r.Generation == 0 {
		return rootAnswer{}
	}
	return rootAnswer{r.N, hex.EncodeToString(r.Hash[:]), r.Generation}
}

func damageOf(d *keys.Damage) *damageAnswer {
	out := &damageAnswer{Whole: d.Whole(), Newest: rootOf(d.Newest), Lost: []string{}, Packs: []string{}, StandIn: rootOf(d.StandIn), Missing: d.Missing}
	for _, l := range d.Lost {
		out.Lost = append(out.Lost, fmt.Sprintf("keys/roots/%020d", l.N))
	}
	for _, p := range d.Packs {
		out.Packs = append(out.Packs, fmt.Sprintf("keys/packs/%x", p))
	}
	for _, w := range d.Weeks {
		out.Weeks = append(out.Weeks, w.Format(time.DateOnly))
	}
	if d.Older != nil {
		out.Refused = d.Older.Error()
	}
	if d.Away != nil {
		out.Away, out.Closed = redact(d.Away.Error()), d.Closed
	}
	return out
}

func (d *damageAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "newest    record %d, generation %d\n", d.Newest.N, d.Newest.Generation)
	for _, key := range append(d.Lost, d.Packs...) {
		fmt.Fprintf(w, "missing   %s\n", key)
	}
	switch {
	case d.Closed:
		fmt.Fprintf(w, "closed    no authorised set of custodians opens it: %s\n", d.Away)
	case d.Away != "":
		fmt.Fprintf(w, "away      %s; the others open it\n", d.Away)
	}
	if d.advice != "" {
		fmt.Fprintf(w, "          → %s\n", d.advice)
	}
	switch {
	case d.Whole:
		fmt.Fprintln(w, "nothing that is known is missing")
		return
	case d.Refused != "":
		fmt.Fprintf(w, "refused   %s\n", d.Refused)
		return
	case d.StandIn.Generation == 0:
		fmt.Fprintln(w, "no record of this generation is whole: put the missing objects back from any copy, under their keys")
		return
	}
	word := "could stand in"
	if d.done {
		word = "stands in now"
	}
	fmt.Fprintf(w, "record %d of generation %d %s; it lacks %s of those that are known, but for what the transport still holds\n", d.StandIn.N, d.StandIn.Generation, word, count(int(d.Missing), "scope"))
	for _, day := range d.Weeks {
		fmt.Fprintf(w, "the intake key of the week of %s is lost with them: renew all credentials with 'stele key renew'\n", day)
	}
	if !d.done {
		fmt.Fprintln(w, "look for a copy first: what is put back under its key is as good as new")
	}
}

// printRecovery says what those who approve a recovery let go.
func printRecovery(w io.Writer, r *erase.Recovery) {
	fmt.Fprintf(w, "stands in record %d of generation %d, %v\n", r.N, r.Generation, r.Hash)
	for _, l := range r.Lost {
		fmt.Fprintf(w, "lost      record %d, %v\n", l.N, l.Hash)
	}
	for _, p := range r.Packs {
		fmt.Fprintf(w, "lost      pack %v\n", p)
	}
	fmt.Fprintf(w, "missing   %s, but for what the transport still holds\n", count(int(r.Missing), "scope"))
}

func (a *app) recoverStatus(ctx context.Context) (answer, error) {
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	d, err := s.damage(ctx)
	if err != nil {
		return nil, err
	}
	ans := damageOf(d)
	ans.advice = advice.For(d.Away, s.Settings)
	if !d.Whole() || d.Closed {
		return ans, exit(exitUnreadable)
	}
	return ans, nil
}

// damage looks at the key store, with those custodians that are set or lie beside stele.yaml.
func (s *site) damage(ctx context.Context) (*keys.Damage, error) {
	store, trust, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	cfg := keys.Config{Store: store, Trust: trust}
	dir := s.beside("keys", "")
	if _, err := os.Stat(dir); err == nil || len(s.Custodians) > 0 {
		cfg.Custodians = s.KeyCustodians(dir)
	}
	return keys.Inspect(ctx, cfg)
}

func (a *app) recoverRequest(ctx context.Context) (answer, error) {
	s, desk, err := a.desk(ctx, "admin", "root.stele")
	if err != nil {
		return nil, err
	}
	d, err := s.damage(ctx)
	switch {
	case err != nil:
		return nil, err
	case d.Whole():
		return nil, errors.New("nothing that is known is missing in the key store, so there is nothing to ask for")
	case d.Older != nil:
		return nil, d.Older
	case d.StandIn.Generation == 0:
		return damageOf(d), hinted(errors.New("no record of the live generation is whole"), "put the missing objects back from any copy of the store, under their keys")
	}
	asked := erase.Recovery{Record: erase.Record{N: d.StandIn.N, Hash: d.StandIn.Hash}, Generation: d.StandIn.Generation, Missing: d.Missing}
	for _, l := range d.Lost {
		asked.Lost = append(asked.Lost, erase.Record{N: l.N, Hash: l.Hash})
	}
	for _, p := range d.Packs {
		asked.Packs = append(asked.Packs, p)
	}
	filed, err := desk.Recover(ctx, asked)
	if err != nil {
		return nil, err
	}
	return eraseAnswer{ID: filed.ID, what: fmt.Sprintf("request to let record %d stand in, without %s, for two approvers:", d.StandIn.N, count(int(d.Missing), "scope")), next: approveNext("erase", filed.ID)}, nil
}

func (a *app) recoverRun(ctx context.Context) (answer, error) {
	s, err := a.site("keys")
	if err != nil {
		return nil, err
	}
	if s.From != "" {
		if err := s.transport("from"); err != nil {
			return nil, err
		}
	}
	cfg, err := s.keyService(ctx)
	if err != nil {
		return nil, err
	}
	d, err := keys.Recover(ctx, cfg)
	if errors.Is(err, keys.ErrBusy) {
		return nil, hinted(err, "stop all compactors that have the keys folder, and run it again")
	}
	if d == nil {
		return nil, err
	}
	ans := damageOf(d)
	ans.done = err == nil
	return ans, err
}
