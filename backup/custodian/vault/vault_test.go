package vault

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/custodiantest"
	"github.com/stelelog/stele/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// leastPolicy is what docs/CUSTODIANS.md asks for, with the mount in the place of "transit".
func leastPolicy(t *testing.T, mount string) string {
	t.Helper()
	data, err := os.ReadFile("../../../docs/CUSTODIANS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "```hcl\n")
	policy, _, ends := strings.Cut(rest, "```")
	if !ok || !ends || !strings.Contains(policy, `"transit/`) {
		t.Fatal("docs/CUSTODIANS.md has no policy of a custodian's token")
	}
	return strings.ReplaceAll(policy, `"transit/`, `"`+mount+`/`)
}

// tokenFor makes a token with the least policy and nothing else.
func tokenFor(t *testing.T, v *testbed.VaultServer, mount string) string {
	t.Helper()
	v.Call(t, v.Root(), http.MethodPut, "sys/policies/acl/"+mount, map[string]string{"policy": leastPolicy(t, mount)}, nil)
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	v.Call(t, v.Root(), http.MethodPost, "auth/token/create", map[string]any{"policies": []string{mount}, "no_default_policy": true}, &made)
	return made.Auth.Token
}

func fixed(token string) func() (string, error) { return func() (string, error) { return token, nil } }

func mustOpen(t testing.TB, config Config, id custodian.Identity) *Custodian {
	t.Helper()
	c, err := Open(config, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func testID() custodian.Identity {
	return custodian.Identity{Archive: [16]byte{1, 2, 3}, Name: "vault"}
}

// wrapped makes a generation and wraps a share in it.
func wrapped(t testing.TB, c *Custodian, generation uint64) (custodian.Share, []byte) {
	t.Helper()
	share := custodian.Share{1, 2, 3, byte(generation)}
	if _, err := c.Create(t.Context(), generation); err != nil {
		t.Fatal(err)
	}
	blob, err := c.Wrap(t.Context(), generation, share)
	if err != nil {
		t.Fatal(err)
	}
	return share, blob
}

func TestContract(t *testing.T) {
	v := testbed.Vault(t)
	t.Run("root token", func(t *testing.T) {
		config := Config{Address: v.Endpoint, Mount: v.Mount(t), Token: fixed(v.Root())}
		custodiantest.Run(t, custodiantest.Device{Class: custodian.BestEffort, Open: func(t testing.TB, id custodian.Identity) custodian.Custodian {
			return mustOpen(t, config, id)
		}})
	})
	t.Run("least token, class B", func(t *testing.T) {
		mount, month := v.Mount(t), 30*24*time.Hour
		config := Config{Address: v.Endpoint, Mount: mount, Token: fixed(tokenFor(t, v, mount)),
			Erasure: custodian.Erasure{Class: custodian.Delayed, Delay: month}}
		device := custodiantest.Device{Class: custodian.Delayed, Delay: month, Open: func(t testing.TB, id custodian.Identity) custodian.Custodian {
			return mustOpen(t, config, id)
		}}
		custodiantest.Run(t, device)
	})
}

// TestSnapshotBringsBack is why the class is not A: the storage from before a deletion opens what was deleted.
func TestSnapshotBringsBack(t *testing.T) {
	v := testbed.Vault(t, testbed.Dedicated())
	c := mustOpen(t, Config{Address: v.Endpoint, Mount: v.Mount(t), Token: fixed(v.Root())}, testID())
	share, blob := wrapped(t, c, 1)
	snapshot := v.Snapshot(t)
	s, err := c.Destroy(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	a, err := custodian.ParseAttestation(s.Attestation)
	if err != nil || a.Class != custodian.BestEffort || a.Declared || !a.From.IsZero() || a.Kind != "vault" ||
		a.Evidence["read_after_delete"] != "404" || a.Evidence["version"] == "" || a.Evidence["cluster"] == "" {
		t.Errorf("statement %s, %v", s.Attestation, err)
	}
	v.Restore(t, snapshot)
	if got, err := c.Unwrap(t.Context(), 1, blob); err != nil || got != share {
		t.Errorf("after the restore: %v", err)
	}
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Live {
		t.Errorf("after the restore: %v, %v", s.State, err)
	}
}

// TestBroughtBack: a key that came back while the marks stayed is live, cannot be used, and is destroyed again, later.
func TestBroughtBack(t *testing.T) {
	v := testbed.Vault(t)
	mount := v.Mount(t)
	c := mustOpen(t, Config{Address: v.Endpoint, Mount: mount, Token: fixed(v.Root())}, testID())
	wrapped(t, c, 1)
	first, err := c.Destroy(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	v.Call(t, v.Root(), http.MethodPost, mount+"/keys/"+c.id.Label(1), map[string]string{"type": keyType}, nil)
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Live {
		t.Errorf("%v, %v", s.State, err)
	}
	if _, err := c.Create(t.Context(), 1); !errors.Is(err, custodian.ErrDestroyed) {
		t.Errorf("create: %v", err)
	}
	deadline := time.Now().Add(time.Minute) // the server's clock has whole seconds
	for time.Now().Unix() < first.Destroyed.Unix() && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	if s, err := c.Destroy(t.Context(), 1); err != nil || s.State != custodian.Destroyed || !s.Destroyed.After(first.Destroyed) {
		t.Errorf("destroyed again: %+v, %v; before at %v", s, err, first.Destroyed)
	}
}

// TestKeyCannotLeave asks the server for the key in all ways there are.
func TestKeyCannotLeave(t *testing.T) {
	v := testbed.Vault(t)
	mount := v.Mount(t)
	c := mustOpen(t, Config{Address: v.Endpoint, Mount: mount, Token: fixed(v.Root())}, testID())
	wrapped(t, c, 1)
	root := mustOpen(t, Config{Address: v.Endpoint, Mount: mount, Token: fixed(v.Root())}, testID()).client
	label := c.id.Label(1)
	for _, path := range []string{"/export/encryption-key/", "/export/hmac-key/", "/backup/"} {
		if err := root.call(t.Context(), http.MethodGet, mount+path+label, nil, nil); err == nil {
			t.Errorf("%s gave the key away", path)
		}
	}
	if err := root.call(t.Context(), http.MethodDelete, mount+"/keys/"+label, nil, nil); refused(err) != http.StatusBadRequest {
		t.Errorf("deleted without deletion_allowed: %v", err)
	}
}

// TestBlobIsBoundByItself: even where two generations had one key, a blob would open in its own only.
func TestBlobIsBoundByItself(t *testing.T) {
	v := testbed.Vault(t)
	mount := v.Mount(t)
	c := mustOpen(t, Config{Address: v.Endpoint, Mount: mount, Token: fixed(v.Root())}, testID())
	share, blob := wrapped(t, c, 1)
	other := testID()
	other.Archive[0]++
	named := custodian.Identity{Archive: testID().Archive, Name: "other"}
	for i, aad := range [][]byte{testID().AAD(1), nil, testID().AAD(2), other.AAD(1), named.AAD(1)} {
		var out struct {
			Plaintext []byte `json:"plaintext"`
		}
		in := map[string]any{"ciphertext": string(blob), "associated_data": aad}
		err := c.client.call(t.Context(), http.MethodPost, mount+"/decrypt/"+c.id.Label(1), in, &out)
		if (err == nil) != (i == 0) || i == 0 && string(out.Plaintext) != string(share[:]) {
			t.Errorf("with the associated data %x: %v", aad, err)
		}
	}
}

// TestForeignKey: a key that somebody made beforehand, to keep a copy, is not taken.
func TestForeignKey(t *testing.T) {
	v := testbed.Vault(t)
	mount := v.Mount(t)
	c := mustOpen(t, Config{Address: v.Endpoint, Mount: mount, Token: fixed(v.Root())}, testID())
	for i, settings := range []map[string]any{
		{"type": keyType, "exportable": true}, {"type": keyType, "allow_plaintext_backup": true},
		{"type": "chacha20-poly1305"}, {"type": keyType, "derived": true}, {"type": "ecdsa-p256"},
	} {
		generation := uint64(i)
		v.Call(t, v.Root(), http.MethodPost, mount+"/keys/"+c.id.Label(generation), settings, nil)
		if _, err := c.Create(t.Context(), generation); err == nil || !strings.Contains(err.Error(), "not made by Stele") {
			t.Errorf("%v: %v", settings, err)
		}
	}
}

// TestEncryptMakesNoKey: without Create's setting, Wrap of what is not there would make a key.
func TestEncryptMakesNoKey(t *testing.T) {
	v := testbed.Vault(t)
	mount := v.Mount(t)
	c := mustOpen(t, Config{Address: v.Endpoint, Mount: mount, Token: fixed(v.Root())}, testID())
	if _, err := c.Wrap(t.Context(), 99, custodian.Share{}); err != nil {
		t.Fatalf("the server has changed: encrypting no longer makes keys by default: %v", err)
	}
	wrapped(t, c, 1)
	if _, err := c.Wrap(t.Context(), 2, custodian.Share{}); !errors.Is(err, custodian.ErrUnknown) {
		t.Errorf("wrap without a key: %v", err)
	}
	if s, err := c.Status(t.Context(), 2); err != nil || s.State != custodian.Unknown {
		t.Errorf("%v, %v", s.State, err)
	}

	// Nor if the setting is not ours to change.
	other := v.Mount(t)
	policy := strings.Replace(leastPolicy(t, other), `"`+other+`/config/keys" { capabilities = ["read", "update"] }`,
		`"`+other+`/config/keys" { capabilities = ["read"] }`, 1)
	if policy == leastPolicy(t, other) {
		t.Fatal("the policy of docs/CUSTODIANS.md has another form")
	}
	v.Call(t, v.Root(), http.MethodPut, "sys/policies/acl/"+other, map[string]string{"policy": policy}, nil)
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	v.Call(t, v.Root(), http.MethodPost, "auth/token/create", map[string]any{"policies": []string{other}}, &made)
	c = mustOpen(t, Config{Address: v.Endpoint, Mount: other, Token: fixed(made.Auth.Token)}, testID())
	if _, err := c.Create(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "disable_upsert=true") {
		t.Errorf("create where encrypting makes keys: %v", err)
	}
	v.Call(t, v.Root(), http.MethodPost, other+"/config/keys", map[string]bool{"disable_upsert": true}, nil)
	wrapped(t, c, 1)
}

// TestWrongPlace: where nothing is, nothing was destroyed.
func TestWrongPlace(t *testing.T) {
	v := testbed.Vault(t)
	mount := v.Mount(t)
	right := mustOpen(t, Config{Address: v.Endpoint, Mount: mount, Token: fixed(v.Root())}, testID())
	_, blob := wrapped(t, right, 1)

	empty := mustOpen(t, Config{Address: v.Endpoint, Mount: v.Mount(t), Token: fixed(v.Root())}, testID())
	if _, err := empty.Destroy(t.Context(), 1); !errors.Is(err, custodian.ErrUnknown) {
		t.Errorf("another mount: %v", err)
	}
	for what, config := range map[string]Config{
		"enable it":     {Address: v.Endpoint, Mount: "nowhere", Token: fixed(v.Root())},
		"policy":        {Address: v.Endpoint, Mount: mount, Token: fixed("wrong")},
		"not available": {Address: "http://127.0.0.1:1", Mount: mount, Token: fixed(v.Root())},
	} {
		c := mustOpen(t, config, testID())
		s, destroy := c.Destroy(t.Context(), 1)
		_, create := c.Create(t.Context(), 1)
		_, unwrap := c.Unwrap(t.Context(), 1, blob)
		_, status := c.Status(t.Context(), 1)
		for op, err := range map[string]error{"destroy": destroy, "create": create, "unwrap": unwrap, "status": status} {
			if err == nil || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), v.Root()) {
				t.Errorf("%s, %s: %v", what, op, err)
			}
			if errors.Is(err, custodian.ErrUnknown) || errors.Is(err, custodian.ErrDestroyed) || errors.Is(err, custodian.ErrBlob) {
				t.Errorf("%s, %s is taken for an answer: %v", what, op, err)
			}
		}
		if s.State == custodian.Destroyed {
			t.Errorf("%s: destroyed", what)
		}
	}
}

func TestSealed(t *testing.T) {
	v := testbed.Vault(t, testbed.Dedicated())
	c := mustOpen(t, Config{Address: v.Endpoint, Mount: v.Mount(t), Token: fixed(v.Root())}, testID())
	share, blob := wrapped(t, c, 1)
	v.Call(t, v.Root(), http.MethodPut, "sys/seal", nil, nil)
	_, destroy := c.Destroy(t.Context(), 1)
	_, unwrap := c.Unwrap(t.Context(), 1, blob)
	for _, err := range []error{destroy, unwrap} {
		if !errors.Is(err, custodian.ErrUnavailable) || !strings.Contains(err.Error(), "unseal") {
			t.Error(err)
		}
	}
	if err := v.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Unwrap(t.Context(), 1, blob); !errors.Is(err, custodian.ErrUnavailable) {
		t.Errorf("without a server: %v", err)
	}
	if err := v.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Unwrap(t.Context(), 1, blob); err != nil || got != share {
		t.Errorf("when it is back: %v", err)
	}
}
