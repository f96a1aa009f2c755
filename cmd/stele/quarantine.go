package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
)

func (a *app) quarantineCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "List what was set aside, with a reader identity",
		Long: `List the messages that compactors set aside because they are no valid frames of authentic streams: where
they came from, when, and why. They are sealed to the readers of the archive, so this needs a reader
identity (--as), but no key service. Of a segment with more than 1 MiB of them only this list is kept,
and after 30 days they may expire.

--out DIR writes those that were kept to DIR/SHA256, and overwrites nothing. Anybody who reaches the
transport can send anything: look at these files as at mail from a stranger.`,
		Example: `  stele quarantine
  stele quarantine --out found --as /etc/stele/reader
  stele quarantine --json | jq '.messages | group_by(.reason) | map({reason: .[0].reason, n: length})'`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.quarantine(cmd.Context(), out) }),
	}
	cmd.Flags().StringVar(&out, "out", "", "directory that the messages are written to")
	return cmd
}

// quarantineAnswer lists what was set aside.
type quarantineAnswer struct {
	Messages []quarantined `json:"messages"`
	Kept     uint64        `json:"kept"`          // of which there is more than a line
	Out      string        `json:"out,omitempty"` // where they were written to
	Broken   []string      `json:"broken,omitempty"`
}

type quarantined struct {
	backup.SetAside
	Kept bool `json:"kept"`
}

func (a *app) quarantine(ctx context.Context, out string) (answer, error) {
	s, err := a.site("reader")
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	id, err := s.role("reader", "reader.stele", "recovery.stele")
	if err != nil {
		return nil, err
	}
	reader, err := archive.Unlock(id, nil) // no message has a key of its own
	if err != nil {
		return nil, err
	}
	if out != "" {
		if err := os.MkdirAll(out, 0o700); err != nil {
			return nil, err
		}
	}
	ans := &quarantineAnswer{Messages: []quarantined{}, Out: out}
	for q, err := range reader.Quarantine(ctx) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			ans.Broken = append(ans.Broken, err.Error())
		}
		if q.SHA256 == "" {
			continue
		}
		ans.Messages = append(ans.Messages, quarantined{q, q.Message != nil})
		if q.Message == nil {
			continue
		}
		ans.Kept++
		if out == "" {
			continue
		}
		if err := writeNew(filepath.Join(out, q.SHA256), q.Message); err != nil {
			return nil, err
		}
	}
	if len(ans.Broken) > 0 {
		return ans, exit(exitUnreadable)
	}
	return ans, nil
}

// writeNew writes a file that must not exist; one message may lie there twice.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		have, unread := os.ReadFile(path)
		if unread == nil && string(have) == string(data) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func (q *quarantineAnswer) print(w io.Writer) {
	rows, kinds, reasons := [][]string{{"TIME", "LANE", "OFFSET", "SIZE", "SHA-256", "REASON"}}, newAlike(), map[string]int{}
	for _, m := range q.Messages {
		reasons[m.Reason]++
		if !kinds.one(m.Reason) {
			continue
		}
		rows = append(rows, []string{m.Time.UTC().Format("2006-01-02T15:04:05Z"), printable(m.Lane, 40), grouped(m.Offset), size(m.Length), m.SHA256[:16], printable(m.Reason, 80)})
	}
	if len(rows) > 1 {
		table(w, rows)
	}
	if more := kinds.more(); more > 0 {
		fmt.Fprintf(w, "… and %s more, of these reasons; --json lists all\n", grouped(more))
		for _, reason := range slices.Sorted(maps.Keys(reasons)) {
			fmt.Fprintf(w, "  %s: %s\n", grouped(reasons[reason]), printable(reason, 200))
		}
	}
	fmt.Fprintf(w, "%s in quarantine, %s kept\n", count(len(q.Messages), "message"), grouped(q.Kept))
	kinds = newAlike()
	for _, b := range q.Broken {
		if kinds.one(b) {
			fmt.Fprintln(w, "does not open: "+printable(b, 300))
		}
	}
	if more := kinds.more(); more > 0 {
		fmt.Fprintf(w, "… and %s more that do not open; --json lists all\n", grouped(more))
	}
}
