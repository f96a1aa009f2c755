package trillian

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/stelelog/stele/merkle"
)

const (
	callTime = 10 * time.Second
	pollTime = 100 * time.Millisecond
)

// server is a tree on a Trillian log server, which is not trusted: what it answers is verified, or compared with what was
// verified.
type server struct {
	conn *grpc.ClientConn
	log  trillian.TrillianLogClient
	tree int64
}

func dial(address string, config *tls.Config, tree int64) (*server, error) {
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, fmt.Errorf("trillian: %w", err)
	}
	return &server{conn, trillian.NewTrillianLogClient(conn), tree}, nil
}

// CreateTree makes a tree for an anchor on a Trillian log server, and returns its id.
func CreateTree(ctx context.Context, address string, config *tls.Config) (id int64, err error) {
	s, err := dial(address, config, 0)
	if err != nil {
		return 0, err
	}
	defer s.conn.Close()
	tree, err := trillian.NewTrillianAdminClient(s.conn).CreateTree(ctx, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
		TreeState: trillian.TreeState_ACTIVE, TreeType: trillian.TreeType_LOG, DisplayName: "stele", MaxRootDuration: durationpb.New(0)}})
	if err == nil {
		_, err = s.log.InitLog(ctx, &trillian.InitLogRequest{LogId: tree.TreeId})
	}
	if err != nil {
		return 0, fmt.Errorf("trillian: make a tree: %w", err)
	}
	return tree.TreeId, nil
}

// root is the newest root, and the proof that it continues the tree of size old. Nobody has checked either.
func (s *server) root(ctx context.Context, old uint64) (size uint64, root merkle.Hash, proof []merkle.Hash, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	answer, err := s.log.GetLatestSignedLogRoot(ctx, &trillian.GetLatestSignedLogRootRequest{LogId: s.tree, FirstTreeSize: int64(old)})
	if err != nil {
		return 0, root, nil, fmt.Errorf("trillian: newest root: %w", err)
	}
	var v1 types.LogRootV1
	if err := v1.UnmarshalBinary(answer.GetSignedLogRoot().GetLogRoot()); err != nil || len(v1.RootHash) != len(root) {
		return 0, root, nil, errors.Join(errors.New("trillian: newest root cannot be read"), err)
	}
	proof, err = hashes(answer.GetProof().GetHashes())
	return v1.TreeSize, merkle.Hash(v1.RootHash), proof, err
}

func hashes(raw [][]byte) ([]merkle.Hash, error) {
	var out []merkle.Hash
	for _, h := range raw {
		if len(h) != len(merkle.Hash{}) {
			return nil, fmt.Errorf("trillian: hash of %d bytes", len(h))
		}
		out = append(out, merkle.Hash(h))
	}
	return out, nil
}

// queue puts a leaf behind those that were queued before. One that is in the tree already is no error.
func (s *server) queue(ctx context.Context, leaf []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if _, err := s.log.QueueLeaf(ctx, &trillian.QueueLeafRequest{LogId: s.tree, Leaf: &trillian.LogLeaf{LeafValue: leaf}}); err != nil {
		return fmt.Errorf("trillian: queue: %w", err)
	}
	return nil
}

// await waits until the tree has more than n leaves.
func (s *server) await(ctx context.Context, n uint64) error {
	for {
		size, _, _, err := s.root(ctx, 0)
		if err != nil || size > n {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("trillian: leaf %d is queued and not in the tree: does its signer run? %w", n, ctx.Err())
		case <-time.After(pollTime):
		}
	}
}

// leaf is the data of a leaf.
func (s *server) leaf(ctx context.Context, n uint64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	answer, err := s.log.GetLeavesByRange(ctx, &trillian.GetLeavesByRangeRequest{LogId: s.tree, StartIndex: int64(n), Count: 1})
	if err != nil || len(answer.GetLeaves()) != 1 {
		return nil, errors.Join(fmt.Errorf("trillian: leaf %d cannot be read", n), err)
	}
	return answer.Leaves[0].LeafValue, nil
}

// inclusion is the proof of a leaf, which nobody has checked.
func (s *server) inclusion(ctx context.Context, n, size uint64) ([]merkle.Hash, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	answer, err := s.log.GetInclusionProof(ctx, &trillian.GetInclusionProofRequest{LogId: s.tree, LeafIndex: int64(n), TreeSize: int64(size)})
	if err != nil {
		return nil, fmt.Errorf("trillian: inclusion of leaf %d: %w", n, err)
	}
	return hashes(answer.GetProof().GetHashes())
}
