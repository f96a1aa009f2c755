package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/counts"
)

func (a *app) auditAckCommand() *cobra.Command {
	var f ackFlags
	cmd := &cobra.Command{
		Use:   "ack [STREAM]",
		Short: "Take note of what a stream lost, or an hour lacks",
		Long: `Take note of what a stream lost, with a reason. The loss stays visible for ever and stops failing. It is
signed with the reader identity and logged; new loss of the same stream fails again. The entry is in
force once a compactor has put it into the control log, which takes seconds.

Without STREAM it takes note of what an hour of a service lacks by a count from outside: --service,
--hour, --missing and --what as 'stele audit --expect' shows them. If more is missing later, it fails again.`,
		Example: `  stele audit ack 5b0f9e0c6f6a4d3f8e2b1c0d9a8b7c6d --reason 'power cut in rack 4, ticket 1234'
  stele audit ack --service chat --hour 2026-11-28T14:00:00Z --missing 12 --what calls --reason 'health checks'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && cmd.Flags().Changed("service") {
				return nil
			}
			return takes("STREAM")(cmd, args)
		},
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return a.auditAck(cmd.Context(), args, f)
		}),
	}
	cmd.Flags().StringVar(&f.reason, "reason", "", "why this loss is known and accepted (required)")
	cmd.Flags().StringVar(&f.service, "service", "", "the service of the hour")
	cmd.Flags().StringVar(&f.hour, "hour", "", "the hour, by its start")
	cmd.Flags().StringVar(&f.what, "what", counts.Records, "what was counted: records or calls")
	cmd.Flags().Uint64Var(&f.missing, "missing", 0, "how many are missing in that hour")
	return cmd
}

type ackFlags struct {
	reason, service, hour, what string
	missing                     uint64
}

// hourOf is the hour that the flags name.
func (f *ackFlags) hourOf() (k counts.Acknowledged, err error) {
	at, err := time.Parse(time.RFC3339, f.hour)
	switch {
	case err != nil || !at.Equal(counts.Hour(at)):
		return k, usage("write its start as 2026-11-28T14:00:00Z", "--hour %q is no hour", f.hour)
	case f.what != counts.Records && f.what != counts.Calls:
		return k, usage("", "--what is %q, neither records nor calls", f.what)
	case f.missing == 0:
		return k, usage("'stele audit --expect' shows how many", "--missing is required: what is taken note of is a number")
	}
	return counts.Acknowledged{Service: f.service, Hour: at, What: f.what, Missing: f.missing, Reason: f.reason}, nil
}

// ackAnswer says what was taken note of.
type ackAnswer struct {
	Stream  string     `json:"stream,omitempty"`
	Service string     `json:"service,omitempty"`
	Hour    *time.Time `json:"hour,omitempty"`
	Missing uint64     `json:"missing,omitempty"`
	What    string     `json:"what,omitempty"` // records or calls
	Reason  string     `json:"reason"`
}

func (k ackAnswer) print(w io.Writer) {
	what := k.Stream
	if k.Hour != nil {
		what = fmt.Sprintf("%s %s missing of %s in the hour %s", grouped(k.Missing), k.What, k.Service, when(*k.Hour))
	}
	fmt.Fprintf(w, "acknowledged %s; a compactor puts it into the control log with its next heads\n", what)
}

func (a *app) auditAck(ctx context.Context, args []string, f ackFlags) (answer, error) {
	var hour counts.Acknowledged
	switch {
	case f.reason == "":
		return nil, usage("an auditor will ask: say what happened and where it is written up", "--reason is required")
	case (len(args) == 1) == (f.service != ""):
		return nil, usage("'stele audit' lists streams, 'stele audit --expect' hours", "name a stream, or --service, --hour and --missing")
	case len(args) == 0:
		var err error
		if hour, err = f.hourOf(); err != nil {
			return nil, err
		}
	}
	r, err := a.signer(ctx)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return done(ackAnswer{Service: f.service, Hour: &hour.Hour, Missing: f.missing, What: f.what, Reason: f.reason}, r.AcknowledgeHour(ctx, hour))
	}
	return done(ackAnswer{Stream: args[0], Reason: f.reason}, r.Acknowledge(ctx, args[0], f.reason))
}

// signer is a reader who signs, and opens nothing.
func (a *app) signer(ctx context.Context) (*backup.Reader, error) {
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
	return archive.Unlock(id, nil)
}
