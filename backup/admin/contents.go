package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/internal/kafka"
	"github.com/stelelog/stele/internal/transport"
)

const (
	lookBytes = 1 << 20                // read at the beginning of a partition, to see whose messages they are
	lookLast  = 64                     // messages at its end
	lookWait  = 500 * time.Millisecond // for one answer
)

// Vacant is an error if one of the topics holds messages: an archive needs topics of its own, else two archives set each
// other's frames aside and stand in the way of each other's keys. used names topics that are empty and held messages before: somebody
// may still send to them. Topics that do not exist are vacant.
func (t Topics) Vacant(ctx context.Context) (used []string, err error) {
	frames, grants, err := t.open()
	if err != nil {
		return nil, err
	}
	defer frames.Close()
	defer grants.Close()
	for _, c := range []*kafka.Client{frames, grants} {
		has, err := lookInto(ctx, c)
		switch {
		case errors.Is(err, kafka.ErrNoTopic):
		case err != nil && !has.now:
			return used, err
		case has.now:
			return used, fmt.Errorf("topic %s holds messages %s; an archive needs topics of its own", has.name, has.whose(""))
		case has.before:
			used = append(used, has.name)
		}
	}
	return used, nil
}

// checkContents says whether a topic holds messages of other archives than t.Archive, as far as a look shows.
func (t Topics) checkContents(ctx context.Context, c *kafka.Client) probe.Result {
	has, err := lookInto(ctx, c)
	r := probe.Result{Name: has.name + " messages", OK: true, Detail: "none of another archive, as far as a look shows"}
	others := slices.DeleteFunc(has.archives, func(id string) bool { return id == t.Archive })
	switch {
	case len(others) > 0:
		r.OK, r.Detail = false, fmt.Sprintf("there are some %s: two archives were given one topic; see docs/OPERATIONS.md, Two archives in one transport", has.whose(t.Archive))
	case err != nil:
		r.Detail = "not looked at: " + err.Error()
	}
	return r
}

// contents is what a look into a topic shows.
type contents struct {
	name     string
	now      bool     // it holds messages
	before   bool     // it did
	archives []string // ids, hex, of messages that were looked at
}

// whose says of whom the messages are, but for one archive.
func (c *contents) whose(but string) string {
	others := slices.DeleteFunc(slices.Clone(c.archives), func(id string) bool { return id == but })
	if len(others) == 0 {
		return "that are of no archive"
	}
	return "of archive " + strings.Join(others, ", ")
}

// lookInto reads the beginning and the end of each partition.
func lookInto(ctx context.Context, c *kafka.Client) (has contents, err error) {
	topic, err := c.Describe(ctx)
	if err != nil {
		return has, err
	}
	has.name = topic.Name
	for p := range topic.Partitions() {
		start, end, err := c.Offsets(ctx, p)
		if err != nil {
			return has, err
		}
		has.before, has.now = has.before || end > 0, has.now || end > start
		if end == start {
			continue
		}
		for _, from := range []int64{start, max(start, end-lookLast)} {
			b, err := c.Fetch(ctx, p, from, lookBytes, lookWait)
			if errors.Is(err, kafka.ErrOutOfRange) {
				continue // removed meanwhile
			}
			if err != nil {
				return has, err
			}
			has.note(b.Messages)
		}
	}
	return has, nil
}

// maxArchives bounds the archives that are named.
const maxArchives = 8

func (c *contents) note(messages []kafka.Message) {
	for i := range messages {
		id, ok := transport.ArchiveOf(messages[i].Value)
		if name := hex.EncodeToString(id[:]); ok && len(c.archives) < maxArchives && !slices.Contains(c.archives, name) {
			c.archives = append(c.archives, name)
		}
	}
}
