package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/cmd/internal/advice"
	"github.com/stelelog/stele/cmd/internal/settings"
)

// settingFlags are the flags that every verb takes: those of settings that more than one needs.
type settingFlags struct{ set *pflag.FlagSet }

func (f *settingFlags) add(set *pflag.FlagSet) {
	f.set = set
	set.String("config", "", "path of stele.yaml")
	for _, field := range settings.Fields() {
		switch field.Name {
		case "archive", "to", "from", "trust", "writer", "as", "keys":
			set.String(field.Flag(), "", field.Help)
		}
	}
}

// given returns the flags that were given, by the name of the setting.
func (f *settingFlags) given() map[string]string {
	given := map[string]string{}
	for _, field := range settings.Fields() {
		if flag := f.set.Lookup(field.Flag()); flag != nil && flag.Changed {
			given[field.Name] = flag.Value.String()
		}
	}
	return given
}

// site is what the settings of a run describe: an archive and what belongs to it.
type site struct {
	app *app
	*settings.Settings
}

// site loads the settings for a verb that acts in a role; "" is none.
func (a *app) site(role string) (*site, error) {
	config, _ := a.flags.set.GetString("config")
	s, err := settings.Load(settings.Options{Config: config, Flags: a.flags.given(), Env: a.env, Role: role})
	if err != nil {
		return nil, usage(cmp.Or(advice.For(err, nil), "'stele help settings' lists the settings, 'stele env' shows where each comes from"), "%w", err)
	}
	a.settings = s
	return &site{a, s}, nil
}

// beside is a path in the folder of stele.yaml, or in the current one.
func (s *site) beside(parts ...string) string {
	return filepath.Join(append([]string{filepath.Dir(s.Config)}, parts...)...)
}

// open opens the store and reads the trust file.
func (s *site) open(ctx context.Context) (worm.Store, []byte, error) {
	if err := s.Need("archive", "trust"); err != nil {
		return nil, nil, usage("", "%w", err)
	}
	if _, err := location.DefaultLock(s.Archive); err != nil {
		return nil, nil, usage("", "%w", err)
	}
	trust, err := s.trustFile()
	if err != nil {
		return nil, nil, err
	}
	store, err := location.Open(ctx, s.Archive, location.Options{})
	return store, trust, err
}

// trustFile reads the trust file.
func (s *site) trustFile() ([]byte, error) {
	if err := s.Need("trust"); err != nil {
		return nil, usage("", "%w", err)
	}
	trust, err := os.ReadFile(s.Trust)
	if err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	return trust, nil
}

// archive opens the archive of the settings with its trust file.
func (s *site) archive(ctx context.Context) (*backup.Archive, error) {
	archive, err := s.suspect(ctx)
	if err == nil {
		err = s.misfit(archive.Founded())
	}
	if err == nil {
		err = s.forward(ctx, archive)
	}
	if err != nil {
		return nil, err
	}
	return archive, nil
}

// misfit adds to an error what to do about it, which is mostly to name the right archive and trust file.
func (s *site) misfit(err error) error {
	return hinted(err, cmp.Or(advice.For(err, s.Settings), advice.Pair(s.Settings)))
}

// transport makes sure that "to" or "from" is set to something that can be one.
func (s *site) transport(name string) error {
	if err := s.Need(name); err != nil {
		return usage("", "%w", err)
	}
	url := s.From
	if name == "to" {
		url = s.To
	}
	if err := location.CheckTransport(url); err != nil {
		return usage(s.Origin(name), "%w", err)
	}
	return nil
}

// suspect opens what is there, and leaves it to verify whether the trust file is of it.
func (s *site) suspect(ctx context.Context) (*backup.Archive, error) {
	store, trust, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	archive, err := backup.OpenArchive(ctx, store, trust)
	return archive, s.misfit(err)
}

