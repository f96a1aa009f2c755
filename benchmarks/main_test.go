package benchmarks

import (
	"os"
	"testing"

	"github.com/stelelog/stele/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }
