package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/logpipe"
)

func (a *app) spoolCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "spool",
		Short:   "Send what dead services left on a local disk",
		Example: "  stele spool drain /mnt/old-machine/var/spool/stele",
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "drain DIR",
		Short: "Send the sealed frames in a spool directory to Kafka",
		Long: `Send what services that will not start again left in their spool directory to the brokers, in the order
of each stream, and remove what was acknowledged. Needs a writer credential of the same archive.

Streams of a service that is alive, and those of other archives, are left alone. It does no harm to
drain late or twice: the archive drops what it has.`,
		Example: "  stele spool drain /mnt/old-machine/var/spool/stele --to kafka://broker:9092/chat",
		Args:    takes("DIR"),
		RunE:    a.verb(func(cmd *cobra.Command, args []string) (answer, error) { return a.drain(cmd.Context(), args[0]) }),
	})
	return a.group(cmd)
}

// drainAnswer counts what was sent.
type drainAnswer struct {
	Dir      string `json:"dir"`
	To       string `json:"to"`
	Messages int    `json:"messages"`
}

func (d drainAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "sent %s from %s to %s\n", count(d.Messages, "message"), d.Dir, d.To)
}

func (a *app) drain(ctx context.Context, dir string) (answer, error) {
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	if err := s.Need("writer"); err != nil {
		return nil, usage("", "%w", err)
	}
	if s.To != "" {
		if err := s.transport("to"); err != nil {
			return nil, err
		}
	}
	cfg := s.pipeConfig()
	cfg.SpoolDir, cfg.StateDir = "", ""
	n, err := logpipe.DrainSpool(ctx, dir, cfg)
	if n > 0 || err == nil {
		return drainAnswer{dir, location.Redact(s.To), n}, err
	}
	return nil, s.badCredential(err)
}
