package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/stelelog/stele/internal/testbed"
	"github.com/stelelog/stele/logpipe"
)

// approvers enrols two persons with keys of their own, and returns their role files.
func (s *site) approvers() (files []string) {
	s.t.Helper()
	for _, name := range []string{"anna", "bert"} {
		file := filepath.Join(s.t.TempDir(), name+".stele")
		s.must("key", "new", "approver", name, "--out", file, "--like", filepath.Join(s.dir, "reader", "reader.stele"))
		s.must("key", "add", "approver", file+".pub")
		files = append(files, file)
	}
	return files
}

// must runs a verb that has to succeed.
func (s *site) must(args ...string) (stdout string) {
	s.t.Helper()
	stdout, stderr, code := s.stele(args...)
	if code != 0 {
		s.t.Fatalf("stele %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// request asks for an erasure and has it approved by two. It returns the id and the request file.
func (s *site) request(approvers []string, target ...string) (id, file string) {
	s.t.Helper()
	file = filepath.Join(s.t.TempDir(), "request.json")
	var answer struct{ ID string }
	stdout := s.must(append([]string{"erase", "request", "--json", "--out", file}, target...)...)
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || answer.ID == "" {
		s.t.Fatalf("stele erase request: %v\n%s", err, stdout)
	}
	for _, who := range approvers {
		s.must("erase", "approve", answer.ID, "--as", who, "--file", file)
	}
	return answer.ID, file
}

// carriedOut runs compactors until all requests are done.
func (s *site) carriedOut() {
	s.t.Helper()
	var status struct {
		Requests []struct{ ID, Standing, What string }
	}
	for range 8 { // approvals are taken in, then carried out, then reported
		s.compactOnce()
		status.Requests = nil
		if err := json.Unmarshal([]byte(s.must("erase", "status", "--json")), &status); err != nil {
			s.t.Fatal(err)
		}
		open := false
		for _, r := range status.Requests {
			open = open || r.What == "erase" && r.Standing != "done"
		}
		if !open {
			return
		}
	}
	s.t.Fatalf("not all requests are done: %+v", status)
}

// TestErasedForEver erases 3 of 200 persons and one session of a fourth from an archive that nobody can change, and looks
// everywhere: in the archive, in a copy of bucket and key store from before, and in that copy under today's keys.
func TestErasedForEver(t *testing.T) {
	t.Parallel()
	exchanges := 250
	if testbed.Long() {
		exchanges = 0
	}
	sessions := converse(realInput(t, exchanges))
	broker, minio := testbed.Kafka(t), testbed.MinIO(t)
	store := bucket{minio, minio.Bucket(t)}
	replica := bucket{minio, minio.Bucket(t)}
	s := newSite(t, store.url(""), "kafka://"+broker.Addr+"/"+testbed.Name(t), append(store.env(), "STELE_REPLICA="+replica.url("")), "--lock", "compliance", "--keep", "2d")
	approvers := s.approvers()
	goes := choose(sessions)
	pipe := s.service(3, logpipe.Config{})
	for _, half := range [][][]logpipe.Record{sessions[:len(sessions)/2], sessions[len(sessions)/2:]} {
		feed(t, pipe, half, 0, nil)
		flush(t, pipe)
		s.compactOnce()
	}
	s.close(pipe)
	s.compactOnce()
	const all = allVerdicts + ",erasure"
	s.verify(0, "--unlock", "--require", all)

	before := s.backup(store)
	compare(t, flat(sessions), before.restore()) // as long as nothing was erased

	var certificates []string
	requests := map[string]string{}
	for _, target := range goes {
		id, file := s.request(approvers, "--"+target.kind, target.value)
		requests[id] = file
	}
	s.carriedOut()
	s.compactOnce()
	r := s.verify(0, "--unlock", "--require", all)
	stay, gone := goes.split(sessions)
	if r.Records != uint64(len(stay)+len(gone)) || r.Opened != uint64(len(stay)) {
		t.Errorf("verify saw %d records and opened %d; %d were sent and %d stay", r.Records, r.Opened, len(stay)+len(gone), len(stay))
	}
	compare(t, stay, s.restore())
	s.stubs(stay, gone)
	for _, target := range goes {
		var answer struct{ Found []any }
		if err := json.Unmarshal([]byte(s.must("search", "--"+target.kind, target.value, "--json")), &answer); err != nil || len(answer.Found) > 0 {
			t.Errorf("a search for an erased %s finds %v, %v", target.kind, answer.Found, err)
		}
	}

	before.opensNone()
	mixed := before.under(store)
	compare(t, stay, mixed.restore())

	for id, file := range requests {
		certificates = append(certificates, s.certificate(id, file))
	}
	size := 0
	for _, path := range certificates {
		size += checkCertificate(t, s, path)
	}
	s.drills(approvers)
	s.recovers(store, approvers)
	if there, here := replica.keyObjects(t), store.keyObjects(t); !slices.Equal(there, here) || len(there) == 0 {
		t.Errorf("the replica has %d objects of the key store, the archive %d", len(there), len(here))
	}
	t.Logf("%d records of %d sessions, %d erased by %d requests; %d certificates of %d bytes", len(stay)+len(gone), len(sessions), len(gone), len(requests), len(certificates), size)
}

// drills runs a drill of erasure to its end: what it waits for, a compactor does.
func (s *site) drills(approvers []string) {
	s.t.Helper()
	for range 8 {
		stdout, stderr, code := s.stele("drill", "erasure", "--wait", "0s", "--sample", "100", "--as", approvers[0], "--as", approvers[1], "--json")
		if code == 1 {
			s.compactOnce()
			continue
		}
		var answer struct {
			OK                  bool
			Dead, Alive, Opened int
		}
		if err := json.Unmarshal([]byte(stdout), &answer); err != nil || code != 0 || !answer.OK || answer.Dead != 3 || answer.Alive != 0 || answer.Opened == 0 {
			s.t.Errorf("stele drill erasure: exit code %d, %v\n%s%s", code, err, stdout, stderr)
		}
		return
	}
	s.t.Error("the drill does not end")
}

// recovers loses the newest root record in a copy of the bucket that nothing locks, and lets two persons decide that the one
// before stands in.
func (s *site) recovers(store bucket, approvers []string) {
	s.t.Helper()
	capture := s.command("stele", "capture")
	capture.Stdin = strings.NewReader(`{"kind":"input","subject":"young","body":"after all erasures"}`)
	if _, stderr, code := s.run(capture); code != 0 {
		s.t.Fatalf("stele capture: exit code %d\n%s", code, stderr)
	}
	s.compactOnce()
	s.compactOnce() // takes in what the key service said of its newest record
	copied := bucket{store.S3, store.Bucket(s.t)}
	store.upload(s.t, copied)
	copied.loses(s.t, "chat/keys/roots/")
	c := s.with("STELE_ARCHIVE="+copied.url(""), "STELE_REPLICA=")
	sequence := func() { // the key service would stop
		s.t.Helper()
		keys := filepath.Join(s.dir, "keys")
		err := os.Rename(keys, keys+".away")
		c.compactOnce()
		if err = errors.Join(err, os.Rename(keys+".away", keys)); err != nil {
			s.t.Fatal(err)
		}
	}
	if stdout, stderr, code := c.stele("recover", "status"); code != 15 || !strings.Contains(stdout, "could stand in") {
		s.t.Fatalf("stele recover status: exit code %d\n%s%s", code, stdout, stderr)
	}
	var answer struct{ ID string }
	if err := json.Unmarshal([]byte(c.must("recover", "request", "--as", approvers[0], "--json")), &answer); err != nil {
		s.t.Fatal(err)
	}
	sequence()
	c.must("erase", "approve", answer.ID, "--as", approvers[0])
	if _, stderr, code := c.stele("recover", "run"); code != 1 || !strings.Contains(stderr, "no approved request") {
		s.t.Errorf("one approved: exit code %d\n%s", code, stderr)
	}
	c.must("erase", "approve", answer.ID, "--as", approvers[1])
	sequence()
	c.must("recover", "run")
	c.compactOnce()
	c.must("recover", "status")
	r := c.verify(0, "--require", "integrity,completeness,erasure")
	if !slices.ContainsFunc(r.Notices, func(n struct{ Verdict, Key, Detail string }) bool {
		return strings.Contains(n.Detail, "stands in for newer ones that were lost")
	}) {
		s.t.Errorf("verify says nothing of the recovery: %+v", r.Notices)
	}
}

// loses removes all versions of the last object under a prefix.
func (b bucket) loses(t *testing.T, prefix string) {
	t.Helper()
	c, last := b.client(t), ""
	for o := range c.ListObjects(t.Context(), b.name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		last = max(last, o.Key)
	}
	for o := range c.ListObjects(t.Context(), b.name, minio.ListObjectsOptions{Prefix: last, Recursive: true, WithVersions: true}) {
		if err := errors.Join(o.Err, c.RemoveObject(t.Context(), b.name, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID})); err != nil {
			t.Fatal(err)
		}
	}
}

// keyObjects lists the objects of the key store.
func (b bucket) keyObjects(t *testing.T) (keys []string) {
	t.Helper()
	for o := range b.client(t).ListObjects(t.Context(), b.name, minio.ListObjectsOptions{Prefix: "chat/keys/", Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// selection is what the test erases.
type selection []struct{ kind, value string }

// choose picks the persons with the most sessions, and a session of the fourth. What is erased is in no class that has to be
// kept, and every record has an id by which its stub can be told.
func choose(sessions [][]logpipe.Record) (out selection) {
	of := map[string][]int{}
	for i, session := range sessions {
		for k := range session {
			sum := sha256.Sum256([]byte(session[k].CallerID))
			session[k].ID = logpipe.ID(sum[:16])
		}
		of[session[0].Subject] = append(of[session[0].Subject], i)
	}
	names := slices.SortedFunc(maps.Keys(of), func(a, b string) int {
		if len(of[a]) != len(of[b]) {
			return len(of[b]) - len(of[a])
		}
		return strings.Compare(a, b)
	})[:4]
	out = selection{{"subject", names[0]}, {"subject", names[1]}, {"subject", names[2]}, {"session", sessions[of[names[3]][0]][0].Session}}
	for _, name := range names {
		for _, i := range of[name] {
			for k := range sessions[i] {
				sessions[i][k].Class = ""
			}
		}
	}
	return out
}

func (x selection) has(r *logpipe.Record) bool {
	for _, target := range x {
		if r.Subject == target.value || r.Session == target.value {
			return true
		}
	}
	return false
}

// split says which records stay and which go.
func (x selection) split(sessions [][]logpipe.Record) (stay, gone []logpipe.Record) {
	for _, r := range flat(sessions) {
		if x.has(&r) {
			gone = append(gone, r)
		} else {
			stay = append(stay, r)
		}
	}
	return stay, gone
}

// stubs restores with stubs: of what was erased, it is shown that it was there, and nothing else.
func (s *site) stubs(stay, gone []logpipe.Record) {
	s.t.Helper()
	want := map[string]*logpipe.Record{}
	for i := range gone {
		want[hex.EncodeToString(gone[i].ID[:])] = &gone[i]
	}
	var rest []logpipe.Record
	for _, r := range s.restore("--erased", "stub") {
		var mark struct {
			Erased *struct{ ID string } `json:"stele.erased"`
		}
		if len(r.Attributes) > 0 {
			if err := json.Unmarshal(r.Attributes, &mark); err != nil {
				s.t.Fatal(err)
			}
		}
		if mark.Erased == nil {
			rest = append(rest, r)
			continue
		}
		was := want[mark.Erased.ID]
		if was == nil || was.Kind != r.Kind || !was.Time.Equal(r.Time) || r.Subject+r.Session+r.Tenant+r.CallerID+r.TraceID != "" || len(bodyOf(&r)) > 0 {
			s.t.Errorf("stub %+v", r)
		}
		delete(want, mark.Erased.ID)
	}
	if len(want) > 0 {
		s.t.Errorf("%d erased records have no stub", len(want))
	}
	compare(s.t, stay, rest)
}

// backupCopy is a copy of an archive, its key store and the keys folder, elsewhere.
type backupCopy struct {
	*site
	archive string
	origin  *site
}

// backup copies the bucket, and the folders of reader and keys.
func (s *site) backup(store bucket) *backupCopy {
	s.t.Helper()
	c := &backupCopy{archive: filepath.Join(s.t.TempDir(), "copy"), origin: s}
	store.download(s.t, c.archive)
	s.t.Cleanup(func() { removeAll(s.t, c.archive) })
	place := shortDir(s.t)
	err := errors.Join(os.CopyFS(filepath.Join(place, "reader"), os.DirFS(filepath.Join(s.dir, "reader"))), os.CopyFS(filepath.Join(place, "keys"), os.DirFS(filepath.Join(s.dir, "keys"))))
	for _, file := range []string{"stele.yaml", "trust.stele"} {
		data, failed := os.ReadFile(filepath.Join(s.dir, file))
		err = errors.Join(err, failed, os.WriteFile(filepath.Join(place, file), data, 0o600))
	}
	if err = errors.Join(err, private(place)); err != nil {
		s.t.Fatal(err)
	}
	c.site = s.with("STELE_ARCHIVE=file://"+c.archive, "STELE_CONFIG="+filepath.Join(place, "stele.yaml"))
	c.site.dir = place
	return c
}

// opensNone restores the copy with today's custodians: nothing opens.
func (c *backupCopy) opensNone() {
	c.t.Helper()
	out := filepath.Join(c.t.TempDir(), "none")
	yaml := filepath.Join(c.site.dir, "stele.yaml")
	data, err := os.ReadFile(yaml)
	data = append(data, "\ncustodians: default=file://"+filepath.Join(c.origin.dir, "keys", "custodian")+"\n"...)
	if err = errors.Join(err, os.WriteFile(yaml, data, 0o600)); err != nil {
		c.t.Fatal(err)
	}
	_, stderr, code := c.stele("restore", "--out", out)
	if code == 0 || !strings.Contains(stderr, "destroyed") {
		c.t.Errorf("a copy from before, with today's custodians: exit code %d\n%s", code, stderr)
	}
	if data, _ := os.ReadFile(filepath.Join(out, "records.jsonl")); len(data) > 0 {
		c.t.Errorf("it gave %d bytes", len(data))
	}
}

// under is the copy of before, recovered under today's control log and key store.
func (c *backupCopy) under(store bucket) *site {
	c.t.Helper()
	now := filepath.Join(c.t.TempDir(), "now")
	store.download(c.t, now)
	mixed := filepath.Join(c.t.TempDir(), "mixed")
	c.t.Cleanup(func() { removeAll(c.t, now); removeAll(c.t, mixed) })
	err := errors.Join(os.CopyFS(mixed, os.DirFS(c.archive)))
	for _, part := range []string{"control", "keys"} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(mixed, part)), os.CopyFS(filepath.Join(mixed, part), os.DirFS(filepath.Join(now, part))))
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return c.origin.with("STELE_ARCHIVE=file://" + mixed)
}

// certificate writes the certificate of a request.
func (s *site) certificate(id, file string) (path string) {
	s.t.Helper()
	path = filepath.Join(s.t.TempDir(), "certificate")
	s.must("erase", "certificate", id, "--out", path, "--file", file)
	return path
}

// checkCertificate checks a certificate far from the archive, and with any byte changed.
func checkCertificate(t *testing.T, s *site, path string) (size int) {
	t.Helper()
	far := &site{t: t, dir: shortDir(t), env: baseEnv(t)}
	trust, err := os.ReadFile(filepath.Join(s.dir, "trust.stele"))
	if err == nil {
		err = os.WriteFile(filepath.Join(far.dir, "trust.stele"), trust, 0o600)
	}
	file, failed := os.ReadFile(path)
	if err = errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	told := far.must("check", path, "--trust", filepath.Join(far.dir, "trust.stele"))
	for _, words := range []string{"it was approved", "nothing else went", "a custodian destroyed its key", "destroyed, best effort", "this was asked for", "after this time no copy of the transport opens it", "best-effort default"} {
		if !strings.Contains(told, words) {
			t.Errorf("stele check does not say %q:\n%s", words, told)
		}
	}
	if strings.Contains(told, "single control") {
		t.Errorf("two persons approved, and stele check says single control")
	}
	changes := 20
	if testbed.Long() {
		changes = 1000
	}
	altered := filepath.Join(far.dir, "altered")
	for i := range changes {
		at := i * len(file) / changes
		changed := bytes.Clone(file)
		changed[at] ^= byte(1 << (i % 8))
		if err := os.WriteFile(altered, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		stdout, _, code := far.stele("check", altered, "--trust", filepath.Join(far.dir, "trust.stele"))
		if code == 0 || strings.Count(stdout, "\nholds ") >= strings.Count(told, "\nholds ") {
			t.Errorf("with byte %d changed it shows as much: exit code %d\n%s", at, code, stdout)
		}
	}
	return len(file)
}
