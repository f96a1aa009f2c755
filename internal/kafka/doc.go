// Package kafka is a small client for one Kafka topic that carries sealed
// frames. It gives exactly what a transport of the archive needs: a producer
// that keeps order per partition and retries until told to stop, a consumer
// that verifies checksums and never skips an offset silently, topic
// administration, and a consumer group that is used for assignment only.
//
// It uses the connections, routing and authentication of kafka-go, never its
// Reader or Writer: those drop checksum checks, jump over lost offsets and
// give up on errors that pass. Requests that kafka-go does not know, or
// decodes without a bound on memory, are encoded here (wire.go).
package kafka
