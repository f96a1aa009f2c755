package compact

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stelelog/stele/internal/kafka"
	"github.com/stelelog/stele/internal/objstore"
	"github.com/stelelog/stele/internal/spool"
	"github.com/stelelog/stele/internal/transport"
)

// carrier is where frames come from: a topic with its partitions, or a spool directory.
type carrier interface {
	partitions() []int
	source(ctx context.Context, partition int) (source, error)
	// assign runs the partitions that fall to this process until ctx ends.
	assign(ctx context.Context, c *Compactor) error
	close()
}

func (c *Compactor) transport(ctx context.Context) (carrier, error) {
	if strings.HasPrefix(c.cfg.From, "file:") {
		return c.spoolTransport()
	}
	return c.kafkaTransport(ctx)
}

// brokersAway says whether brokers may answer later: nothing is wrong with the settings, as far as can be told.
func brokersAway(err error) bool {
	failed := new(kafka.Error)
	return errors.As(err, &failed) && failed.Outage
}

// carry runs the partitions that fall to this process until ctx ends. t is nil if the brokers were away at the start.
func (c *Compactor) carry(ctx context.Context, t carrier) error {
	if t == nil {
		var err error
		if t, err = c.reach(ctx); err != nil {
			return err
		}
		defer t.close()
	}
	return t.assign(ctx, c)
}

// reach opens the transport as soon as the brokers are there.
func (c *Compactor) reach(ctx context.Context) (carrier, error) {
	for {
		objstore.Pause(ctx, time.Second) // each attempt is patient by itself
		t, err := c.transport(ctx)
		if err == nil {
			c.brokers(nil)
			return t, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !brokersAway(err) {
			return nil, err
		}
		c.brokers(err)
	}
}

// brokers notes whether brokers serve this process, and says so when it changes.
func (c *Compactor) brokers(err error) {
	switch {
	case err != nil && c.fails(partTransport, err):
		c.log.Error("the brokers do not serve this compactor; they are tried again, and what is not committed waits in the topic", "err", err)
	case err == nil && c.works(partTransport):
		c.log.Info("the brokers serve this compactor again")
	}
}

type spoolTransport struct {
	dir *spool.Dir
	c   *Compactor
	ps  []int
}

func (c *Compactor) spoolTransport() (carrier, error) {
	path, err := transport.FilePath(c.cfg.From)
	if err != nil {
		return nil, err
	}
	dir, err := transport.OpenSpool(path, c.trust.Archive)
	if err != nil {
		return nil, err
	}
	ps := c.cfg.Partitions
	if ps == nil {
		for p := range max(1, c.control.Policy().Partitions) {
			ps = append(ps, int(p))
		}
	}
	return &spoolTransport{dir, c, ps}, nil
}

func (t *spoolTransport) partitions() []int { return t.ps }
func (t *spoolTransport) close()            {}

func (t *spoolTransport) source(ctx context.Context, p int) (source, error) {
	return newSpoolSource(t.dir, t.c.trust.Archive, uint32(p), t.c.log), nil
}

func (t *spoolTransport) assign(ctx context.Context, c *Compactor) error {
	return c.runPartitions(ctx, t, t.ps)
}

type kafkaTransport struct {
	frames, grants *kafka.Client
	c              *Compactor
	ps             []int
}

func (c *Compactor) kafkaTransport(ctx context.Context) (carrier, error) {
	frames, grants, err := transport.Open(c.cfg.From, transport.Access{Username: c.cfg.Username, Password: c.cfg.Password, TLS: c.cfg.TLS, Logger: c.cfg.Logger})
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
	if want := c.control.Policy().Partitions; err == nil && int(want) != topic.Partitions() {
		err = fmt.Errorf("topic %s has %d partitions, the archive was made for %d; streams are bound to partitions, so make a topic with %d and point both ends to it",
			topic.Name, topic.Partitions(), want, want)
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
	return t.frames.RunGroup(ctx, t.group(), c.brokers, func(ctx context.Context, ps []int) error {
		return c.runPartitions(ctx, t, ps)
	})
}
