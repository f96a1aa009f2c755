package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// VaultServer is a running HashiCorp Vault over plain HTTP, with integrated storage, initialised and unsealed. It unseals
// itself when it is started again.
type VaultServer struct {
	*Server
	// Endpoint is its URL ("http://127.0.0.1:20123").
	Endpoint string

	mu          sync.Mutex // guards the fields below
	root, share string     // root token and unseal key, from the first start
}

// Vault returns a running Vault, or skips the test (fails it with CI=true) where it cannot be built.
func Vault(t testing.TB, opts ...Option) *VaultServer {
	t.Helper()
	bin, err := vaultArtefact().get(t.Context())
	if err != nil {
		unavailable(t, "Vault", err)
	}
	return serve(t, "vault", collect(opts), func(dir string) (*VaultServer, *Server, error) {
		v := new(VaultServer)
		server, err := startFresh(func() (*Server, error) {
			ports, err := takePorts(2)
			if err != nil {
				return nil, err
			}
			v.Endpoint = "http://" + ports[0].addr()
			config := fmt.Sprintf("storage \"raft\" {\n  path = \"data\"\n  node_id = \"one\"\n}\n"+
				"listener \"tcp\" {\n  address = %q\n  cluster_address = %q\n  tls_disable = true\n}\n"+
				"api_addr = %q\ncluster_addr = \"http://%s\"\ndisable_mlock = true\n",
				ports[0].addr(), ports[1].addr(), v.Endpoint, ports[1].addr())
			if err := os.WriteFile(filepath.Join(dir, "vault.hcl"), []byte(config), 0o600); err != nil {
				return nil, err
			}
			v.Server = &Server{
				Dir: dir, name: "Vault", ports: ports,
				argv:  []string{filepath.Join(bin, "vault"), "server", "-config=vault.hcl"},
				ready: v.prepare,
			}
			return v.Server, errors.Join(os.RemoveAll(filepath.Join(dir, "data")), os.Mkdir(filepath.Join(dir, "data"), 0o700))
		})
		return v, server, err
	})
}

// Root is the token that may do everything.
func (v *VaultServer) Root() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.root
}

// prepare brings the server one step nearer to serving, and returns nil when it serves.
func (v *VaultServer) prepare(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var health struct{ Initialized, Sealed, Standby bool }
	const asked = "sys/health?standbyok=true&sealedcode=200&uninitcode=200&standbycode=200"
	if err := v.ask(ctx, http.MethodGet, asked, "", nil, &health); err != nil {
		return err
	}
	switch {
	case !health.Initialized:
		var made struct {
			Keys  []string `json:"keys_base64"`
			Token string   `json:"root_token"`
		}
		err := v.ask(ctx, http.MethodPut, "sys/init", "", map[string]int{"secret_shares": 1, "secret_threshold": 1}, &made)
		if err != nil || len(made.Keys) != 1 {
			return fmt.Errorf("init: %d keys, %w", len(made.Keys), err)
		}
		v.root, v.share = made.Token, made.Keys[0]
	case health.Sealed:
		if err := v.ask(ctx, http.MethodPut, "sys/unseal", "", map[string]string{"key": v.share}, nil); err != nil {
			return err
		}
	case !health.Standby:
		return nil
	}
	return errors.New("not yet serving")
}

// Call sends one request to the API as the holder of a token. in may be nil, or bytes, or is sent as JSON; out may be nil,
// or a *[]byte, or is read from JSON.
func (v *VaultServer) Call(t testing.TB, token, method, path string, in, out any) {
	t.Helper()
	if err := v.ask(t.Context(), method, path, token, in, out); err != nil {
		t.Fatalf("testbed: Vault: %v", err)
	}
}

// Mount enables a Transit engine at a path that no other test has, and returns the path.
func (v *VaultServer) Mount(t testing.TB) string {
	t.Helper()
	path := Name(t)
	v.Call(t, v.Root(), http.MethodPost, "sys/mounts/"+path, map[string]string{"type": "transit"}, nil)
	return path
}

// Snapshot returns a snapshot of the storage, as an operator keeps it for a disaster.
func (v *VaultServer) Snapshot(t testing.TB) []byte {
	t.Helper()
	var data []byte
	v.Call(t, v.Root(), http.MethodGet, "sys/storage/raft/snapshot", nil, &data)
	return data
}

