// Package logpipe captures inference records inside a service and carries them, sealed, to a Stele archive.
//
// [Open] starts a [Pipe]; [Pipe.Capture] copies one [Record] into it; [Pipe.Begin] follows one call from its input to
// its end. The pipe compresses and encrypts on its own goroutines, signs what it sends as one ordered stream, and
// declares every record that it could not keep. A service holds a writer credential, with which it can append and
// nothing else: not even read back what it wrote.
//
// What is durable when Capture returns is the choice of the record's class, see [Durability].
package logpipe
