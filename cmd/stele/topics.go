package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/backup/probe"
)

func (a *app) topicsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "Check or create the Kafka topics of an archive",
		Long: `An archive on Kafka has two topics: that of the frames, with a partition for each log, and its
grants topic (<topic>.grants) with one partition, which must never expire by time. The number of
partitions is fixed for the life of the archive: streams are bound to them.`,
		Example: `  stele topics check
  stele topics create --partitions 3 --replication 3`,
	}
	var partitions, replication int
	check := &cobra.Command{
		Use: "check", Short: "Compare the topics with what the archive needs", Args: takes(),
		Long: `Compare both topics with what the archive needs: that they are there, how many partitions they have, how long
they keep messages, how many replicas acknowledge, and whether another archive sends to
them. The exit code is 1 if anything is not as it should be.`,
		Example: "  stele topics check\n  stele topics check --from kafka://broker:9092/chat --json | jq '.checks[] | select(.ok|not)'",
		RunE:    a.verb(func(cmd *cobra.Command, _ []string) (answer, error) { return a.topicsCheck(cmd.Context()) }),
	}
	create := &cobra.Command{
		Use: "create", Short: "Make the topics that are missing", Args: takes(),
		Long: `Make the topics that are missing, with the settings that an archive needs. A topic that is there as it should
be is left alone; one that differs is reported and left alone, too.`,
		Example: "  stele topics create --replication 3\n  stele topics create --from kafka://broker:9092/chat --partitions 6 --replication 3",
		RunE: a.verb(func(cmd *cobra.Command, _ []string) (answer, error) {
			return a.topicsCreate(cmd.Context(), partitions, replication)
		}),
	}
	create.Flags().IntVar(&partitions, "partitions", 0, "partitions of the frames topic (default: what the archive was made for)")
	create.Flags().IntVar(&replication, "replication", 1, "replicas of both topics")
	cmd.AddCommand(check, create)
	return a.group(cmd)
}

// checksAnswer lists questions and answers.
type checksAnswer struct {
	URL    string         `json:"url"`
	Checks []probe.Result `json:"checks"`
}

func (c checksAnswer) print(w io.Writer) {
	fmt.Fprintln(w, c.URL)
	for _, r := range c.Checks {
		fmt.Fprintf(w, "  %s\n", probeLine(r))
	}
}

// probeLine puts an answer first, so that the eye finds what is wrong.
func probeLine(r probe.Result) string {
	state := "ok  "
	if !r.OK {
		state = "FAIL"
	}
	if r.Detail == "" {
		return state + "  " + r.Name
	}
	return state + "  " + r.Name + ": " + r.Detail
}

func (a *app) topicsCheck(ctx context.Context) (answer, error) {
	s, err := a.kafkaSite()
	if err != nil {
		return nil, err
	}
	partitions, err := s.partitions()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaWait)
	defer cancel()
	checks, err := s.topics(s.From).Check(ctx, partitions)
	if err != nil {
		return nil, unreached(err, s.From)
	}
	ans := checksAnswer{location.Redact(s.From), checks}
	if !allOK(checks) {
		return ans, exit(exitFailed)
	}
	return ans, nil
}

func (a *app) topicsCreate(ctx context.Context, partitions, replication int) (answer, error) {
	s, err := a.kafkaSite()
	if err != nil {
		return nil, err
	}
	if partitions < 0 || replication < 1 {
		return nil, usage("", "--partitions and --replication are at least 1")
	}
	if partitions == 0 {
		if partitions, err = s.partitions(); err != nil {
			return nil, hinted(err, "say how many with --partitions")
		}
	}
	if err := s.createTopics(ctx, s.From, partitions, replication); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaWait)
	defer cancel()
	checks, err := s.topics(s.From).Check(ctx, partitions)
	return done(checksAnswer{location.Redact(s.From), checks}, err)
}

// kafkaWait bounds how long brokers are waited for.
const kafkaWait = 30 * time.Second

func (s *site) createTopics(ctx context.Context, url string, partitions, replication int) error {
	ctx, cancel := context.WithTimeout(ctx, kafkaWait)
	defer cancel()
	return unreached(s.topics(url).Create(ctx, partitions, replication), url)
}

// unreached says what to do about brokers that did not answer in time.
func unreached(err error, url string) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return hinted(err, "is "+location.Redact(url)+" right, does this machine reach all brokers, do they want TLS (?tls=true)?")
	}
	return err
}

func (s *site) topics(url string) admin.Topics {
	t := admin.Topics{URL: url, Username: s.KafkaUsername, Password: s.KafkaPassword}
	if c, err := s.credential(); err == nil {
		t.Archive = c.Archive
	}
	return t
}

// partitions is what the archive was made for, which every credential says.
func (s *site) partitions() (int, error) {
	c, err := s.credential()
	if err != nil {
		return 0, err
	}
	return c.Partitions, nil
}

// kafkaSite is the settings, if their transport is Kafka.
func (a *app) kafkaSite() (*site, error) {
	s, err := a.site("")
	if err != nil {
		return nil, err
	}
	if err := s.transport("from"); err != nil {
		return nil, err
	}
	if !isKafka(s.From) {
		return nil, usage("name one with --from kafka://host:port/topic", "the transport %s has no topics", location.Redact(s.From))
	}
	return s, nil
}

func isKafka(url string) bool { return strings.HasPrefix(url, "kafka://") }

func allOK(checks []probe.Result) bool {
	return !slices.ContainsFunc(checks, func(c probe.Result) bool { return !c.OK })
}
