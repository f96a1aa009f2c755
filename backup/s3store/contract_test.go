package s3store_test

import (
	"os"
	"testing"

	"github.com/stelelog/stele/backup/s3store"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// services are the real ones that every test of this package runs against.
var services = []struct {
	name  string
	start func(testing.TB, ...testbed.Option) *testbed.S3
}{
	{"MinIO", testbed.MinIO},
	{"versitygw", testbed.VersityGW},
}

func onServices(t *testing.T, test func(t *testing.T, service *testbed.S3)) {
	for _, s := range services {
		t.Run(s.name, func(t *testing.T) { test(t, s.start(t)) })
	}
}

func config(service *testbed.S3, bucket string) s3store.Config {
	return s3store.Config{
		Endpoint: service.Addr, Region: service.Region, Bucket: bucket, Prefix: "archive/one",
		Credentials: s3store.Credentials{AccessKey: service.AccessKey, SecretKey: service.SecretKey},
	}
}

func open(t *testing.T, c s3store.Config) *s3store.Store {
	t.Helper()
	s, err := s3store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	onServices(t, func(t *testing.T, service *testbed.S3) {
		storetest.Run(t, func(t *testing.T) worm.Store {
			return open(t, config(service, service.Bucket(t)))
		}, storetest.Options{Lock: worm.LockGovernance, Keys: 1200})
	})
}
