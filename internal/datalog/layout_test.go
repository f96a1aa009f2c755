package datalog_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	. "github.com/stelelog/stele/internal/datalog"
)

// TestFolders: partitions and periods are the folders that have objects, whatever else lies there, found without listing
// what is in them.
func TestFolders(t *testing.T) {
	s := &store{objects: map[string][]version{}}
	for _, folder := range []string{"10", "2", "0", "01", "4294967295", "4294967296", "-1", "x", "2/deep"} {
		for i := range 50 {
			s.add(fmt.Sprintf("logs/%s/2026Q4/objects/%d", folder, i), version{})
		}
	}
	for _, key := range []string{"logs/7", "logs/.a", "logs/zz", "log", "logz/3/x", "logs/0/2026Q1/x", "logs/0/2026/x", "logs/0/none/x", "logs/0/2025Q4/x", "logs/0/2027", "logs/0/2026Q4.old/x"} {
		s.add(key, version{})
	}
	got, err := Partitions(t.Context(), s)
	if want := []uint32{0, 2, 10, 4294967295}; !slices.Equal(got, want) || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if s.listed > 20 {
		t.Errorf("%d versions were listed", s.listed)
	}
	periods, err := Periods(t.Context(), s, 0)
	if want := []string{"2025Q4", "2026", "2026Q1", "2026Q4", "2026Q4.old", "none"}; !slices.Equal(periods, want) || err != nil {
		t.Errorf("%v, %v", periods, err)
	}
	if periods, err := Periods(t.Context(), s, 3); len(periods) != 0 || err != nil {
		t.Errorf("%v, %v", periods, err)
	}
	s.down = "logs/"
	if _, err := Partitions(t.Context(), s); !errors.Is(err, errDown) {
		t.Error(err)
	}
	if _, err := Periods(t.Context(), s, 0); !errors.Is(err, errDown) {
		t.Error(err)
	}
}
