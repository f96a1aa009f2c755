package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
)

func (a *app) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Say for each writer's stream how complete it is",
		Long: `Say for each stream, one start of one writer, how much of it the archive holds: whether it is live,
closed or was recovered by its successor; what is missing; and what its writer declared lost.

Audit reads the commits only; 'stele verify' also checks that they tell the truth. The exit code is 11
if anything is missing or lost that nobody has taken note of.

What bypassed the library, and a first start that was suppressed whole, only a count from outside can
show: compare the number of leaves with that of your gateway.`,
		Example: `  stele audit
  stele audit --json | jq '.streams[] | select(.complete|not)'
  stele audit ack 5b0f… --reason 'power cut in rack 4, ticket 1234'`,
		Args: takes(),
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.audit(cmd.Context()) }),
	}
	var reason string
	ack := &cobra.Command{
		Use:   "ack STREAM",
		Short: "Take note of what a stream lost",
		Long: `Take note of what a stream lost, with a reason. The loss stays visible for ever and stops failing. It is
signed with the reader identity and logged; new loss of the same stream fails again. The entry is in
force once a compactor has put it into the control log, which takes seconds.`,
		Example: `  stele audit ack 5b0f9e0c6f6a4d3f8e2b1c0d9a8b7c6d --reason 'power cut in rack 4, ticket 1234'`,
		Args:    takes("STREAM"),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return a.auditAck(cmd.Context(), args[0], reason)
		}),
	}
	ack.Flags().StringVar(&reason, "reason", "", "why this loss is known and accepted (required)")
	cmd.AddCommand(ack)
	return cmd
}

// auditAnswer lists streams.
type auditAnswer struct {
	Name    string                `json:"name"`
	Streams []backup.StreamReport `json:"streams"`
}

func (a *app) audit(ctx context.Context) (answer, error) {
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	ans := auditAnswer{archive.Name(), archive.Streams(time.Now())}
	for _, s := range ans.Streams {
		if !s.Complete {
			return ans, exit(exitIncomplete)
		}
	}
	return ans, nil
}

func (n auditAnswer) print(w io.Writer) {
	if len(n.Streams) == 0 {
		fmt.Fprintln(w, "no streams: nothing was committed yet")
		return
	}
	printStreamTable(w, n.Streams)
}

func printStreamTable(w io.Writer, streams []backup.StreamReport) {
	rows := [][]string{{"STREAM", "WRITER", "STATE", "LEAVES", "LOST", "LAST SIGN", "VERDICT"}}
	for _, s := range streams {
		verdict := s.Verdict
		if s.Acknowledged != "" {
			verdict += "; acknowledged: " + printable(s.Acknowledged, 120)
		}
		rows = append(rows, []string{s.Stream, s.Service, s.State, grouped(s.Leaves), grouped(s.Lost), when(s.LastBeat), verdict})
	}
	table(w, rows)
}

// when writes a time to the second, or a dash for none.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// ackAnswer says what was taken note of.
type ackAnswer struct {
	Stream string `json:"stream"`
	Reason string `json:"reason"`
}

func (k ackAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "acknowledged %s; a compactor puts it into the control log with its next heads\n", k.Stream)
}

func (a *app) auditAck(ctx context.Context, stream, reason string) (answer, error) {
	if reason == "" {
		return nil, usage("an auditor will ask: say what happened and where it is written up", "--reason is required")
	}
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
	r, err := archive.Unlock(id, nil) // it signs, and opens nothing
	if err != nil {
		return nil, err
	}
	return done(ackAnswer{stream, reason}, r.Acknowledge(ctx, stream, reason))
}
