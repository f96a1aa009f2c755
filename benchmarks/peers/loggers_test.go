package peers

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	otlog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// lines counts what a logger writes to nowhere.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) {
	l.n.Add(int64(bytes.Count(p[len(p)-1:], []byte("\n"))))
	return len(p), nil
}

func (l *lines) drained() int { return int(l.n.Load()) }
func (l *lines) settle()      {}

type zerologger struct {
	lines
	log zerolog.Logger
}

func openZerolog(*testing.B) recorder {
	z := &zerologger{}
	z.log = zerolog.New(&z.lines)
	return z
}

// capture gives the body as it is: the fastest that zerolog can do.
func (z *zerologger) capture(e *event) {
	z.log.Log().Time("time", e.when).Str("tenant", e.tenant).Str("subject", e.subject).Str("session", e.session).
		Str("kind", e.kind).Str("model", e.model).RawJSON("body", e.body).Send()
}

type zapper struct {
	lines
	log *zap.Logger
}

func openZap(*testing.B) recorder {
	z := &zapper{}
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{LineEnding: "\n"})
	z.log = zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&z.lines), zap.InfoLevel))
	return z
}

func (z *zapper) capture(e *event) {
	z.log.Info("", zap.Time("time", e.when), zap.String("tenant", e.tenant), zap.String("subject", e.subject), zap.String("session", e.session),
		zap.String("kind", e.kind), zap.String("model", e.model), zap.ByteString("body", e.body))
}

type slogger struct {
	lines
	log *slog.Logger
}

func openSlog(*testing.B) recorder {
	s := &slogger{}
	s.log = slog.New(slog.NewJSONHandler(&s.lines, nil))
	return s
}

func (s *slogger) capture(e *event) {
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "", slog.String("tenant", e.tenant), slog.String("subject", e.subject),
		slog.String("session", e.session), slog.String("kind", e.kind), slog.String("model", e.model), slog.String("body", e.text))
}

type otel struct {
	n        atomic.Int64
	provider *sdklog.LoggerProvider
	log      otlog.Logger
}

// openOtel gives the batch processor a queue that holds a whole burst: with the default one it drops.
func openOtel(b *testing.B) recorder {
	o := &otel{}
	batches := sdklog.NewBatchProcessor(o, sdklog.WithMaxQueueSize(4*burst), sdklog.WithExportMaxBatchSize(512))
	o.provider = sdklog.NewLoggerProvider(sdklog.WithProcessor(batches))
	o.log = o.provider.Logger("bench")
	b.Cleanup(func() { o.provider.Shutdown(context.Background()) })
	return o
}

func (o *otel) capture(e *event) {
	var r otlog.Record
	r.SetTimestamp(e.when)
	r.SetBody(attribute.StringValue(e.text))
	r.AddAttributes(attribute.String("tenant", e.tenant), attribute.String("subject", e.subject), attribute.String("session", e.session),
		attribute.String("kind", e.kind), attribute.String("model", e.model))
	o.log.Emit(context.Background(), r)
}

func (o *otel) settle()      { o.provider.ForceFlush(context.Background()) }
func (o *otel) drained() int { return int(o.n.Load()) }

// Export implements the exporter of the SDK: it counts.
func (o *otel) Export(_ context.Context, records []sdklog.Record) error {
	o.n.Add(int64(len(records)))
	return nil
}

// ForceFlush implements the exporter of the SDK.
func (o *otel) ForceFlush(context.Context) error { return nil }

// Shutdown implements the exporter of the SDK.
func (o *otel) Shutdown(context.Context) error { return nil }
