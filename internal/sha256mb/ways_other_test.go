//go:build !amd64 || purego

package sha256mb

// each calls run with each way, and its name: here there is one.
func each(run func(name string)) { run("one by one") }
