package location

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stelelog/stele/internal/durable/objkey"
	"github.com/stelelog/stele/internal/kafka"
)

// place is what a URL names: a directory or a bucket.
type place struct {
	shown string // the URL as errors may show it

	dir string

	bucket, prefix, region string
	endpoint               string // host and port; empty means AWS
	secure                 bool
}

const forms = "write file:///path or s3://bucket/prefix?endpoint=http://host:port&region=…"

// parse reads a URL.
func parse(rawURL string) (*place, error) {
	p := &place{shown: Redact(rawURL)}
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return nil, p.failed("no URL of an archive: "+forms, nil)
	}
	var err error
	switch scheme {
	case "file":
		err = p.parseFile(rest)
	case "s3":
		err = p.parseS3(rest)
	default:
		err = fmt.Errorf("unknown scheme %q: %s", scheme, forms)
	}
	if err != nil {
		return nil, p.failed("", err)
	}
	return p, nil
}

// CheckTransport says what is wrong with the URL of a transport: file:///dir, or kafka://host:port[,host:port]/topic. It
// connects to nothing.
func CheckTransport(rawURL string) error {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	var err error
	switch {
	case ok && scheme == "file":
		err = new(place).parseFile(rest)
	case ok && scheme == "kafka":
		_, err = kafka.ParseURL(rawURL)
	default:
		err = errors.New("no URL of a transport: write kafka://host:port/topic or file:///path")
	}
	if err != nil {
		return fmt.Errorf("transport %s: %w", Redact(rawURL), err)
	}
	return nil
}

func (p *place) parseFile(rest string) error {
	if strings.ContainsAny(rest, "?#") {
		return errors.New("a directory has no options: write file:///path, with %3F for a question mark and %23 for a #")
	}
	host, path, _ := strings.Cut(rest, "/")
	switch {
	case host != "" && strings.Contains(rest, "@"):
		return errSecret
	case host != "" && host != "localhost":
		return fmt.Errorf("file URLs are local and absolute: write file:/// and the path (three slashes), not file://%s", host)
	}
	path, err := url.PathUnescape("/" + path)
	if err != nil || strings.ContainsRune(path, 0) {
		return errors.New("the path is not properly escaped")
	}
	p.dir = filepath.Clean(filepath.FromSlash(path))
	if p.dir == string(filepath.Separator) {
		return errors.New("the root of the file system is no place for it")
	}
	return nil
}

var errSecret = errors.New("a URL holds no user and no password; for S3, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, " +
	"or AWS_PROFILE with a shared credentials file")

func (p *place) parseS3(rest string) error {
	if strings.Contains(rest, "#") {
		return errors.New("what follows # has no meaning here")
	}
	name, query, _ := strings.Cut(rest, "?")
	if strings.Contains(name, "@") {
		return errSecret
	}
	var prefix string
	p.bucket, prefix, _ = strings.Cut(name, "/")
	if !validBucket(p.bucket) {
		return fmt.Errorf("%q is no name of a bucket: 3 to 63 of a-z 0-9 . -", p.bucket)
	}
	if p.prefix = strings.TrimSuffix(prefix, "/"); p.prefix != "" {
		if err := objkey.Check(p.prefix); err != nil {
			return fmt.Errorf("prefix: %w", err)
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("what follows ? is not properly escaped")
	}
	return p.options(values)
}

// options reads the query. Names are shown in errors, values of unknown ones are not: they may be secrets.
func (p *place) options(values url.Values) error {
	for name, given := range values {
		if !slices.Contains(options(), name) {
			return fmt.Errorf("unknown option %q: only %s are known, and secrets belong in the environment", showName(name), strings.Join(options(), ", "))
		}
		if len(given) != 1 || given[0] == "" {
			return fmt.Errorf("option %s is empty or given twice", name)
		}
	}
	p.region = values.Get("region")
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if p.region == "" {
			p.region = os.Getenv(name)
		}
	}
	if values.Has("endpoint") {
		if err := p.parseEndpoint(values.Get("endpoint")); err != nil {
			return err
		}
	}
	if !values.Has("path_style") {
		return nil
	}
	on, err := strconv.ParseBool(values.Get("path_style"))
	if err != nil || on != (p.endpoint != "") {
		return errors.New("path_style is true with an endpoint, where the bucket goes into the path, and false at AWS, where it goes into the host name; leave it out")
	}
	return nil
}

func options() []string { return []string{"endpoint", "region", "path_style"} }

func (p *place) parseEndpoint(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New("the endpoint is no URL such as https://s3.example.com or http://127.0.0.1:9000")
	case u.User != nil:
		return errSecret
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("the endpoint has more than scheme, host and port: the bucket comes before it, as s3://bucket?endpoint=…")
	}
	p.endpoint, p.secure = u.Host, u.Scheme == "https"
	return nil
}

func validBucket(name string) bool {
	return len(name) >= 3 && len(name) <= 63 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" &&
		!strings.HasPrefix(name, "-") && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, "-") && !strings.HasSuffix(name, ".")
}

// hidden stands for what Redact takes out.
const hidden = "***"

// Redact returns a URL of an archive or a transport as it may be shown: without user information, and of the query only
// what is known to be no secret. It takes anything, also what is no URL.
func Redact(rawURL string) string {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		if strings.ContainsAny(rawURL, "@?=") {
			return hidden
		}
		return rawURL
	}
	rest, fragment, hasFragment := strings.Cut(rest, "#")
	body, query, hasQuery := strings.Cut(rest, "?")
	params := strings.Split(query, "&")
	// A secret may hold the characters that part a URL; it ends at an '@' wherever that is.
	stray := strings.Contains(fragment, "@")
	for i, param := range params {
		name, value, _ := strings.Cut(param, "=")
		stray = stray || name != "endpoint" && strings.Contains(param, "@")
		params[i] = redactParam(name, value)
	}
	if stray {
		tail := Redact(scheme + "://" + rawURL[strings.LastIndexByte(rawURL, '@')+1:])
		return scheme + "://" + hidden + "@" + strings.TrimPrefix(tail, scheme+"://")
	}
	if at := strings.LastIndexByte(body, '@'); at >= 0 && (scheme != "file" || body[0] != '/') {
		body = hidden + body[at:]
	}
	if hasQuery {
		body += "?" + strings.Join(params, "&")
	}
	if hasFragment {
		body += "#" + hidden
	}
	return scheme + "://" + body
}

func redactParam(name, value string) string {
	switch name {
	case "region", "path_style", "tls", "sasl":
		return name + "=" + value
	case "endpoint":
		plain, err := url.QueryUnescape(value)
		if err != nil || strings.ContainsAny(plain, "?#") {
			break
		}
		if shown := Redact(plain); shown != plain {
			value = shown
		}
		return name + "=" + value
	}
	return showName(name) + "=" + hidden
}

// showName returns the name of an option if it can be one; what was pasted in its place may be a secret.
func showName(name string) string {
	if len(name) > 24 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_-") != "" {
		return hidden
	}
	return name
}
