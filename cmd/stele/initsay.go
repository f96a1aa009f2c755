package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/cmd/internal/advice"
)

// confirm asks before something that cannot be undone.
func (a *app) confirm(f initFlags) error {
	if f.yes || f.lock != "compliance" && (f.lock == "none" || f.span <= longKeep) {
		return nil
	}
	what := fmt.Sprintf("%s lock, %s: until then objects cost money and cannot be deleted", f.lock, count(int(f.span/(24*time.Hour)), "day"))
	if f.lock == "compliance" {
		what += ", by nobody, the owner of the account included"
	}
	return a.ask(what, "add --yes if that is what you want")
}

// ownTransport refuses topics and spools that another archive uses, and asks about topics that one may.
func (a *app) ownTransport(ctx context.Context, to string, f initFlags) error {
	if !isKafka(to) {
		return hinted(admin.CheckSpool(to, ""), "choose another directory with --to")
	}
	s, err := a.site("")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaWait)
	defer cancel()
	used, err := s.topics(to).Vacant(ctx)
	if err != nil {
		if hint := advice.For(err, s.Settings); hint != "" {
			return hinted(err, hint)
		}
		return hinted(unreached(err, to), "choose another topic with --to")
	}
	if len(used) == 0 || f.yes {
		return nil
	}
	return a.ask(fmt.Sprintf("%s held messages before and is empty now: whoever used it may still send to it or remove from it, and records of both would be lost",
		strings.Join(used, " and ")), "choose another topic; or add --yes if nothing else uses it any more")
}

// ask asks a person whether to go on, or refuses where there is none.
func (a *app) ask(what, hint string) error {
	if !terminal(a.stdin) {
		return usage(hint, "%s", what)
	}
	fmt.Fprintf(a.stderr, "%s.\nType yes to go on: ", what)
	line, _ := bufio.NewReader(a.stdin).ReadString('\n')
	if strings.TrimSpace(line) != "yes" {
		return usage("", "not confirmed; nothing was done")
	}
	return nil
}

func (n initAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "archive   %s at %s\n", n.Name, n.Archive)
	fmt.Fprintf(w, "lock      %s\n", n.lockInWords())
	for _, p := range n.Probe {
		if p.Name == probe.WORM || !p.OK {
			fmt.Fprintf(w, "store     %s\n", probeLine(p))
		}
	}
	if len(n.Custodians) == 0 {
		fmt.Fprintf(w, "keys      one custodian, a file in %s: for development. Whoever keeps a copy of it can undo every\n"+
			"          erasure (class C), and who loses it loses everything; see docs/CUSTODIANS.md\n", filepath.Join(n.Roles["keys"], "custodian"))
	}
	fmt.Fprintf(w, "writers   send to %s\n", n.To)
	fmt.Fprintf(w, "\nmade      %s\n          %s\n          %s\n", n.Config, n.Trust, n.Writer)
	fmt.Fprintf(w, "          SHA-256 of the trust file, for auditors to compare: %s\n", n.Checksum)
	fmt.Fprintf(w, "\nMove offline now, and out of backups of this machine:\n")
	for _, path := range n.Offline {
		fmt.Fprintf(w, "          %s\n", path)
	}
	fmt.Fprintf(w, "Give each of the others to the account that plays the role:\n")
	for _, role := range n.online() {
		fmt.Fprintf(w, "          %s\n", n.Roles[role])
	}
	fmt.Fprintf(w, "\nNext:\n  export STELE_CONFIG=%s\n  stele capture events.jsonl\n  compactor --once\n  stele verify\n", n.Config)
}

func (n initAnswer) lockInWords() string {
	days := count(n.KeepDays, "day")
	switch {
	case n.Lock == "none":
		return "none: anybody who may delete can delete"
	case n.Lock == "advisory":
		return fmt.Sprintf("advisory, %s: a directory cannot enforce locks, so whoever owns the files can delete them", days)
	case n.Lock == "compliance":
		return fmt.Sprintf("compliance, %s: nobody can delete an object before its time", days)
	}
	return fmt.Sprintf("governance, %s: only who holds a bypass permission can delete an object before its time", days)
}
