package segment

// ParseBatch reads one batch of an index from the two ranges that the commit names.
func ParseBatch(head, batch []byte) (*Batch, error) {
	h, err := ParseHead(head)
	if err != nil {
		return nil, err
	}
	return h.ParseBatch(batch)
}
