package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) eraseCertificateCommand() *cobra.Command {
	var out, file string
	cmd := &cobra.Command{
		Use:   "certificate ID --out FILE",
		Short: "Write the certificate of an erasure",
		Long: `Write a certificate of what was erased for a request: who asked and approved, which keys went and that no
others did, what each custodian said, and from when on nothing opens them: the archive with its backups, and
copies of the transport. 'stele check FILE' checks it with the trust file alone, and says what it could not
close and what it assumes. ID may be the beginning of an id.

The certificate says nothing about whom it is. With --file, the request file, it names what was asked for.`,
		Example: `  stele erase certificate 5b0f9e0c --out 5b0f9e0c.certificate
  stele check 5b0f9e0c.certificate --trust trust.stele`,
		Args: takes("ID"),
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) {
			return done(a.certificate(cmd.Context(), args[0], out, file))
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write (required)")
	cmd.Flags().StringVar(&file, "file", "", "the request file, to name what was asked for")
	return cmd
}

// certificateAnswer says what was written.
type certificateAnswer struct {
	Path  string `json:"path"`
	Bytes int    `json:"bytes"`
	// What the request selects and still has its keys, in scopes: held, kept for a minimum retention, or to follow in parts.
	Held     uint64 `json:"held,omitempty"`
	Retained uint64 `json:"retained,omitempty"`
	Left     uint64 `json:"left,omitempty"`
	id       string
}

func (c *certificateAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "wrote %s: %s\n'stele check %s --trust trust.stele' checks it anywhere with that file alone\n", c.Path, size(c.Bytes), c.Path)
	if n := c.Held + c.Retained + c.Left; n > 0 {
		fmt.Fprintf(w, "NOT IN IT: %s of the request that still have their keys. 'stele erase status %s' says why and until when; write the certificate again then\n", count(n, "scope"), c.id[:12])
	}
}

func (a *app) certificate(ctx context.Context, id, out, file string) (*certificateAnswer, error) {
	if out == "" {
		return nil, usage("", "--out is required")
	}
	if _, err := os.Lstat(out); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil, usage("choose another name with --out", "%s exists, or cannot be written", out)
	}
	var request []byte
	if file != "" {
		var err error
		if request, err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	s, desk, err := a.desk(ctx, "", "")
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	e, err := archive.Certificate(ctx, id, request)
	if err != nil {
		return nil, hinted(err, "'stele erase status "+id+"' says where the request stands; there is a certificate when the keys are gone and a compactor has taken that into the control log")
	}
	q, err := desk.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	return &certificateAnswer{out, len(e.File), q.Held, q.Retained, q.Left, q.ID}, replaceFile(out, e.File)
}
