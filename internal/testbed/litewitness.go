package testbed

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Witness is a running litewitness, which cosigns the checkpoints of logs that it was told of (c2sp.org/tlog-witness).
type Witness struct {
	*Server
	// URL is where it takes checkpoints, VKey the key of its cosignatures.
	URL, VKey string
}

func litewitnessArtefact() artefact {
	// The last version for Go 1.26. Its witnessctl needs a module that is not published any more.
	a := goArtefact("litewitness", "filippo.io/torchwood/cmd/litewitness", "v0.9.0")
	a.needs = append(a.needs, "python3")
	return a
}

// Litewitness returns a witness of the test's own that knows one log, or skips the test (fails it with CI=true) where it cannot
// be built. Its key is in an ssh-agent that this process is.
func Litewitness(t testing.TB, name, origin, vkey string) *Witness {
	t.Helper()
	bin, err := litewitnessArtefact().get(t.Context())
	if err != nil {
		unavailable(t, "litewitness", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	socket, fingerprint := sshAgent(t, private)
	return serve(t, "litewitness", options{dedicated: true}, func(dir string) (*Witness, *Server, error) {
		w := &Witness{VKey: cosignatureKey(name, public)}
		if err := knowLog(t.Context(), filepath.Join(dir, "witness.db"), origin, vkey); err != nil {
			return nil, nil, err
		}
		server, err := startFresh(func() (*Server, error) {
			ports, err := takePorts(1)
			if err != nil {
				return nil, err
			}
			w.URL = "http://" + ports[0].addr()
			w.Server = &Server{Dir: dir, name: "litewitness", ports: ports, ready: httpReady(w.URL+"/", http.StatusOK),
				argv: []string{filepath.Join(bin, "litewitness"), "-name", name, "-db", "witness.db", "-key", fingerprint,
					"-ssh-agent", socket, "-listen", ports[0].addr()}}
			return w.Server, nil
		})
		return w, server, err
	})
}

// sshAgent serves a key as an ssh-agent does until the test ends.
func sshAgent(t testing.TB, key ed25519.PrivateKey) (socket, fingerprint string) {
	t.Helper()
	ring := agent.NewKeyring()
	public, err := ssh.NewPublicKey(key.Public())
	if err == nil {
		err = ring.Add(agent.AddedKey{PrivateKey: key})
	}
	if err != nil {
		t.Fatalf("testbed: ssh-agent: %v", err)
	}
	dir, err := os.MkdirTemp("", "agent") // short: the path of a socket has 107 bytes at most
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = agent.ServeAgent(ring, c) // until the other side hangs up
				c.Close()
			}()
		}
	}()
	return l.Addr().String(), ssh.FingerprintSHA256(public)
}

// WitnessKey is a new key of a witness whose private half nobody has.
func WitnessKey(name string) string {
	public, _, _ := ed25519.GenerateKey(nil) // fails only without randomness
	return cosignatureKey(name, public)
}

// cosignatureKey is the text form of the key of a witness (c2sp.org/tlog-cosignature).
func cosignatureKey(name string, public ed25519.PublicKey) string {
	key := append([]byte{4}, public...)
	sum := sha256.Sum256([]byte(name + "\n" + string(key)))
	return fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(key))
}

// knowLog makes the database of a witness that has seen nothing of one log.
func knowLog(ctx context.Context, path, origin, vkey string) error {
	const script = `import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("""
CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL);
CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));
""")
db.execute("INSERT INTO log VALUES (?, 0, '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=')", sys.argv[2:3])
db.execute("INSERT INTO key VALUES (?, ?)", sys.argv[2:4])
db.commit()
`
	out, err := exec.CommandContext(ctx, "python3", "-c", script, path, origin, vkey).CombinedOutput()
	if err != nil {
		return fmt.Errorf("database of the witness: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
