// Package chatjson reads the JSON of inference APIs as far as a log needs it: where a request can be cut so that content
// which a client sends again keeps its bytes, and which parameters, usage figures and reasons of ending it names.
//
// It knows the bodies of OpenAI chat, completions, responses and embeddings, of Anthropic messages, of Gemini
// generateContent and of Ollama, and their event streams. What it does not know is valid input that says nothing: no
// function fails, and every function takes time linear in its input. Nothing here copies a body; results refer to it.
package chatjson
