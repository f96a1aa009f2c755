package testbed

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Broker is one Kafka node, broker and controller in one process (KRaft). Topics are created on first use with one
// partition, or by the client. Server.Dir holds its log segments (under "data") and its printed log.
type Broker struct {
	*Server
	// Addr is the host and port of the bootstrap listener.
	Addr string
	// Admin may do everything. It is zero unless the broker was asked for with [Users].
	Admin Credentials
}

// Kafka returns a running broker, or skips the test (fails it with CI=true) where Java or Maven is missing.
func Kafka(t testing.TB, opts ...Option) *Broker {
	t.Helper()
	libs, err := kafkaArtefact().get(t.Context())
	if err != nil {
		unavailable(t, "Kafka", err)
	}
	o := collect(opts)
	return serve(t, "kafka", o, func(dir string) (*Broker, *Server, error) {
		return newBroker(libs, dir, o)
	})
}

func newBroker(libs, dir string, o options) (*Broker, *Server, error) {
	b := new(Broker)
	if len(o.users) > 0 {
		b.Admin = Credentials{User: "admin", Password: "admin-secret"}
	}
	if err := checkUsers(o.users); err != nil {
		return nil, nil, err
	}
	server, err := startFresh(func() (*Server, error) {
		ports, err := takePorts(2)
		if err != nil {
			return nil, err
		}
		b.Addr = ports[0].addr()
		s := &Server{
			Dir: dir, name: "Kafka", ports: ports,
			argv:  kafkaJava(libs, "kafka.Kafka", "server.properties"),
			ready: func(ctx context.Context) error { return kafkaReady(ctx, ports[0].addr()) },
		}
		return s, b.format(libs, dir, ports, o)
	})
	b.Server = server
	return b, server, err
}

// format writes the broker's configuration and prepares its empty data directory.
func (b *Broker) format(libs, dir string, ports []*port, o options) error {
	if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
		return err
	}
	config := kafkaProperties(ports, b.Admin, o)
	if err := os.WriteFile(filepath.Join(dir, "server.properties"), []byte(config), 0o600); err != nil {
		return err
	}
	args := []string{"format", "-t", "c3RlbGUtdGVzdGJlZC0wMQ", "-c", "server.properties"}
	for _, user := range o.users {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, user.User, user.Password))
		}
	}
	return run(context.Background(), dir, baseEnv(dir), kafkaJava(libs, "kafka.tools.StorageTool", args...)...)
}

// kafkaJava is the command line of one of Kafka's main classes.
func kafkaJava(libs, class string, args ...string) []string {
	// The serial collector starts faster and leaves the second core to the tests.
	return append([]string{"java", "-XX:+UseSerialGC", "-Xmx512m", "-Dlog4j2.level=INFO",
		"-cp", filepath.Join(libs, "libs", "*"), class}, args...)
}

func kafkaProperties(ports []*port, admin Credentials, o options) string {
	protocol := "PLAINTEXT"
	if len(o.users) > 0 {
		protocol = "SASL_PLAINTEXT"
	}
	lines := []string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.voters=1@" + ports[1].addr(),
		"listeners=CLIENT://" + ports[0].addr() + ",CONTROLLER://" + ports[1].addr(),
		"listener.security.protocol.map=CLIENT:" + protocol + ",CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name=CLIENT",
		"controller.listener.names=CONTROLLER",
		"log.dirs=data",
		"offsets.topic.replication.factor=1",
		"offsets.topic.num.partitions=4",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"transaction.state.log.num.partitions=4",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
		// A killed broker may come back only when its old session has ended, 9 s later by default.
		"broker.session.timeout.ms=4000",
		"broker.heartbeat.interval.ms=500",
	}
	if len(o.users) > 0 {
		lines = append(lines, aclProperties(admin, o.users)...)
	}
	for key, value := range o.properties {
		lines = append(lines, key+"="+value)
	}
	return strings.Join(lines, "\n") + "\n"
}

// aclProperties turn on the authoriser. Nobody but the controller itself reaches the controller's listener, where every
// peer is ANONYMOUS; clients cannot be that, because their listener asks for SASL.
func aclProperties(admin Credentials, users []Credentials) []string {
	const sasl = "listener.name.client."
	const scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	plain := fmt.Sprintf("org.apache.kafka.common.security.plain.PlainLoginModule required username=%q password=%q user_%s=%q",
		admin.User, admin.Password, admin.User, admin.Password)
	for _, user := range users {
		plain += fmt.Sprintf(" user_%s=%q", user.User, user.Password)
	}
	return []string{
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users=User:" + admin.User + ";User:ANONYMOUS",
		"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"sasl.mechanism.inter.broker.protocol=PLAIN",
		sasl + "plain.sasl.jaas.config=" + plain + ";",
		sasl + "scram-sha-256.sasl.jaas.config=" + scram,
		sasl + "scram-sha-512.sasl.jaas.config=" + scram,
	}
}

// checkUsers keeps out what would need quoting in the broker's configuration.
func checkUsers(users []Credentials) error {
	plain := regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	for _, user := range users {
		if !plain.MatchString(user.User) || !plain.MatchString(user.Password) || user.User == "admin" {
			return fmt.Errorf("user %q: names and passwords are letters, digits, '.', '_', '-', and not admin", user.User)
		}
	}
	return nil
}

// kafkaReady asks for the API versions. A broker answers that, without authentication, once it serves clients.
func kafkaReady(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	const apiVersions, correlation = 18, 7
	request := binary.BigEndian.AppendUint32(nil, 2+2+4+2)
	request = binary.BigEndian.AppendUint16(request, apiVersions)
	request = binary.BigEndian.AppendUint16(request, 0) // version
	request = binary.BigEndian.AppendUint32(request, correlation)
	request = binary.BigEndian.AppendUint16(request, 0xffff) // no client id
	if _, err := conn.Write(request); err != nil {
		return err
	}
	var response struct {
		Size, Correlation int32
		Error             int16
	}
	if err := binary.Read(conn, binary.BigEndian, &response); err != nil {
		return err
	}
	if response.Correlation != correlation || response.Error != 0 {
		return fmt.Errorf("broker answered the version request with %+v", response)
	}
	_, err = io.CopyN(io.Discard, conn, int64(response.Size)-6)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
