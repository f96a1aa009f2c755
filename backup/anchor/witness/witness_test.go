package witness_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/backup/anchor/witness"
	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/merkle"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// history is a log of n leaves.
type history struct {
	levels [][]merkle.Hash
	f      merkle.Frontier
}

func (h *history) grow(words ...string) {
	for _, w := range words {
		h.levels = h.f.AppendLevels(h.levels, merkle.LeafHash([]byte(w)))
	}
}

func (h *history) sign(t *testing.T, s note.Signer) []byte {
	t.Helper()
	file, err := merkle.Checkpoint{Origin: "log.example", Size: h.f.Size(), Root: h.f.Root()}.Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func (h *history) prove(old uint64) (merkle.ConsistencyProof, error) {
	return merkle.ProveConsistency(old, h.f.Size(), func(nodes []merkle.Node, hashes []merkle.Hash) error {
		for i, n := range nodes {
			hashes[i] = h.levels[n.Level][n.Index]
		}
		return nil
	})
}

func TestRealWitness(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	w := testbed.Litewitness(t, "witness.example", "log.example", vkey)
	c, err := witness.New("W", w.VKey, w.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	var log, other history
	log.grow("a", "b", "c")
	other.grow("a", "x", "y", "z")
	cosign := func(h *history, old uint64) error {
		line, err := c.Cosign(t.Context(), h.sign(t, signer), old, h.prove)
		if err == nil && !strings.HasPrefix(string(line), "— witness.example ") {
			t.Errorf("line %q", line)
		}
		return err
	}
	if err := cosign(&log, 0); err != nil {
		t.Fatal(err)
	}
	early := log
	log.grow("d", "e", "f", "g")
	for _, old := range []uint64{3, 7, 0, 1, 100} { // what is believed may be wrong
		if err := cosign(&log, old); err != nil {
			t.Fatal(err)
		}
	}
	var no *witness.ContradictionError
	if err := cosign(&early, 3); !errors.As(err, &no) || no.Known != 7 || no.Asked != 3 {
		t.Errorf("a log that was rolled back: %v", err)
	}
	if err := cosign(&other, 0); !errors.As(err, &no) || no.Known != 7 {
		t.Errorf("a shorter other history: %v", err)
	}
	other.grow("1", "2", "3")
	if err := cosign(&other, 0); !errors.As(err, &no) || no.Known != 7 || no.Asked != 7 {
		t.Errorf("another history of the same length: %v", err)
	}
	other.grow("4", "5")
	if err := cosign(&other, 7); !errors.As(err, &no) || no.Known != 7 || no.Asked != 9 {
		t.Errorf("a longer other history: %v", err)
	}
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	log.grow("h")
	if err := cosign(&log, 7); err == nil || errors.As(err, &no) {
		t.Errorf("a dead witness: %v", err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cosign(&log, 7); err != nil {
		t.Error(err)
	}
}

// A witness that answers badly is an error, never a cosignature and never a contradiction.
func TestBadAnswers(t *testing.T) {
	skey, _, err := note.GenerateKey(nil, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	var log history
	log.grow("a", "b")
	for name, answer := range map[string]func(w http.ResponseWriter){
		"nothing":           func(w http.ResponseWriter) {},
		"rubbish":           func(w http.ResponseWriter) { fmt.Fprint(w, "ok\n") },
		"log's signature":   func(w http.ResponseWriter) { w.Write(log.sign(t, signer)) },
		"unknown log":       func(w http.ResponseWriter) { w.WriteHeader(404) },
		"conflict, no size": func(w http.ResponseWriter) { w.WriteHeader(409) },
		"conflict, bad size": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(409)
			fmt.Fprint(w, "-1\n")
		},
		"conflict, as html": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(409)
			fmt.Fprint(w, "9\n")
		},
		"error": func(w http.ResponseWriter) { w.WriteHeader(500) },
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
		c, err := witness.New("W", testbed.WitnessKey("witness.example"), s.URL, nil)
		if err == nil {
			_, err = c.Cosign(t.Context(), log.sign(t, signer), 0, log.prove)
		}
		var no *witness.ContradictionError
		if err == nil || errors.As(err, &no) {
			t.Errorf("%s: %v", name, err)
		}
		s.Close()
	}
}
