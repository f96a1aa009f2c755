package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// sink is a file in memory. The file writer of Arrow seeks only to learn where it is, and does so after each message;
// sink keeps the last two answers.
type sink struct {
	buf       []byte
	prev, end int
}

func (s *sink) Write(p []byte) (int, error) {
	s.buf = append(grow(s.buf, len(p)), p...)
	return len(p), nil
}

func (s *sink) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("segment: the file is written from front to back")
	}
	s.prev, s.end = s.end, len(s.buf)
	return int64(s.end), nil
}

// file writes an Arrow file into a sink.
type file struct {
	sink   sink
	schema *arrow.Schema
	writer *ipc.FileWriter
}

// open starts a file over; it reuses the memory of the one before.
func (f *file) open(schema *arrow.Schema) (err error) {
	f.sink = sink{buf: f.sink.buf[:0]}
	f.schema = schema
	f.writer, err = ipc.NewFileWriter(&f.sink, ipc.WithSchema(schema))
	return err
}

// write appends a batch, and says where it lies. What was written before it but for other batches is the file's head.
func (f *file) write(batch arrow.Record) (start, end int, err error) {
	if err := f.writer.Write(batch); err != nil {
		return 0, 0, fmt.Errorf("segment: %w", err)
	}
	return f.sink.prev, f.sink.end, nil
}

// close ends the file. The marker for readers of streams is not written by Arrow v17 in files.
func (f *file) close() ([]byte, error) {
	f.sink.buf = append(f.sink.buf, endOfStream...)
	if err := f.writer.Close(); err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	return f.sink.buf, nil
}

const (
	fileMagic   = "ARROW1\x00\x00"
	endOfStream = "\xff\xff\xff\xff\x00\x00\x00\x00"
)

// wrap makes an array out of buffers without copying them. Rows have no nulls.
func wrap(t arrow.DataType, rows int, dict arrow.Array, buffers ...[]byte) arrow.Array {
	bufs := make([]*memory.Buffer, 1+len(buffers))
	for i, b := range buffers {
		bufs[1+i] = memory.NewBufferBytes(b)
	}
	if dict != nil {
		return array.MakeFromData(array.NewDataWithDictionary(t, rows, bufs, 0, 0, dict.Data().(*array.Data)))
	}
	return array.MakeFromData(array.NewData(t, rows, bufs, nil, 0, 0))
}
