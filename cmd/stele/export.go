package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/tiles"
)

func (a *app) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the logs in a form that other tools check",
		Long: `Write what an archive holds in a form that tools read which know nothing of Stele. The only form so far
is that of C2SP logs: 'stele export tiles'.`,
		Example: `  stele export tiles /srv/logs`,
	}
	var only []string
	tiles := &cobra.Command{
		Use:   "tiles DIR",
		Short: "Write logs as C2SP tiles (c2sp.org/tlog-tiles)",
		Long: `Write the control log and the data logs as tiles: a folder for each log under DIR, by its origin, with
entries, hashes, the newest signed head in "checkpoint" and the key that signed it in "vkey".
Everything is computed from the entries and compared with the archive before the head is written.

The entries are the leaves: clear columns and digests, no content. Tools that check such logs take the folder
of one log. fsck of the Tessera project (go install github.com/transparency-dev/tessera/cmd/fsck@latest) wants
its URL with a slash at the end, and --origin, because a data log is signed by a compactor, whose key has
another name than the log. The command line for each log is printed.`,
		Example: `  stele export tiles /srv/logs
  stele export tiles /srv/logs --log acme/0/2026Q4
  fsck --ui=false --storage_url file:///srv/logs/acme/0/2026Q4/ \
    --origin acme/0/2026Q4 --public_key /srv/logs/acme/0/2026Q4/vkey`,
		Args: takes("DIR"),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return a.exportTiles(cmd.Context(), args[0], only)
		}),
	}
	tiles.Flags().StringSliceVar(&only, "log", nil, "origins of the logs to write; left out, all of them")
	a.group(cmd)
	cmd.AddCommand(tiles)
	return cmd
}

// exportAnswer lists what was written.
type exportAnswer struct {
	Logs []exportedLog `json:"logs"`
}

type exportedLog struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"`
	Root   string `json:"root"`
	Dir    string `json:"dir"`
	Files  int    `json:"files"`
}

func (a *app) exportTiles(ctx context.Context, dir string, only []string) (answer, error) {
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	store, trust, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	view, err := tiles.Open(ctx, store, trust)
	if err != nil {
		return nil, s.misfit(err)
	}
	origins := view.Origins()
	for _, o := range only {
		if !slices.Contains(origins, o) {
			return nil, usage("the logs are "+strings.Join(origins, ", "), "--log names no log %q", o)
		}
	}
	if len(only) > 0 {
		origins = only
	}
	ans := exportAnswer{Logs: []exportedLog{}}
	for i, origin := range origins {
		l, err := exportLog(ctx, view, origin, filepath.Join(dir, filepath.FromSlash(origin)))
		if errors.Is(err, fs.ErrNotExist) && len(only) == 0 {
			continue // no head yet
		}
		if err != nil && len(ans.Logs) > 0 {
			return ans, othersLeft(err, origins[i:])
		}
		if err != nil {
			return nil, err
		}
		ans.Logs = append(ans.Logs, l)
	}
	return ans, nil
}

// othersLeft adds to an error after which whole logs stay how the others are written.
func othersLeft(err error, origins []string) error {
	what := noRoom(err)
	if what != "" {
		what += ": make room. "
	}
	return hinted(err, what+"The logs that are listed are whole, and stay; the others are written with --log "+strings.Join(origins, " --log "))
}

func exportLog(ctx context.Context, view *tiles.View, origin, dir string) (exportedLog, error) {
	l := exportedLog{Origin: origin, Dir: dir}
	_, vkey, err := view.Checkpoint(ctx, origin)
	if err != nil {
		return l, err
	}
	if _, err := os.Lstat(dir); err == nil {
		return l, hinted(fmt.Errorf("%s is there already", dir), "name a folder that does not exist yet: tiles of two exports must not mix")
	}
	err = wholeFolder(dir, func(write func(string, []byte) error) error {
		count := func(path string, data []byte) error {
			l.Files++
			return write(path, data)
		}
		if err := count("vkey", []byte(vkey+"\n")); err != nil {
			return err
		}
		c, err := view.Export(ctx, origin, count)
		l.Size, l.Root = c.Size, c.Root.String()
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s: %w", origin, err)
	}
	return l, err
}

func (e exportAnswer) print(w io.Writer) {
	rows := [][]string{{"LOG", "LEAVES", "FILES", "FOLDER"}}
	for _, l := range e.Logs {
		rows = append(rows, []string{l.Origin, grouped(l.Size), grouped(l.Files), l.Dir})
	}
	table(w, rows)
	for i, l := range e.Logs {
		dir, err := filepath.Abs(l.Dir)
		if err != nil {
			return // there is no working directory any more
		}
		if i == 0 {
			fmt.Fprintln(w, "\nTessera's fsck checks them:")
		}
		dir = filepath.ToSlash(dir)
		fmt.Fprintf(w, "  fsck --ui=false --storage_url 'file://%s/' --origin '%s' --public_key '%s/vkey'\n", dir, l.Origin, dir)
	}
}
