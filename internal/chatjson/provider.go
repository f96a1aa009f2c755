package chatjson

import "strings"

// Provider guesses gen_ai.provider.name from the host that a client calls, or returns "".
func Provider(host string) string {
	host = strings.ToLower(host)
	if strings.HasPrefix(host, "bedrock-runtime.") && strings.HasSuffix(host, ".amazonaws.com") {
		return "aws.bedrock"
	}
	for _, p := range [...]struct{ suffix, name string }{
		{"api.openai.com", "openai"},
		{".openai.azure.com", "azure.ai.openai"},
		{".services.ai.azure.com", "azure.ai.inference"},
		{"api.anthropic.com", "anthropic"},
		{"generativelanguage.googleapis.com", "gcp.gemini"},
		{"aiplatform.googleapis.com", "gcp.vertex_ai"},
		{"api.mistral.ai", "mistral_ai"},
		{"api.cohere.com", "cohere"},
		{"api.deepseek.com", "deepseek"},
		{"api.groq.com", "groq"},
		{"api.moonshot.ai", "moonshot_ai"},
		{"api.perplexity.ai", "perplexity"},
		{"api.x.ai", "x_ai"},
		{".ml.cloud.ibm.com", "ibm.watsonx.ai"},
	} {
		if strings.HasSuffix(host, p.suffix) {
			return p.name
		}
	}
	return ""
}
