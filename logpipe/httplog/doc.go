// Package httplog captures inference calls that travel over HTTP: at the server with [Handler], at the client with
// [NewTransport] or, inside the OpenAI and Anthropic SDKs, with [Middleware].
//
// Each captured call leaves an input record with the exact bytes of the request, an output record with the exact bytes
// of the answer (of a stream: of all its events), and, if anything went wrong, an error record. The request is cut at
// message boundaries, so that a history which the client sends again is stored once. Attributes follow the names of
// OpenTelemetry (gen_ai.*, http.*, url.*, error.type); besides, stele.body.truncated marks a body that was not kept
// whole, stele.body.encoding names the content coding in which the kept bytes are, and stele.stream.events counts the
// events of a stream.
//
// # What is not recorded
//
// No header, but those named in [Options.Headers]; of these no credential. No value of a query parameter. Bodies are
// recorded as they are: to remove something from them is the task of the pipe's Redact hook.
//
// # What the service notices
//
// Bytes, statuses and flushes pass unchanged, and a piece of a stream is on its way before it is recorded. An error or
// panic in capturing goes to [Options.OnError] and nowhere else. The only wait is that of the pipe: with a class of
// durability memory it has the bound of the pipe's configuration; with a stricter class the request waits until its
// input is durable, and the end of the answer until the output is.
//
// # Types of errors
//
// The attribute error.type of an error record, and of the output record beside it, is one of
//
//	canceled      the client went away, or the caller gave up
//	timeout       a deadline passed
//	panic         the handler panicked
//	aborted       the handler stopped with http.ErrAbortHandler or runtime.Goexit
//	cut           the answer ended before its end
//	closed        the caller closed the answer before its end
//	request_body  the request could not be read whole
//	write         the answer could not be written
//	transport     the request could not be sent, or the connection broke
//
// or what the answer itself says: the code or type of its error object, else its HTTP status ("503"), else "_OTHER".
package httplog
