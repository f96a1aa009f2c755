// Package testbed gives tests and benchmarks the real services that Stele works with: Apache Kafka, two S3 servers
// with object lock (MinIO and versitygw), HashiCorp Vault, SoftHSM, a witness (litewitness), Trillian on PostgreSQL, the log
// checker of Tessera, a Python with pyarrow and DuckDB, and kcat.
//
// A test asks for a service and gets one that answers:
//
//	broker := testbed.Kafka(t)                      // shared by all tests of the test binary that ask for the same
//	broker := testbed.Kafka(t, testbed.Dedicated()) // an own one, which may be stopped, killed and started again
//	store := testbed.MinIO(t)
//	bucket := store.Bucket(t)
//
// Shared services keep what earlier tests wrote; [Name] makes topic names that do not collide. What has to be fetched
// or built is kept outside the repository, in the directory named by STELE_TESTBED_CACHE or else in "stele-testbed"
// under [os.UserCacheDir]; test binaries that run at the same time share it safely. [Prepare] fills it beforehand.
//
// A test whose service cannot be had on this machine (no Java, say) is skipped with one line that names what is missing.
// With CI=true in the environment it fails instead.
//
// Every server listens on 127.0.0.1 only and is a child of the test binary that dies with it, however it dies. A package
// that uses shared services stops them in good order with
//
//	func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }
//
// Without it the kernel kills them when the test binary exits, and the next user of the cache removes their directories.
// Servers run on Linux only, because this promise rests on it.
package testbed
