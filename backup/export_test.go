package backup

import (
	"context"
)

// VerifyInPieces verifies as Verify does, but reads objects in pieces of so many bytes, a multiple of 32.
func VerifyInPieces(ctx context.Context, a *Archive, opt VerifyOptions, piece int64) (*Report, error) {
	return a.verify(ctx, opt, piece)
}
