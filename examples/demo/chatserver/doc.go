// Package chatserver serves an [ngram.Model] over HTTP the way OpenAI's Chat
// Completions API is served, so that any client of that API can talk to it:
//
//	POST /v1/chat/completions    one answer, or a stream of server-sent events
//	GET  /v1/models              the one model
//	GET  /v1/models/{name}
//
// A request is answered in the steps of a retrieval-augmented service: the last
// questions of the conversation are looked up in an [ngram.Index], and the
// passages found steer the generation. An [Observer] sees both steps.
//
// Honoured fields: model, messages (text content), stream,
// stream_options.include_usage, max_completion_tokens, max_tokens, temperature,
// top_p, seed, stop, logprobs, top_logprobs, n (1 only), and the extensions
// top_k and min_tokens that several inference servers share. Other fields are
// ignored. Without a seed one is derived from the messages, so equal
// conversations get equal answers.
//
// Errors have the shape {"error":{"message","type","param","code"}}:
//
//	400  malformed JSON, an invalid field, or more tokens than the context holds
//	404  unknown path or model
//	405  wrong method
//	413  a body over Config.MaxBody
//	499  the client went away before the answer (nobody but a proxy or a log sees it)
//	504  the generation did not end in time
//
// In a stream that has begun, an error is the last event, and "[DONE]" does not
// follow.
package chatserver
