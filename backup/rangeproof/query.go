package rangeproof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelelog/stele/internal/record"
)

// Query selects records by what is in clear: docs/formats/range.md. Zero fields select all.
type Query struct {
	Kind  string    `json:"kind,omitempty"` // input, output, state or error
	Model string    `json:"model,omitempty"`
	Since time.Time `json:"since,omitzero"` // of the time in the record
	Until time.Time `json:"until,omitzero"` // not included
}

// text is the one way to write a query.
func (q Query) text() ([]byte, error) {
	q.Since, q.Until = q.Since.UTC(), q.Until.UTC()
	if q.Kind != "" && !slices.Contains(record.KindNames()[1:], q.Kind) {
		return nil, fmt.Errorf("answer: %q is no kind of record", q.Kind)
	}
	if q.Model != "" && q.Model != record.Hidden && !record.IsClear(q.Model) {
		return nil, fmt.Errorf("answer: the model %q is no value that stands in clear: nothing can be said of it", q.Model)
	}
	for _, t := range []time.Time{q.Since, q.Until} {
		if !t.IsZero() && !time.Unix(0, t.UnixNano()).Equal(t) {
			return nil, fmt.Errorf("answer: no record has a time like %s", t)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(q)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// parseQuery reads a query in its one form.
func parseQuery(text []byte) (q Query, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		return q, fmt.Errorf("its query: %w", err)
	}
	again, err := q.text()
	if err == nil && !bytes.Equal(again, text) {
		err = errors.New("its query is not written as it must be")
	}
	return q, err
}

// Check reports whether a query asks for what can be in clear.
func (q Query) Check() error {
	_, err := q.text()
	return err
}

// Equal reports whether two queries are the same question.
func (q Query) Equal(p Query) bool {
	return q.Kind == p.Kind && q.Model == p.Model && q.Since.Equal(p.Since) && q.Until.Equal(p.Until)
}

// String is the query as it stands in a range.
func (q Query) String() string {
	text, err := q.text()
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// matches reports whether a query selects a leaf.
func (q *Query) matches(l *record.Leaf) bool {
	return l.Type == record.Plain && (q.Kind == "" || q.Kind == record.KindNames()[l.Kind]) && (q.Model == "" || q.Model == l.Clear[record.Model]) &&
		(q.Since.IsZero() || l.Time >= q.Since.UnixNano()) && (q.Until.IsZero() || l.Time < q.Until.UnixNano())
}
