package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

func TestTLS(t *testing.T) {
	// net/http/httptest carries a certificate for 127.0.0.1.
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	secure := fake(t, kfake.TLS(&tls.Config{Certificates: web.TLS.Certificates}))
	trusted := x509.NewCertPool()
	trusted.AddCert(web.Certificate())

	c := open(t, Config{Brokers: secure.ListenAddrs(), TLS: &tls.Config{RootCAs: trusted}})
	produce(t, c, 0, numbered(0, 10))
	checkOrder(t, readBack(t, c, 0), 10)
	m := join(t, c, "g")
	await(t, patience, 3, m)
	leave(t, m)

	c = open(t, Config{Brokers: secure.ListenAddrs(), TLS: &tls.Config{}})
	_, err := c.Produce(within(t, patience), 0, numbered(0, 1))
	wantError(t, err, ErrDenied)
	if !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("%v", err)
	}

	c = open(t, Config{Brokers: secure.ListenAddrs()})
	if _, err = c.Describe(t.Context()); err == nil || !strings.Contains(err.Error(), "tls=") {
		t.Errorf("plain client, TLS broker: %v", err)
	}

	c = open(t, Config{Brokers: fake(t).ListenAddrs(), TLS: &tls.Config{RootCAs: trusted}})
	if _, err = c.Describe(t.Context()); err == nil || !strings.Contains(err.Error(), "tls=") {
		t.Errorf("TLS client, plain broker: %v", err)
	}
}
