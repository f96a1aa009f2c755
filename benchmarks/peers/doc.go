// Package peers measures what it costs to hand over a record of 1 KiB: logpipe beside the logging libraries and the
// Kafka writer that a service would use instead. It is a module of its own, so that the main one does not depend on
// what it is compared with. Run it in this folder: go test -bench . -benchtime 200000x
package peers
