//go:build race

package backup_test

// racing: the race detector takes four times as long, so of what is tried in every way it sees one of four.
const racing = true
