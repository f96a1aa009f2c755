package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/cmd/internal/advice"
	"github.com/stelelog/stele/logpipe"
	"github.com/stelelog/stele/logpipe/event"
)

const (
	// captureWait is how long capture waits for room: a file, unlike a service, has time.
	captureWait = 10 * time.Minute
	// closeWait bounds how long the end waits for brokers that do not answer, when all is in the spool.
	closeWait = 10 * time.Second
	// besideConfig is the source of a setting that nobody has set.
	besideConfig = "beside stele.yaml"
	// maxRefusals is how many lines that were refused, or records that cannot be read, are named one by one.
	maxRefusals = 100
)

func (a *app) captureCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "capture [FILE…]",
		Short: "Capture events from files of JSON lines",
		Long: `Capture events, one JSON object a line, from files or from standard input ("-" or no FILE).

  {"kind":"input|output|state|error","time":RFC 3339,"id","tenant","subject","session","class",
   "trace_id","span_id","parent_id","attributes":{…},"content_type","body":"…"}

Only "kind" is required. A body that is no text goes into "body_base64". What goes in comes out
equal, to the digit and the nanosecond: docs/formats/event.md has the details.

A line that cannot be kept whole is refused, and named by number and field on standard error; the
rest goes in, and the exit code is 3. When capture ends well, everything captured is with the
transport; 'compactor --once' commits it to the archive.

A writer that was revoked captures nothing, and the exit code is 1. Only the archive knows of that: where the settings
name no archive and trust file, what a revoked writer sends is set aside by the compactor ('stele quarantine').`,
		Example: `  stele capture events.jsonl
  zcat old.jsonl.gz | stele capture
  echo '{"kind":"input","subject":"user-17","body":"hello"}' | stele capture`,
		RunE: a.verb(func(cmd *cobra.Command, args []string) (answer, error) { return a.capture(cmd.Context(), args) }),
	}
}

// captureAnswer counts what came of the lines.
type captureAnswer struct {
	Captured     uint64            `json:"captured"`
	Acknowledged uint64            `json:"acknowledged"` // by the destination: the brokers, or the disk for file://
	DeclaredLost uint64            `json:"declared_lost"`
	Refused      uint64            `json:"refused"`
	Streams      []string          `json:"streams,omitempty"`
	Refusals     []refusal         `json:"refusals,omitempty"` // the first hundred
	Reasons      map[string]uint64 `json:"lost,omitempty"`     // declared lost, by reason
}

