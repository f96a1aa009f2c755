package keys_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/custodian"
	"github.com/stelelog/stele/backup/custodian/byurl"
	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/worm"
)

// childEnv makes the test binary a key service, to be killed: its value says of which archive, and what it does.
const childEnv = "STELE_TEST_KEY_SERVICE"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := child(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// job is what a child does.
type job struct {
	Dir   string // of the archive and all roles
	Serve bool   // take the role when it is free, and work until killed; else carry out what was approved, and end
	Asks  bool   // wait for an answer at each step
}

// child is a key service in a process of its own. It says at each step where it is.
func child(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	say := func(step string) error {
		if _, err := fmt.Println(step); err != nil || !j.Asks {
			return err
		}
		_, err := in.ReadString('\n')
		return err
	}
	cfg, err := diskConfig(j.Dir)
	if err != nil {
		return err
	}
	cfg.Store = tellingStore{cfg.Store, say}
	cfg.Custodians.Dial = func(url string, id custodian.Identity) (custodian.Custodian, error) {
		c, err := byurl.Open(url, id, byurl.Options{})
		return tellingCustodian{c, id.Name, say}, err
	}
	cfg = keys.Stepped(cfg, func(name string) error { return say(name) })
	ctx := context.Background()
	s, err := keys.Open(ctx, cfg)
	for j.Serve && errors.Is(err, keys.ErrBusy) {
		time.Sleep(10 * time.Millisecond)
		s, err = keys.Open(ctx, cfg)
	}
	if err != nil {
		return err
	}
	if j.Serve {
		fmt.Println("role")
		return s.Run(ctx)
	}
	if err := s.Fold(ctx); err != nil {
		return err
	}
	_, err = s.CarryOut(ctx)
	return errors.Join(err, s.Close())
}

// diskConfig is the configuration of a key service of an archive in a directory.
func diskConfig(dir string) (cfg keys.Config, err error) {
	if cfg.Store, err = dirstore.Open(filepath.Join(dir, "archive"), dirstore.Options{Create: true}); err != nil {
		return cfg, err
	}
	for name, into := range map[string]*[]byte{"trust.stele": &cfg.Trust, "keys/keyservice.stele": &cfg.Identity} {
		if *into, err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return cfg, err
		}
	}
	cfg.Custodians = keys.Custodians{URLs: map[string]string{}, Sets: [][]string{{"a", "b"}, {"a", "c"}, {"b", "c"}}}
	for _, name := range []string{"a", "b", "c"} {
		cfg.Custodians.URLs[name] = "file://" + filepath.Join(dir, "custodian-"+name)
	}
	cfg.From, cfg.FoldEvery = "file://"+filepath.Join(dir, "spool"), time.Millisecond
	return cfg, nil
}

// tellingStore says when it writes, and when it has.
type tellingStore struct {
	worm.Store
	say func(string) error
}

func (s tellingStore) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	what := key[:strings.LastIndexByte(key, '/')+1]
	if err := s.say("write " + what); err != nil {
		return worm.Version{}, err
	}
	v, err := s.Store.Create(ctx, key, data, lock)
	return v, errors.Join(err, s.say("written "+what))
}

// tellingCustodian says when it is asked to change something, and when it has.
type tellingCustodian struct {
	custodian.Custodian
	name string
	say  func(string) error
}

func (c tellingCustodian) Create(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	return s, c.around("create at "+c.name, func() error { s, err = c.Custodian.Create(ctx, generation); return err })
}

func (c tellingCustodian) Wrap(ctx context.Context, generation uint64, share custodian.Share) (blob []byte, err error) {
	return blob, c.around("wrap at "+c.name, func() error { blob, err = c.Custodian.Wrap(ctx, generation, share); return err })
}

func (c tellingCustodian) Destroy(ctx context.Context, generation uint64) (s custodian.Status, err error) {
	return s, c.around("destroy at "+c.name, func() error { s, err = c.Custodian.Destroy(ctx, generation); return err })
}

func (c tellingCustodian) around(what string, do func() error) error {
	if err := c.say(what); err != nil {
		return err
	}
	return errors.Join(do(), c.say(what+", done"))
}

