// Package traffic makes and plays conversations with a chat server: people who
// ask about packages of the Go library over several turns, resend the whole
// history each time as chat clients do, and now and then send nonsense, hang up
// in the middle of an answer or run out of time.
//
// [Plan] describes the requests as data; [Player.Play] sends them and returns
// what went over the wire, byte for byte, for comparison with what was captured.
package traffic
