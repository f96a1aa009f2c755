package keys

import "context"

// Together lets several services fold the grants of one spool at a time, as they may those of a topic.
func Together(c Config) Config { c.together = true; return c }

// Stepped calls step between the steps of folding and erasing. Its error ends the service as a crash would.
func Stepped(c Config, step func(name string) error) Config { c.step = step; return c }

// EraseDue erases what policy asks for now.
func (s *Service) EraseDue(ctx context.Context) error { return s.eraseDue(ctx) }
