package evidence

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stelelog/stele/internal/testbed"
)

// A check in Python holds at most so many times what a file unpacks to, and so much for each part and beside it.
const pythonMost, pythonPerPart, pythonBeside = 45, 1024, 256 << 10

// The second verifier, which nobody made to be frugal, holds a bounded multiple of what a file unpacks to, too. Files of 64 KiB; of 2 MiB with
// STELE_LONG, and then also of many parts and entries, and what the whole process takes.
func TestPythonHoldsLittle(t *testing.T) {
	size := 64 << 10
	if testbed.Long() {
		size = 2 << 20
	}
	w := newRangeWorld(t)
	trust := filepath.Join(t.TempDir(), "trust.stele")
	if err := os.WriteFile(trust, w.trust(), 0o600); err != nil {
		t.Fatal(err)
	}
	var names, paths []string
	var insides, parts []int
	for name, all := range heavy(w, size) {
		if (name == "parts" || name == "entries") && !testbed.Long() {
			continue // large, whatever the size
		}
		path := filepath.Join(t.TempDir(), "file.evidence")
		if err := os.WriteFile(path, literally(w.archive, plain(all)), 0o600); err != nil {
			t.Fatal(err)
		}
		names, paths, insides, parts = append(names, name), append(paths, path), append(insides, len(plain(all))), append(parts, len(all))
	}
	for i, got := range pythonHeld(t, trust, "allocated", paths...) {
		name, inside, resident := names[i], insides[i], 0
		if testbed.Long() {
			resident = pythonHeld(t, trust, "resident", paths[i])[0].most
		}
		t.Logf("%s: %d KiB unpacked, %.1f times as much held; a process of %d MiB", name, inside>>10, float64(got.most)/float64(inside), resident>>20)
		if got.code == 3 || got.code == 0 && name == "spans" {
			t.Errorf("%s: it holds, or is not looked at: %d", name, got.code)
		}
		if got.most > pythonMost*inside+pythonPerPart*parts[i]+pythonBeside {
			t.Errorf("%s: %d bytes for %d in %d parts", name, got.most, inside, parts[i])
		}
	}
}

// pythonCheck is the exit code of a check, and what it took at most.
type pythonCheck struct{ most, code int }

// pythonHeld has files checked in one process, and says how much each check allocates at most, or how much of the process is resident at most (where the
// system tells).
func pythonHeld(t *testing.T, trust, what string, paths ...string) []pythonCheck {
	t.Helper()
	const script = `
import sys, tracemalloc
sys.path.insert(0, "../../examples/verify-python")
import verify
if sys.argv[1] == "allocated":
    tracemalloc.start()
for path in sys.argv[3:]:
    before = tracemalloc.get_traced_memory()[0]
    with open(sys.argv[2], "rb") as t, open(path, "rb") as f:
        code = verify.answer(t.read(), f.read())["code"]
    most = tracemalloc.get_traced_memory()[1] - before
    if sys.argv[1] == "allocated":
        tracemalloc.reset_peak()
    elif sys.platform == "linux":
        with open("/proc/self/status") as f:
            most = next(int(line.split()[1]) << 10 for line in f if line.startswith("VmHWM:"))
    print(most, code)`
	out, err := exec.CommandContext(t.Context(), testbed.Python(t), append([]string{"-B", "-c", script, what, trust}, paths...)...).CombinedOutput()
	got := make([]pythonCheck, len(paths))
	in := bytes.NewReader(out)
	for i := range got {
		if _, scan := fmt.Fscan(in, &got[i].most, &got[i].code); err != nil || scan != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return got
}
