package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
)

func (a *app) segmentsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "segments",
		Short: "List what was committed, segment by segment",
		Long: `List the commits of all logs: how many records, which leaves (the first and the last), how large, under which
lock and until when. The names of the objects are in --json. The index objects (index.arrow) are plain Arrow
IPC files that pyarrow and DuckDB read.`,
		Example: `  stele segments
  stele segments --json | jq -r '.segments[].objects[]'`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.segments(cmd.Context()) }),
	}
}

// segmentsAnswer lists commits.
type segmentsAnswer struct {
	Name     string           `json:"name"`
	Segments []backup.Segment `json:"segments"`
}

func (a *app) segments(ctx context.Context) (answer, error) {
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	return segmentsAnswer{archive.Name(), archive.Segments()}, nil
}

func (s segmentsAnswer) print(w io.Writer) {
	rows := [][]string{{"LOG", "COMMIT", "TIME", "RECORDS", "LEAVES", "SIZE", "LOCK", "UNTIL", "BY"}}
	var records uint64
	var bytes int64
	for _, c := range s.Segments {
		records, bytes = records+c.Records, bytes+c.Bytes
		rows = append(rows, []string{c.Log, grouped(c.Commit), c.Time, grouped(c.Records),
			leaves(c.First, c.Size), size(c.Bytes), cmp.Or(c.Lock, "-"), cmp.Or(c.Until, "-"), c.By})
	}
	if len(rows) > 1 {
		table(w, rows)
	}
	fmt.Fprintf(w, "%s, %s, %s\n", count(len(s.Segments), "commit"), count(records, "record"), size(bytes))
}

// leaves writes the first and the last leaf of a commit that takes its log from one size to another.
func leaves(first, size uint64) string {
	if size <= first {
		return "none"
	}
	return grouped(first) + " to " + grouped(size-1)
}
