package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/stelelog/stele/internal/kafka"
	"github.com/stelelog/stele/internal/spool"
)

// transport is where frames come from: a topic with its partitions, or a spool directory.
type transport interface {
	partitions() []int
	source(ctx context.Context, partition int) (source, error)
	// assign runs the partitions that fall to this process until ctx ends.
	assign(ctx context.Context, c *Compactor) error
	close()
}

func (c *Compactor) transport(ctx context.Context) (transport, error) {
	if strings.HasPrefix(c.cfg.From, "file:") {
		return c.spoolTransport()
	}
	return c.kafkaTransport(ctx)
}

type spoolTransport struct {
	dir *spool.Dir
	c   *Compactor
	ps  []int
}

func (c *Compactor) spoolTransport() (transport, error) {
	path, err := filePath(c.cfg.From)
	if err != nil {
		return nil, err
	}
	dir, err := openSpool(path)
	if err != nil {
		return nil, err
	}
	ps := c.cfg.Partitions
	if ps == nil {
		for p := range max(1, c.control.policy().Partitions) {
			ps = append(ps, int(p))
		}
	}
	return &spoolTransport{dir, c, ps}, nil
}

// openSpool opens a spool whose directory is there: one that is made here by mistake would look like another source.
func openSpool(path string) (*spool.Dir, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no spool directory %s: is it where the writers send to? 'stele init' and writers make it: %w", path, err)
	}
	dir, err := spool.Open(path, spool.Options{})
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil, fmt.Errorf("whoever compacts takes claims in the spool %s and removes what is committed; let it write there: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return dir, nil
}

func (t *spoolTransport) partitions() []int { return t.ps }
func (t *spoolTransport) close()            {}

func (t *spoolTransport) source(ctx context.Context, p int) (source, error) {
	return newSpoolSource(t.dir, uint32(p), t.c.log), nil
}

func (t *spoolTransport) assign(ctx context.Context, c *Compactor) error {
	return c.runPartitions(ctx, t, t.ps)
}

type kafkaTransport struct {
	frames, grants *kafka.Client
	c              *Compactor
	ps             []int
}

func (c *Compactor) kafkaTransport(ctx context.Context) (transport, error) {
	frames, grants, err := openTopics(c.cfg.From, c.cfg)
	if err != nil {
		return nil, err
	}
	t := &kafkaTransport{frames: frames, grants: grants, c: c, ps: c.cfg.Partitions}
	topic, err := frames.Check(ctx)
	if err == nil {
		_, err = grants.Check(ctx)
	}
	if err == nil && topic.Settings == nil {
		err = fmt.Errorf("this user may not read the settings of topic %s, and a compacted topic would lose records; allow DescribeConfigs", topic.Name)
	}
	if want := c.control.policy().Partitions; err == nil && int(want) != topic.Partitions() {
		err = fmt.Errorf("topic %s has %s, the archive was made for %d; streams are bound to partitions, so make a topic with %d and point both ends to it",
			topic.Name, number(topic.Partitions(), "partition"), want, want)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	if t.ps == nil {
		for p := range topic.Partitions() {
			t.ps = append(t.ps, p)
		}
	}
	return t, nil
}

// openTopics opens the frames topic of a URL and its grants topic.
func openTopics(rawURL string, cfg CompactorConfig) (frames, grants *kafka.Client, err error) {
	k, err := kafka.ParseURL(rawURL)
	if err != nil {
		return nil, nil, err
	}
	if err := k.Login(cfg.Username, cfg.Password); err != nil {
		return nil, nil, err
	}
	if cfg.TLS != nil {
		k.TLS = cfg.TLS
	}
	k.Logger = cfg.Logger
	if frames, err = kafka.Open(k); err != nil {
		return nil, nil, err
	}
	k.Topic += grantsSuffix
	if grants, err = kafka.Open(k); err != nil {
		return nil, nil, errors.Join(err, frames.Close())
	}
	return frames, grants, nil
}

// grantsSuffix makes the name of the grants topic.
const grantsSuffix = ".grants"

func (t *kafkaTransport) partitions() []int { return t.ps }

func (t *kafkaTransport) close() {
	t.frames.Close()
	t.grants.Close()
}

func (t *kafkaTransport) source(ctx context.Context, p int) (source, error) {
	return newKafkaSource(ctx, t.frames, t.grants, p, t.group(), t.c.log)
}

func (t *kafkaTransport) group() string {
	if t.c.cfg.Group != "" {
		return t.c.cfg.Group
	}
	return "stele-" + t.c.trust.Name
}

func (t *kafkaTransport) assign(ctx context.Context, c *Compactor) error {
	if c.cfg.Partitions != nil {
		return c.runPartitions(ctx, t, t.ps)
	}
	return t.frames.RunGroup(ctx, t.group(), func(ctx context.Context, ps []int) error {
		return c.runPartitions(ctx, t, ps)
	})
}

// filePath is the path of a file:// URL.
func filePath(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "file" || u.Host != "" || u.Path == "" || u.RawQuery != "" {
		return "", fmt.Errorf("%q is no file URL; write file:///absolute/path", raw)
	}
	return u.Path, nil
}
