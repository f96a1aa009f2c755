package settings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stelelog/stele/backup/admin"
	"github.com/stelelog/stele/backup/keys"
	"github.com/stelelog/stele/backup/location"
	"github.com/stelelog/stele/backup/worm"
)

func parseCustodians(v string) (map[string]string, error) {
	all := map[string]string{}
	for word := range strings.FieldsSeq(v) {
		name, url, ok := strings.Cut(word, "=")
		if !ok || name == "" || !strings.Contains(url, ":") || all[name] != "" {
			return nil, fmt.Errorf("%q is no list of custodians such as a=file:///dir b=vault://host/mount", v)
		}
		all[name] = url
	}
	return all, nil
}

func formatCustodians(all map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		words = append(words, name+"="+all[name])
	}
	return strings.Join(words, " ")
}

func parseCustody(v string) (sets [][]string, err error) {
	for word := range strings.FieldsSeq(v) {
		set := strings.Split(word, "+")
		slices.Sort(set)
		if set[0] == "" {
			return nil, fmt.Errorf("%q is no list of sets of custodians such as a+b a+c", v)
		}
		sets = append(sets, set)
	}
	slices.SortFunc(sets, slices.Compare)
	return sets, nil
}

func formatCustody(sets [][]string) string {
	var words []string
	for _, set := range sets {
		words = append(words, strings.Join(set, "+"))
	}
	return strings.Join(words, " ")
}

// KeyCustodians are the custodians of the key store whose role folder is keysDir: those that are set, or the one that
// 'stele init' makes in that folder if nobody says otherwise.
func (s *Settings) KeyCustodians(keysDir string) keys.Custodians {
	c := keys.Custodians{URLs: s.Custodians, Sets: s.Custody}
	if len(c.URLs) == 0 {
		c.URLs = map[string]string{"default": admin.DefaultCustodian(filepath.Dir(keysDir))}
	}
	return c
}

// OpenReplica opens the second store of the key store; nil if there is none.
func (s *Settings) OpenReplica(ctx context.Context) (worm.Store, error) {
	if s.Replica == "" {
		return nil, nil
	}
	if s.Replica == s.Archive {
		return nil, errors.New("replica: it is the archive itself; name a store at another place, or none")
	}
	store, err := location.Open(ctx, s.Replica, location.Options{})
	switch {
	case errors.Is(err, fs.ErrNotExist): // what location says of an archive that is missing would mislead
		return nil, fmt.Errorf("replica: %s is missing: mount what belongs there or, if the replica is new, make it empty; %s: %w",
			location.Redact(s.Replica), s.Origin("replica"), fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("replica: %w", err)
	}
	return store, nil
}
