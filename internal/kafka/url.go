package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

const (
	scheme       = "kafka://"
	defaultPort  = "9092"
	maxTopicName = 249
)

// ParseURL reads kafka://host[:port][,host[:port]…]/topic[?tls=true][&sasl=NAME].
// The result carries no secrets: user information in the URL is refused, and
// credentials are added with Config.Login. Errors never repeat the URL.
func ParseURL(raw string) (Config, error) {
	cfg, err := parseURL(raw)
	if err != nil {
		return Config{}, configError("bad Kafka URL: "+err.Error(),
			"write kafka://host:port[,host:port]/topic?tls=true&sasl=scram-sha-512")
	}
	return cfg, nil
}

// parseURL works by hand because net/url knows a single host only.
func parseURL(raw string) (cfg Config, err error) {
	rest, ok := strings.CutPrefix(raw, scheme)
	if !ok {
		return cfg, errors.New("it does not start with " + scheme)
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, topic, _ := strings.Cut(rest, "/")
	if strings.Contains(rest, "@") {
		return cfg, errors.New("it holds user information; credentials come from " +
			"STELE_KAFKA_USERNAME and STELE_KAFKA_PASSWORD, never from a URL")
	}
	if cfg.Topic, err = url.PathUnescape(topic); err != nil {
		return cfg, errors.New("the topic is not properly escaped")
	}
	if err := checkTopicName(cfg.Topic); err != nil {
		return cfg, err
	}
	for host := range strings.SplitSeq(authority, ",") {
		broker, err := parseBroker(host)
		if err != nil {
			return cfg, err
		}
		cfg.Brokers = append(cfg.Brokers, broker)
	}
	return cfg, parseOptions(&cfg, query)
}

func parseBroker(s string) (string, error) {
	if s == "" {
		return "", errors.New("a broker has no host name")
	}
	if strings.ContainsAny(s, " \t\r\n#%\\") {
		return "", errors.New("a broker is not host:port")
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil { // no port: a bare name, or an address in brackets
		host, port = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), defaultPort
		if strings.Contains(host, ":") && s[0] != '[' {
			return "", errors.New("a broker is not host:port (put an IPv6 address in brackets)")
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return "", errors.New("a broker is not host:port")
	}
	return net.JoinHostPort(host, port), nil
}

func parseOptions(cfg *Config, query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the part after ? is not properly escaped")
	}
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		if len(values[key]) != 1 {
			return fmt.Errorf("option %q is given more than once", key)
		}
		if err := setOption(cfg, key, values[key][0]); err != nil {
			return err
		}
	}
	return nil
}

func setOption(cfg *Config, key, value string) error {
	switch key {
	case "tls":
		on, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("tls is neither true nor false")
		}
		if on {
			cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		return nil
	case "sasl":
		name := strings.ToLower(value)
		if !knownMechanism(name) {
			return errors.New("sasl is none of plain, scram-sha-256, scram-sha-512")
		}
		cfg.SASLName = name
		return nil
	}
	return fmt.Errorf("unknown option %q: only tls and sasl are known", key)
}

// checkTopicName applies Kafka's own rules.
func checkTopicName(name string) error {
	if name == "" {
		return errors.New("no topic is named")
	}
	if name == "." || name == ".." || len(name) > maxTopicName {
		return fmt.Errorf("a topic's name has 1 to %d characters and is neither . nor .. alone", maxTopicName)
	}
	for _, r := range name {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
		if !ok {
			return errors.New("a topic's name holds only letters, digits, '.', '_' and '-'")
		}
	}
	return nil
}