// Restore puts a snapshot in place of what is stored, and returns when the server answers again. Dedicated servers only.
func (v *VaultServer) Restore(t testing.TB, snapshot []byte) {
	t.Helper()
	if v.shared {
		t.Fatal("testbed: Vault is shared with other tests: ask for it with Dedicated()")
	}
	v.Call(t, v.Root(), http.MethodPost, "sys/storage/raft/snapshot-force", snapshot, nil)
	v.Server.mu.Lock()
	defer v.Server.mu.Unlock()
	if err := v.await(t.Context()); err != nil {
		t.Fatalf("testbed: Vault after a restore: %v\n%s", err, v.Log())
	}
}

func (v *VaultServer) ask(ctx context.Context, method, path, token string, in, out any) error {
	body, ok := in.([]byte)
	if !ok && in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, v.Endpoint+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Close = true // leave no idle connection behind
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode/100 != 2:
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(answer))
	case out == nil:
		return nil
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = answer
		return nil
	}
	return json.Unmarshal(answer, out)
}

// vaultArtefact is HashiCorp Vault (Business Source License: a server to test against, never to import) without its user
// interface and with the few engines of its "minimal" build.
func vaultArtefact() artefact {
	// The newest version whose published parts fit together: its own go.mod replaces some of them by directories that a
	// module does not contain, and later ones need parts that were never published.
	return artefact{name: "vault", version: "v1.21.1", needs: []string{"go"}, build: buildVault}
}

const vaultModule = "github.com/hashicorp/vault"

func buildVault(ctx context.Context, dir string) error {
	version := vaultArtefact().version
	source := filepath.Join(dir, "build")
	if err := os.Mkdir(source, 0o755); err != nil {
		return err
	}
	const main = "package main\n\nimport (\n\t\"os\"\n\n\t\"" + vaultModule + "/command\"\n)\n\nfunc main() { os.Exit(command.Run(os.Args[1:])) }\n"
	if err := os.WriteFile(filepath.Join(source, "main.go"), []byte(main), 0o644); err != nil {
		return err
	}
	origin, err := moduleDir(ctx, vaultModule, version)
	if err != nil {
		return err
	}
	for name, change := range map[string]func([]byte) ([]byte, error){
		"go.mod": func(data []byte) ([]byte, error) { return importing(data, version) },
		"go.sum": func(data []byte) ([]byte, error) { return data, nil },
	} {
		data, err := os.ReadFile(filepath.Join(origin, name))
		if err == nil {
			data, err = change(data)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(source, name), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	// Without optimisation it takes a quarter less time to build, and is fast enough.
	argv := niced("go", "build", "-p", "2", "-mod=mod", "-tags", "minimal", "-gcflags=all=-N -l", "-ldflags=-s -w",
		"-o", filepath.Join(dir, "vault"), ".")
	if err := run(ctx, source, buildEnv(), argv...); err != nil {
		return err
	}
	return os.RemoveAll(source)
}

// importing makes the go.mod of a module that builds the same program from outside: with the same dependencies, but
// without those that only its own repository has.
func importing(data []byte, version string) ([]byte, error) {
	file, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		return nil, err
	}
	if err := file.AddModuleStmt("stele.testbed/vault"); err != nil {
		return nil, err
	}
	for _, replace := range file.Replace {
		if !strings.HasPrefix(replace.New.Path, "./") {
			continue
		}
		if err := file.DropReplace(replace.Old.Path, replace.Old.Version); err != nil {
			return nil, err
		}
	}
	if err := file.AddRequire(vaultModule, version); err != nil {
		return nil, err
	}
	file.Cleanup()
	return file.Format()
}

// moduleDir returns the directory of a module in the module cache, after fetching it.
func moduleDir(ctx context.Context, path, version string) (string, error) {
	if err := run(ctx, os.TempDir(), buildEnv(), "go", "mod", "download", path+"@"+version); err != nil {
		return "", err
	}
	escaped, err := module.EscapePath(path)
	if err != nil {
		return "", err
	}
	cache, err := output(ctx, "go", "env", "GOMODCACHE")
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, filepath.FromSlash(escaped)+"@"+version), nil
}
