package e2e_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// TestRealInputOnRealServices takes the real input through Kafka into a bucket under compliance locks, while two
// compactors are killed again and again.
func TestRealInputOnRealServices(t *testing.T) {
	t.Parallel()
	exchanges, shared, contested, lasting := 1500, 3, 10, 2*time.Minute
	if testbed.Long() {
		exchanges, shared, contested, lasting = 0, 40, 40, 20*time.Minute
	}
	sessions := converse(realInput(t, exchanges))
	broker := testbed.Kafka(t)
	minio := testbed.MinIO(t)
	store := bucket{minio, minio.Bucket(t)}
	const keep, partitions = 30 * 24 * time.Hour, 3
	s := newSite(t, store.url(""), "kafka://"+broker.Addr+"/"+testbed.Name(t), store.env(), "--lock", "compliance", "--keep", "30d")
	st := &storm{t: t, partitions: partitions}
	for _, name := range []string{"one", "two"} {
		g := newGateway(t, store.Endpoint)
		st.gateways = append(st.gateways, g)
		st.nodes = append(st.nodes, s.node(name, []string{"STELE_ARCHIVE=" + store.url(g.url)}))
	}
	fleet := s.fleet(partitions, logpipe.Config{Default: logpipe.ClassConfig{Wait: time.Minute}})
	stop := st.begin(fleet, sessions, lasting)

	// The compactors share the partitions as a group, which takes its time to notice that a member is gone.
	st.rage(shared)
	// They have fixed partitions, and contend for one of them.
	for i, n := range st.nodes {
		n.stop()
		n.flags = []string{"--partitions", []string{"0,1", "1,2"}[i]}
		n.start()
	}
	st.rage(contested)

	stop()
	told := st.conclude(s, fleet, flat(sessions))
	if most := len(st.kills) / 5; st.by[beforeCommit] < most || st.by[beforeReply] < most {
		t.Errorf("%d kills, of which before commit %d, before reply %d: too few", len(st.kills), st.by[beforeCommit], st.by[beforeReply])
	}
	objects, commits := store.checkHeld(t, keep)
	t.Logf("%s; %d objects of which %d are commits, all held", told, objects, commits)
}

// begin starts the nodes, and services that capture sessions for about so long, or until told to hurry and end. It
// returns when all partitions are being committed.
func (s *storm) begin(fleet []*logpipe.Pipe, sessions [][]logpipe.Record, lasting time.Duration) (stop func()) {
	s.t.Helper()
	begun, hurry := time.Now(), make(chan struct{})
	var fed sync.WaitGroup
	for i, pipe := range fleet {
		var share [][]logpipe.Record
		for j := i; j < len(sessions); j += len(fleet) {
			share = append(share, sessions[j])
		}
		fed.Go(func() { feed(s.t, pipe, share, lasting, hurry) })
	}
	for _, n := range s.nodes {
		n.start()
	}
	s.resume(begun)
	s.resumed = 0
	return func() {
		close(hurry)
		fed.Wait()
	}
}

// conclude ends everything in good order, commits what is left, and wants all that was sent in the archive, once.
func (s *storm) conclude(site *site, fleet []*logpipe.Pipe, sent []logpipe.Record) (told string) {
	s.t.Helper()
	for _, pipe := range fleet {
		site.close(pipe)
	}
	for _, n := range s.nodes {
		n.stop()
		if len(n.commits()) == 0 {
			s.t.Errorf("compactor %s committed nothing", n.name)
		}
	}
	site.compactOnce()
	require := allVerdicts
	if s.gateways == nil {
		require = "integrity,completeness,readability" // a directory holds nothing
	}
	r := site.verify(0, "--unlock", "--require", require)
	site.verify(0)
	if r.Records != uint64(len(sent)) || r.Opened != r.Records {
		s.t.Errorf("verify saw %d records and opened %d, sent were %d", r.Records, r.Opened, len(sent))
	}
	compare(s.t, sent, site.restore())
	told = fmt.Sprintf("%d records, %d kills (%d before commit, %d before reply), longest pause of a partition %v, commits",
		len(sent), len(s.kills), s.by[beforeCommit], s.by[beforeReply], s.resumed.Round(time.Millisecond))
	for _, n := range s.nodes {
		told += fmt.Sprintf(" %d", len(n.commits()))
	}
	return told
}
