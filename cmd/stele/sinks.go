package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/stelelog/stele/backup"
)

// sink is where restored lines go.
type sink interface {
	name() string
	write(ctx context.Context, f *backup.Found, line []byte) error
	// flush makes what was written durable, as far as the place allows, and tells the state where it ends.
	flush(ctx context.Context, state *restoreState) error
	close(ctx context.Context, answer *restoreAnswer) error
}

// streamSink writes to standard output.
type streamSink struct{ w *bufio.Writer }

func newStreamSink(w io.Writer) sink { return streamSink{bufio.NewWriterSize(w, 64<<10)} }

func (s streamSink) name() string { return "standard output" }

func (s streamSink) flush(context.Context, *restoreState) error  { return s.w.Flush() }
func (s streamSink) close(context.Context, *restoreAnswer) error { return s.w.Flush() }

func (s streamSink) write(_ context.Context, _ *backup.Found, line []byte) error {
	_, err := s.w.Write(line)
	return err
}

// fileSink writes DIR/records.jsonl.
type fileSink struct {
	f *os.File
	w *bufio.Writer
}

// openFileSink makes the file, or goes on behind the bytes that an earlier run made durable.
func openFileSink(dir string, bytes int64, resumed bool) (sink, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, hinted(err, "choose another directory with --out")
	}
	path := filepath.Join(dir, "records.jsonl")
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if resumed {
		flags = os.O_WRONLY
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, usage("choose another directory; a restore begun with --resume FILE goes on with the same FILE", "%s exists", path)
	}
	if err != nil {
		return nil, hinted(err, "choose a directory that you can write to with --out")
	}
	if err := cutTo(f, bytes); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return fileSink{f, bufio.NewWriterSize(f, 256<<10)}, nil
}

// cutTo removes what an interrupted run wrote after its last saved state.
func cutTo(f *os.File, bytes int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < bytes {
		return usage("begin anew with another directory and another state file", "%s has %s, but %s were written: it was changed", f.Name(), count(info.Size(), "byte"), grouped(bytes))
	}
	if err := f.Truncate(bytes); err != nil {
		return err
	}
	_, err = f.Seek(bytes, io.SeekStart)
	return err
}

func (s fileSink) name() string { return s.f.Name() }

func (s fileSink) write(_ context.Context, _ *backup.Found, line []byte) error {
	_, err := s.w.Write(line)
	return err
}

func (s fileSink) flush(context.Context, *restoreState) error {
	if err := s.w.Flush(); err != nil {
		return err
	}
	return s.f.Sync()
}

func (s fileSink) close(context.Context, *restoreAnswer) error { return s.f.Close() }
