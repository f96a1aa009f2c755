package keys_test

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamagedGrants: a damaged log of grants keeps no other lane's from the key store, nor what lies before the damage, and is
// said to be so once. Not removed is what lies behind it: somebody may mend it.
func TestDamagedGrants(t *testing.T) {
	for name, ended := range map[string]bool{"of a writer that lives": false, "of one that is gone": true} {
		w := newWorld(t)
		bad, good := w.granter(), w.granter()
		before := bad.grant(2, "ada")
		behind := bad.grant(2, "ada")
		b := good.grant(2, "bob")
		if ended {
			w.must(bad.lane.Close())
		}
		files, err := filepath.Glob(w.path("spool/lanes/" + hex.EncodeToString(bad.cert.Stream[:]) + "/grants-*"))
		w.must(err)
		data, err := os.ReadFile(files[0])
		w.must(err)
		data[len(data)-200] ^= 1
		w.must(os.WriteFile(files[0], data, 0o600))

		log := new(bytes.Buffer)
		cfg := w.config()
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		s := w.open(cfg)
		for range 2 {
			w.must(s.Fold(t.Context()))
			w.all(s, "live", before, b)
			w.all(s, "unknown", behind)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("%s: said %d times:\n%s", name, n, log)
		}
		data[len(data)-200] ^= 1
		w.must(os.WriteFile(files[0], data, 0o600))
		w.must(s.Fold(t.Context()))
		w.all(s, "live", behind)
	}
}