// role reads the file of a role. --as names the file, the role's folder, the folder of all roles, or a role's folder
// beside stele.yaml, which is where the file is without --as. What --as names may hold another file that does as well.
func (s *site) role(role, file string, others ...string) ([]byte, error) {
	places := []string{s.beside(role, file)}
	if source := s.Source("as"); s.As != "" && source != "" {
		places = []string{s.As}
		for _, file := range append([]string{file}, others...) {
			places = append(places, filepath.Join(s.As, file), filepath.Join(s.As, role, file))
			if !filepath.IsAbs(s.As) {
				places = append(places, s.beside(s.As, file))
			}
		}
	}
	for _, path := range places {
		info, err := os.Stat(path)
		switch {
		case err == nil && info.Mode().IsRegular():
			return os.ReadFile(path)
		case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
			return nil, err
		}
	}
	where := s.As
	if where == "" {
		where = filepath.Dir(places[0])
	}
	return nil, hinted(fmt.Errorf("no %s identity: %s holds no %s", role, where, file),
		fmt.Sprintf("bring the %s folder here, or name it with --as or STELE_AS", role))
}

// unlock opens the payloads of an archive with a reader identity. done ends what was opened for it.
func (s *site) unlock(ctx context.Context, archive *backup.Archive) (r *backup.Reader, done func(), err error) {
	id, err := s.role("reader", "reader.stele", "recovery.stele")
	if err != nil {
		return nil, nil, err
	}
	keys, done, err := s.keySource(ctx)
	if err != nil {
		return nil, nil, err
	}
	if r, err = archive.Unlock(id, keys); err != nil {
		done()
		return nil, nil, err
	}
	return r, done, nil
}

// atKeys says where the key service should be, if anything says so.
func (s *site) atKeys() string {
	if s.Keys == "" {
		return ": no socket is named"
	}
	return " at " + s.Keys
}

// keySource is where wrapped keys come from: the key service at its socket or, if none runs and the
// custodians of the keys can be asked, the key store itself, opened for the time of this command.
func (s *site) keySource(ctx context.Context) (keys.Source, func(), error) {
	if answers(ctx, s.Keys) {
		return &unreadNoted{keys.NewClient(s.Keys), s.app}, func() {}, nil
	}
	dir := s.beside("keys", "")
	if _, err := os.Stat(dir); err != nil && len(s.Custodians) == 0 {
		return nil, nil, hinted(fmt.Errorf("no key service answers%s", s.atKeys()),
			"it runs beside the compactor that has the keys folder; name its socket with --keys, or the custodians of the keys in stele.yaml")
	}
	store, trust, err := s.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := s.transport("from"); err != nil {
		return nil, nil, err
	}
	service, err := keys.Open(ctx, keys.Config{Store: store, Trust: trust, Custodians: s.KeyCustodians(dir),
		From: s.From, Username: s.KafkaUsername, Password: s.KafkaPassword})
	if err != nil {
		return nil, nil, fmt.Errorf("key store: %w", err)
	}
	return &unreadNoted{service, s.app}, func() { service.Close() }, nil
}

// keyService is what a key service of this machine, which has the keys folder, is opened with.
func (s *site) keyService(ctx context.Context) (keys.Config, error) {
	dir := s.beside("keys", "")
	id, err := os.ReadFile(filepath.Join(dir, "keyservice.stele"))
	if err != nil {
		return keys.Config{}, hinted(err, "bring the keys folder here, or leave it to the key service that has it")
	}
	store, trust, err := s.open(ctx)
	if err != nil {
		return keys.Config{}, err
	}
	replica, err := s.OpenReplica(ctx)
	return keys.Config{Store: store, Replica: replica, Trust: trust, Identity: id, Custodians: s.KeyCustodians(dir), From: s.From,
		Username: s.KafkaUsername, Password: s.KafkaPassword}, err
}

// answers reports whether somebody serves a socket.
func answers(ctx context.Context, socket string) bool {
	if socket == "" {
		return false
	}
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
