package testbed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"
)

// visibleWithin bounds waiting for what a broker said it would do. Under load that takes seconds.
const visibleWithin = 30 * time.Second

// Grant allows a user operations, such as "Describe" and "Write", on the topics whose name begins with prefix, and returns
// when the broker acts by it: it confirms an ACL before it has applied it. The broker has to be one with [Users].
func (b *Broker) Grant(t testing.TB, user, prefix string, operations ...string) {
	t.Helper()
	transport := &kafka.Transport{SASL: plain.Mechanism{Username: b.Admin.User, Password: b.Admin.Password}}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(b.Addr), Timeout: visibleWithin, Transport: transport}
	ctx, cancel := context.WithTimeout(t.Context(), visibleWithin)
	defer cancel()
	if err := grant(ctx, client, user, prefix, operations); err != nil {
		t.Fatalf("testbed: grant %s %v on %s: %v", user, operations, prefix, err)
	}
}

func grant(ctx context.Context, client *kafka.Client, user, prefix string, operations []string) error {
	var entries []kafka.ACLEntry
	for _, name := range operations {
		var op kafka.ACLOperationType
		if err := op.UnmarshalText([]byte(name)); err != nil || op == kafka.ACLOperationTypeUnknown {
			return fmt.Errorf("no operation has the name %q", name)
		}
		entries = append(entries, kafka.ACLEntry{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: prefix, ResourcePatternType: kafka.PatternTypePrefixed,
			Principal: "User:" + user, Host: "*", Operation: op, PermissionType: kafka.ACLPermissionTypeAllow,
		})
	}
	res, err := client.CreateACLs(ctx, &kafka.CreateACLsRequest{ACLs: entries})
	if err == nil {
		err = errors.Join(res.Errors...)
	}
	for err == nil {
		var applied []kafka.ACLOperationType
		if applied, err = granted(ctx, client, entries[0]); err == nil && !slices.ContainsFunc(entries, func(e kafka.ACLEntry) bool {
			return !slices.Contains(applied, e.Operation)
		}) {
			return nil
		}
		select {
		case <-ctx.Done():
			err = errors.Join(ctx.Err(), err)
		case <-time.After(pollInterval):
		}
	}
	return err
}

// granted asks the broker, which answers from what its authoriser holds, for the operations of an entry's user.
func granted(ctx context.Context, client *kafka.Client, of kafka.ACLEntry) (ops []kafka.ACLOperationType, err error) {
	res, err := client.DescribeACLs(ctx, &kafka.DescribeACLsRequest{Filter: kafka.ACLFilter{
		ResourceTypeFilter: of.ResourceType, ResourceNameFilter: of.ResourceName, ResourcePatternTypeFilter: of.ResourcePatternType,
		PrincipalFilter: of.Principal, HostFilter: of.Host, Operation: kafka.ACLOperationTypeAny, PermissionType: of.PermissionType,
	}})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return nil, err
	}
	for _, resource := range res.Resources {
		for _, acl := range resource.ACLs {
			ops = append(ops, acl.Operation)
		}
	}
	return ops, nil
}
