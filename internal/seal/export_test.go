package seal

// PartCount returns how many parts the body has.
func (r *Record) PartCount() int { return r.count }

// First returns the sequence number of slot 0, from which the block's key follows. It is 0 in an empty block.
func (b *Block) First() uint64 { return b.first }