// refusal names a line that was refused.
type refusal struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`
}

func (r refusal) String() string {
	if r.Field == "" {
		return fmt.Sprintf("%s:%d: %s", r.File, r.Line, r.Reason)
	}
	return fmt.Sprintf("%s:%d: %s %s", r.File, r.Line, r.Field, r.Reason)
}

func (c *captureAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "captured %d, declared lost %d, refused %d\n", c.Captured, c.DeclaredLost, c.Refused)
	if c.Acknowledged < c.Captured {
		fmt.Fprintf(w, "acknowledged by the destination: %d; the other %d are not there yet, and may be lost\n", c.Acknowledged, c.Captured-c.Acknowledged)
	}
}

// input is one file to capture.
type input struct {
	name string
	io.ReadCloser
}

// inputs opens all files before the first record is captured, so that a misspelt name costs nothing.
func (a *app) inputs(names []string) (in []input, err error) {
	if len(names) == 0 {
		names = []string{"-"}
		if terminal(a.stdin) {
			fmt.Fprintln(a.stderr, "reading events from the terminal; Ctrl-D ends them")
		}
	}
	for _, name := range names {
		if name == "-" {
			in = append(in, input{"standard input", io.NopCloser(a.stdin)})
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			closeAll(in)
			return nil, err
		}
		in = append(in, input{name, f})
	}
	return in, nil
}

func closeAll(in []input) {
	for _, i := range in {
		i.Close()
	}
}

func (a *app) capture(ctx context.Context, names []string) (answer, error) {
	in, err := a.inputs(names)
	if err != nil {
		return nil, err
	}
	defer closeAll(in)
	pipe, watch, err := a.pipe(ctx)
	if err != nil {
		return nil, err
	}
	ans := new(captureAnswer)
	for _, i := range in {
		if err = a.captureFile(ctx, pipe, i, ans); err != nil {
			err = fmt.Errorf("%s: %w", i.name, err)
			break
		}
	}
	err = watch.end(ctx, keptInPart(errors.Join(err, a.handOver(ctx, pipe))))
	ans.count(pipe.Stats())
	if err == nil && ans.Refused > 0 {
		err = exit(exitRefused)
	}
	return ans, err
}

// keptInPart adds to an error about a full disk that capturing again is not without effect, as other commands are.
func keptInPart(err error) error {
	what := noRoom(err)
	if what == "" {
		return err
	}
	return hinted(err, what+", and a part of the records may be kept; make room, run the compactor, then see with 'stele search' "+
		"which arrived: capturing these lines again keeps them twice")
}

// handOver waits until the transport has what was captured, also after a failure or a signal.
func (a *app) handOver(ctx context.Context, pipe *logpipe.Pipe) error {
	ctx = context.WithoutCancel(ctx)
	flush, cancel := context.WithTimeout(ctx, captureWait)
	defer cancel()
	flushed := pipe.Flush(flush)
	end, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	err := errors.Join(flushed, pipe.Close(end))
	if left := pipe.Stats().Spooled; left > 0 {
		err = hinted(errors.Join(fmt.Errorf("what was captured is in the spool (%s): the brokers do not answer", size(left)), err),
			"the next capture sends it first; so does 'stele spool drain'. Is the address right? "+a.destination())
	}
	return err
}

// destination says where writers send, and who says so.
func (a *app) destination() string {
	if a.settings.To == "" {
		return "to is not set, so the credential says where to"
	}
	return location.Redact(a.settings.To) + ": " + a.settings.Origin("to")
}

// pipe opens the pipe that the settings describe, unless its writer was revoked.
func (a *app) pipe(ctx context.Context) (*logpipe.Pipe, *writerWatch, error) {
	s, err := a.site("")
	if err != nil {
		return nil, nil, err
	}
	if err := s.Need("writer"); err != nil {
		return nil, nil, usage("", "%w", err)
	}
	if s.To != "" {
		if err := s.transport("to"); err != nil {
			return nil, nil, err
		}
	}
	watch, err := s.watchWriter(ctx)
	if err != nil {
		return nil, nil, err
	}
	pipe, err := logpipe.Open(ctx, s.pipeConfig())
	return pipe, watch, nothingKept(s.badCredential(err))
}

// nothingKept adds to an error about a disk that is full from the start that capturing again is harmless.
func nothingKept(err error) error {
	if what := noRoom(err); what != "" {
		return hinted(err, what+", and nothing was captured: make room, then run the command again")
	}
	return err
}

// noRoom says why a file could not grow, if that is what err is about.
func noRoom(err error) string {
	switch {
	case errors.Is(err, syscall.EFBIG):
		return "files may not grow so large here (ulimit -f, or the file system)"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full"
	}
	return ""
}

// badCredential adds to an error about the writer credential which one it is, and how to get another.
func (s *site) badCredential(err error) error {
	bad := new(logpipe.OpError)
	if !errors.As(err, &bad) || bad.What != "Config.Credential" {
		return err
	}
	if hint := advice.For(err, s.Settings); hint != "" {
		return hinted(err, s.Origin("writer")+"; "+hint)
	}
	err = fmt.Errorf("the writer credential is of no use: %w", bad.Err)
	return hinted(err, s.Origin("writer")+"; 'stele key add writer NAME' makes a credential, 'stele key renew writer NAME' renews one")
}

// captureFile captures the events of one file. An error means that nothing more can be captured.
func (a *app) captureFile(ctx context.Context, pipe *logpipe.Pipe, in input, ans *captureAnswer) error {
	p := a.progress("capturing " + in.name)
	defer p.end()
	r := event.NewReader(in)
	n := uint64(0)
	for rec, err := range r.All() {
		if err == nil {
			err = pipe.Capture(ctx, &rec)
		}
		if err == nil {
			n++
			p.records(n)
			continue
		}
		ref, ok := refused(err, in.name, r.Line())
		if !ok {
			return err
		}
		a.refuse(ref, ans)
	}
	return nil
}

// refused tells an error that concerns one record from one that concerns all.
func refused(err error, file string, line int) (refusal, bool) {
	if e := new(event.Error); errors.As(err, &e) {
		return refusal{file, line, e.Field, e.Reason}, true
	}
	op := new(logpipe.OpError)
	if errors.As(err, &op) && op.Op == "capture" && !errors.Is(err, logpipe.ErrFull) && !errors.Is(err, logpipe.ErrClosed) &&
		!errors.Is(err, context.Canceled) {
		return refusal{file, line, memberOf(op.What), op.Err.Error()}, true
	}
	return refusal{}, false
}

// memberOf is the member of an event that a field of a record comes from.
func memberOf(field string) string {
	name, known := map[string]string{"CallerID": "id", "TraceID": "trace_id", "SpanID": "span_id", "ParentID": "parent_id", "ContentType": "content_type", "Parts": "body"}[field]
	if !known {
		name = strings.ToLower(field)
	}
	return name
}

func (a *app) refuse(r refusal, ans *captureAnswer) {
	ans.Refused++
	if ans.Refused > maxRefusals {
		return
	}
	ans.Refusals = append(ans.Refusals, r)
	fmt.Fprintf(a.stderr, "refused: %s\n", r)
	if ans.Refused == maxRefusals {
		fmt.Fprintln(a.stderr, "refused: further lines are only counted")
	}
}

// pipeConfig is how a command writes. Streams link to their predecessors of the same service, so the state belongs
// where the pipe puts it by itself, unless somebody names a place.
func (s *site) pipeConfig() logpipe.Config {
	cfg := logpipe.Config{Credential: s.Writer, To: s.To, SpoolDir: s.SpoolDir, Username: s.KafkaUsername, Password: s.KafkaPassword,
		Default: logpipe.ClassConfig{OnFull: logpipe.Wait, Wait: captureWait}}
	if s.Source("state_dir") != besideConfig {
		cfg.StateDir = s.StateDir
	}
	return cfg
}

// count takes over the figures of the pipe.
func (c *captureAnswer) count(st logpipe.Stats) {
	c.Reasons = st.Lost
	for _, n := range st.Lost {
		c.DeclaredLost += n
	}
	c.Captured = st.Captured - c.DeclaredLost // what was taken, and is not lost
	c.Acknowledged = min(st.Acked, c.Captured)
	for _, s := range st.Streams {
		c.Streams = append(c.Streams, s.ID)
	}
}
