package httplog

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/stelelog/stele/internal/chatjson"
)

const redacted = "REDACTED"

// mayBeSecret reports whether a header of this name could hold a credential.
func mayBeSecret(name string) bool {
	name = strings.ToLower(name)
	for _, part := range [...]string{"auth", "cookie", "credential", "key", "passw", "secret", "session", "signature", "token"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// describe gives the attributes of a request that do not depend on its body.
func describe(r *http.Request, o *Options, client bool) (attrs chatjson.Object) {
	attrs.Text("http.request.method", r.Method)
	attrs.Text("url.path", r.URL.Path)
	if r.URL.RawQuery != "" {
		attrs.Text("url.query", redactQuery(r.URL.RawQuery))
	}
	host := r.Host
	if client && host == "" {
		host = r.URL.Host
	}
	name, port := splitHost(host)
	if name != "" {
		attrs.Text("server.address", name)
	}
	if port > 0 {
		attrs.Int("server.port", int64(port))
	}
	if n, err := strconv.ParseUint(r.Header.Get("X-Stainless-Retry-Count"), 10, 16); err == nil {
		attrs.Int("http.request.resend_count", int64(n))
	}
	addHeaders(&attrs, "http.request.header.", r.Header, o.Headers)
	return attrs
}

// addHeaders adds the headers that were asked for, up to a size that leaves room for all else.
func addHeaders(attrs *chatjson.Object, prefix string, h http.Header, names []string) {
	const limit = 32 << 10
	for _, name := range names {
		if values := h[name]; len(values) > 0 && attrs.Len() < limit {
			attrs.Texts(prefix+strings.ToLower(name), values)
		}
	}
}

// redactQuery keeps the names of parameters only, and of these only such as look like names.
func redactQuery(raw string) string {
	var out []string
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, ok := strings.Cut(pair, "=")
		if !ok || !isName(name) {
			out = append(out, redacted)
			continue
		}
		out = append(out, name+"="+redacted)
	}
	return strings.Join(out, "&")
}

// isName reports whether s is short and of plain letters, as a parameter is called.
func isName(s string) bool {
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 32
}

func splitHost(host string) (name string, port int) {
	name, digits, err := net.SplitHostPort(host)
	if err != nil {
		return strings.Trim(host, "[]"), 0
	}
	port, _ = strconv.Atoi(digits)
	return name, port
}

// traceparent reads the W3C header: the trace, and the span that the request belongs to.
func traceparent(h http.Header) (trace, parent string) {
	v := strings.TrimSpace(h.Get("Traceparent"))
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return "", ""
	}
	version, trace, parent := v[:2], v[3:35], v[36:52]
	if !isHex(version) || version == "ff" || !isHex(trace) || !isHex(parent) || !isHex(v[53:55]) ||
		len(v) > 55 && (version == "00" || v[55] != '-') ||
		strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "" {
		return "", ""
	}
	return trace, parent
}

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// operation names what a request asks for, by its path, else by the form of its body.
func operation(path, form string) string {
	for _, p := range [...]struct{ suffix, name string }{
		{"/chat/completions", "chat"}, {"/completions", "text_completion"}, {"/responses", "chat"}, {"/messages", "chat"},
		{"/embeddings", "embeddings"}, {"/api/chat", "chat"}, {"/api/generate", "text_completion"},
	} {
		if strings.HasSuffix(strings.TrimSuffix(path, "/"), p.suffix) {
			return p.name
		}
	}
	return form
}