// newDiskWorld is an archive that several processes can work on.
func newDiskWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), sets: [][]string{{"a", "b"}, {"a", "c"}, {"b", "c"}}}
	w.onDisk()
	w.found(worm.LockNone)
	return w
}

func (w *world) onDisk() {
	w.t.Helper()
	disk, err := dirstore.Open(w.path("archive"), dirstore.Options{Create: true})
	w.must(err)
	w.disk = disk
}

// copied is the same archive at another place, as it is now.
func (w *world) copied(t testing.TB) *world {
	t.Helper()
	c := &world{t: t, dir: t.TempDir(), sets: w.sets}
	c.must(os.CopyFS(filepath.Join(c.dir, "all"), os.DirFS(w.dir)))
	c.dir = filepath.Join(c.dir, "all")
	c.must(filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return errors.Join(err, os.Chmod(path, 0o600))
	}))
	c.onDisk()
	c.roles()
	return c
}

// process is a child.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	steps  chan string // what it says; closed when it has ended
	in     io.Writer
	role   bool // it is the key service
	killed bool
}

func (w *world) child(j job) *process {
	w.t.Helper()
	j.Dir = w.dir
	text, err := json.Marshal(j)
	w.must(err)
	exe, err := os.Executable()
	w.must(err)
	p := &process{t: w.t, cmd: exec.Command(exe), steps: make(chan string)}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	w.must(err)
	p.in, err = p.cmd.StdinPipe()
	w.must(err)
	w.must(p.cmd.Start())
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.steps <- lines.Text()
		}
		close(p.steps)
	}()
	w.t.Cleanup(p.kill)
	return p
}

// next is the next step of the child, "" if it has ended.
func (p *process) next() string { return <-p.steps }

// works lets the child go on for some steps, or until it has had nothing to do for a while.
func (p *process) works(steps int) {
	p.t.Helper()
	for range steps {
		select {
		case _, ok := <-p.steps:
			if !ok {
				p.t.Fatal("the process ended by itself")
			}
		case <-time.After(time.Second):
			return
		}
	}
}

func (p *process) goOn() { fmt.Fprintln(p.in) }

// kill ends the child with SIGKILL and waits until it is gone.
func (p *process) kill() {
	if p.killed {
		return
	}
	p.killed = true
	_ = p.cmd.Process.Kill() // it may have ended
	for range p.steps {
	}
	_ = p.cmd.Wait()
}

// TestKilledAtEveryStep kills processes that carry out an erasure, with SIGKILL, at each step that the code announces, before
// and after each call of a custodian, and around each write. Whoever comes next goes on by itself: no live key is lost, nothing
// that was erased is alive, nothing is left undestroyed.
func TestKilledAtEveryStep(t *testing.T) {
	first := newDiskWorld(t)
	g := first.granter()
	ada := g.grant(10, "ada")
	s, err := keys.Open(t.Context(), first.config())
	first.must(err)
	first.must(errors.Join(s.Fold(t.Context()), s.Close()))
	bob := g.grant(10, "bob")
	id := first.ordered(first.desk(), "bob")

	var steps []string
	dry := first.copied(t)
	for p := dry.child(job{Asks: true}); ; p.goOn() {
		step := p.next()
		if step == "" {
			first.must(p.cmd.Wait())
			p.killed = true
			break
		}
		steps = append(steps, step)
	}
	for _, must := range []string{"fold: packs", "put", "denied", "packs", "list", "custodians", "gate", "switched", "destroyed at a", "destroyed at b", "destroyed",
		"create at a", "create at b, done", "wrap at c", "destroy at a", "destroy at b, done", "write keys/roots/", "written control/inbox/"} {
		if !slices.Contains(steps, must) {
			t.Errorf("there is no step %q", must)
		}
	}
	killed := map[string]bool{}
	for i, step := range steps {
		if os.Getenv("STELE_LONG") == "" && (!essential(step) || slices.Index(steps, step) < i) {
			continue
		}
		w := first.copied(t)
		p := w.child(job{Asks: true})
		for n := 0; ; n++ {
			at := p.next()
			if at != steps[n] {
				t.Fatalf("step %d is %q, was %q", n, at, steps[n])
			}
			if n == i {
				break
			}
			p.goOn()
		}
		p.kill()
		killed[step] = true
		w.resumed(fmt.Sprintf("killed at %d, %s", i, step), id, ada, bob)
	}
	for _, step := range steps {
		if !killed[step] && (os.Getenv("STELE_LONG") != "" || essential(step)) {
			t.Errorf("step %q was never killed", step)
		}
	}
	t.Logf("killed at %d different steps; one run has %d: %q", len(killed), len(steps), steps)
}

