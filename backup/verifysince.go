package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelelog/stele/internal/anchorlog"
	"github.com/stelelog/stele/internal/control"
)

// What the errors of [Archive.Continues] wrap.
var (
	// ErrBackwards: the log ends before the head. That of an older copy of an archive does, too.
	ErrBackwards = errors.New("the control log went backwards")
	// ErrNoHead: what was given is no signed head of this archive's control log.
	ErrNoHead = errors.New("no signed head of the control log")
)

// Head returns the newest signed head of the control log that is published in the store, and its size in entries; nil if
// there is none. Whoever keeps it can tell later whether the archive still continues what was seen.
func (a *Archive) Head(ctx context.Context) (checkpoint []byte, size uint64, err error) {
	return a.control.Published(ctx)
}

// Continues reports whether the control log continues a signed head of it that was seen before, in any store: a checkpoint,
// with or without cosignatures, or a record of an anchor that the trust file names. If not,
// the error says how.
func (a *Archive) Continues(checkpoint []byte) error {
	_, err := a.continues(checkpoint)
	return err
}

func (a *Archive) continues(checkpoint []byte) (size uint64, err error) {
	head, err := anchorlog.HeadIn(&a.trust, checkpoint)
	if err == nil {
		a.control.View(func(s *control.State) { size, err = s.CheckHead(head) })
	}
	var contradiction *control.HeadError
	switch {
	case err == nil:
		return size, nil
	case !errors.As(err, &contradiction):
		return 0, fmt.Errorf("%w of %s: %w", ErrNoHead, a.trust.Name, err)
	case contradiction.Head > contradiction.Size:
		return size, fmt.Errorf("%w: %w", ErrBackwards, err)
	}
	return size, err
}

// since holds the control log against the heads that were seen before.
func (v *verifier) since() error {
	for _, file := range v.opt.Since {
		size, err := v.a.continues(file)
		switch {
		case size == 0 && err != nil && v.a.unfounded == nil:
			return err
		case err != nil:
			v.r.fault(integrity, v.a.trust.Origin(), "%v", err)
		default:
			v.r.Since = append(v.r.Since, SinceReport{size, v.a.control.Size() - size})
		}
	}
	return nil
}
