// Prepare fetches and builds the services that the tests use, so that no test has to wait for it. It prints one line for
// each, and fails with CI=true if one cannot be had.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/stelelog/stele/internal/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := testbed.Prepare(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}