// essential steps are those of the code, and between custodians: after one of them, before the next. The others, and what comes
// again under the same name, are for the long run.
func essential(step string) bool {
	return !strings.HasPrefix(step, "wr") && !strings.HasPrefix(step, "destroy at") && !strings.HasPrefix(step, "create at") || step == "create at b"
}

// resumed has another process go on, and looks at what came of it.
func (w *world) resumed(after, id string, live, erased [][16]byte) {
	w.t.Helper()
	s := w.open(w.config())
	for range 2 {
		w.must(s.Fold(w.t.Context()))
		_, err := s.CarryOut(w.t.Context())
		w.must(err)
		w.sequence()
	}
	w.all(s, "live", live)
	w.all(s, "erased", erased)
	if r := w.standing(id); r.Standing != "done" {
		w.t.Errorf("%s: the request is %s", after, r.Standing)
	}
	last := uint64(0)
	for name, url := range w.custodians().URLs {
		c, err := byurl.Open(url, custodian.Identity{Archive: w.writer.Archive, Name: name}, byurl.Options{})
		w.must(err)
		state := func(g uint64) custodian.State {
			status, err := c.Status(w.t.Context(), g)
			w.must(err)
			return status.State
		}
		last = 1
		for state(last+1) != custodian.Unknown {
			last++
		}
		for g := uint64(1); g <= last; g++ {
			want := custodian.Destroyed
			if g == last {
				want = custodian.Live
			}
			if got := state(g); got != want || last < 2 {
				w.t.Errorf("%s: custodian %s has generation %d of %d %v", after, name, g, last, got)
			}
		}
		w.must(c.Close())
	}
	w.must(s.Close())
}

// TestKilledHolders kills the process that has the role, again and again while grants and requests come; another one takes
// over each time. No live key is lost, and every request is carried out.
func TestKilledHolders(t *testing.T) {
	kills := 10
	if os.Getenv("STELE_LONG") != "" {
		kills = 100
	}
	w := newDiskWorld(t)
	g := w.granter()
	var kept, gone [][16]byte
	var requests []string
	waiting := []*process{w.child(job{Serve: true}), w.child(job{Serve: true})}
	for round := range kills {
		name := fmt.Sprintf("subject-%d", round)
		kept = append(kept, g.grant(20, "kept")...)
		if ids := g.grant(5, name); round%2 == 0 {
			gone = append(gone, ids...)
			requests = append(requests, w.ordered(w.desk(), name))
		} else {
			kept = append(kept, ids...)
		}
		holder := holderOf(t, waiting)
		waiting[holder].works(1 + round*7%23)
		waiting[holder].kill()
		w.sequence()
		waiting[holder] = w.child(job{Serve: true})
	}
	for _, p := range waiting {
		p.kill()
	}
	s := w.open(w.config())
	for range 3 {
		w.must(s.Fold(t.Context()))
		_, err := s.CarryOut(t.Context())
		w.must(err)
		w.sequence()
	}
	w.all(s, "live", kept)
	w.all(s, "erased", gone)
	for _, id := range requests {
		if r := w.standing(id); r.Standing != "done" {
			t.Errorf("request %s is %s", id, r.Standing)
		}
	}
	w.must(s.Close())
}

// holderOf waits until one of two processes has the role, and says which. The other one has nothing to say until then.
func holderOf(t *testing.T, of []*process) int {
	t.Helper()
	for !of[0].role && !of[1].role {
		i, said := 0, ""
		select {
		case said = <-of[0].steps:
		case said = <-of[1].steps:
			i = 1
		case <-time.After(time.Minute):
		}
		if said != "role" {
			t.Fatalf("process %d says %q before it has the role", i, said)
		}
		of[i].role = true
	}
	if of[1].role {
		return 1
	}
	return 0
}
