package backup_test

import (
	"slices"
	"testing"
	"time"

	. "github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/rangeproof"
	"github.com/stelelog/stele/internal/commit"
	"github.com/stelelog/stele/logpipe"
)

// TestReadersOfMalformedCommits: a compactor that lies can leave out what every commit with leaves has, and may even have its
// head taken in. Verify says so; who only reads does not die of it, and has the records of honest commits.
func TestReadersOfMalformedCommits(t *testing.T) {
	honest := newInsider(t)
	without := func(kind string) func(*commit.Commit) {
		return func(c *commit.Commit) {
			c.Objects = slices.DeleteFunc(c.Objects, func(o commit.Object) bool { return o.Kind == kind })
		}
	}
	for name, edit := range map[string]func(*commit.Commit){
		"no index":            without(commit.KindIndex),
		"no proof":            without(commit.KindProof),
		"no ranges":           func(c *commit.Commit) { c.Index = nil },
		"no sections":         func(c *commit.Commit) { c.Proof = nil },
		"sections missing":    func(c *commit.Commit) { c.Proof = c.Proof[:1] },
		"no end of its times": func(c *commit.Commit) { c.Until = nil },
		"nothing at all": func(c *commit.Commit) {
			c.Objects, c.Index, c.Proof, c.From, c.Until, c.Streams = nil, nil, nil, nil, nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := honest.clone(t)
			c := in.commit()
			edit(c)
			in.publish(c)
			keys := in.keys()
			in.once(keys)
			wantExit(t, in.verify(VerifyOptions{}), 10)

			r := in.reader(keys)
			var ids []logpipe.ID
			for f, err := range r.Records(t.Context(), Query{}) {
				if err == nil {
					ids = append(ids, f.ID)
				}
			}
			if len(ids) < 5 {
				t.Errorf("%d records are left of 5 in the commit before", len(ids))
			}
			now := time.Now()
			since := now.Add(-time.Hour)
			for _, q := range []Query{{Subject: "subject-1"}, {Session: "session-2"}, {Since: since, Until: now}, {Subject: "subject-1", Since: since}} {
				for range r.Records(t.Context(), q) {
				}
			}
			for _, id := range []logpipe.ID{ids[0], ids[len(ids)-1]} {
				_, err := r.Prove(t.Context(), []logpipe.ID{id}, []string{"body"})
				t.Log("prove:", err)
			}
			a := in.open()
			_, err := a.Count(t.Context(), since, now)
			t.Log("count:", err)
			_, err = a.Census(t.Context(), append(ids, logpipe.ID{1}), since, now)
			t.Log("census:", err)
			_, err = r.Census(t.Context(), "", "subject-1", "")
			t.Log("census of a subject:", err)
			for _, q := range []rangeproof.Query{{}, {Since: since}} {
				_, err = a.Answer(t.Context(), q, false, func(rangeproof.Cost) error { return nil })
				t.Log("answer:", err)
			}
			a.Streams(now)
		})
	}
}
