package e2e_test

import (
	"testing"
	"time"

	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// TestRealInputOnOtherServices does what TestRealInputOnRealServices does, outside of long runs with less input and fewer
// kills: without any server, and into another S3 server.
func TestRealInputOnOtherServices(t *testing.T) {
	exchanges, kills, lasting := 300, 6, time.Minute
	if testbed.Long() {
		exchanges, kills, lasting = 0, 60, 10*time.Minute
	}
	t.Run("directories", func(t *testing.T) {
		t.Parallel()
		sessions := converse(realInput(t, exchanges))
		s := newSite(t, fileURL(t, "archive"), fileURL(t, "spool"), nil)
		st := &storm{t: t, partitions: 3, pause: time.Second / 2}
		st.nodes = []*node{s.node("one", nil), s.node("two", nil)} // both take all partitions
		t.Log(st.carry(s, sessions, kills, lasting))
	})
	t.Run("versitygw", func(t *testing.T) {
		t.Parallel()
		sessions := converse(realInput(t, exchanges))
		gw := testbed.VersityGW(t)
		store := bucket{gw, gw.Bucket(t)}
		s := newSite(t, store.url(""), fileURL(t, "spool"), store.env(), "--lock", "compliance", "--keep", "2d")
		st := &storm{t: t, partitions: 3, pause: time.Second / 2}
		for _, name := range []string{"one", "two"} {
			g := newGateway(t, store.Endpoint)
			st.gateways = append(st.gateways, g)
			st.nodes = append(st.nodes, s.node(name, []string{"STELE_ARCHIVE=" + store.url(g.url)}))
		}
		told := st.carry(s, sessions, kills, lasting)
		objects, commits := store.checkHeld(t, 48*time.Hour)
		t.Logf("%s; %d objects of which %d are commits, all held", told, objects, commits)
	})
}

// carry takes sessions through the whole while compactors are killed, and checks what comes out.
func (st *storm) carry(s *site, sessions [][]logpipe.Record, kills int, lasting time.Duration) (told string) {
	st.t.Helper()
	fleet := s.fleet(st.partitions, logpipe.Config{Default: logpipe.ClassConfig{Wait: time.Minute}})
	stop := st.begin(fleet, sessions, lasting)
	st.rage(kills)
	stop()
	return st.conclude(s, fleet, flat(sessions))
}
