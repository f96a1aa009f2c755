package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/stelelog/stele/backup"
)

// restoreState is what --resume keeps: how far each log was restored, and how long the output was then.
type restoreState struct {
	Stele   string              `json:"stele"` // "restore-state/v1"
	Archive string              `json:"archive"`
	Out     string              `json:"out"`
	Erased  string              `json:"erased"`
	Filter  filter              `json:"filter"`
	Next    map[string]uint64   `json:"next"`              // log → first leaf that was not restored yet
	Missing map[string][]uint64 `json:"missing,omitempty"` // leaves below that could not be given out
	Bytes   int64               `json:"bytes"`
	Records uint64              `json:"records"`
}

const restoreStateFormat = "restore-state/v1"

// saveEvery is how often the state is saved; what lies between is done again after a kill -9.
const saveEvery = time.Second

// restoring is one restore under way.
type restoring struct {
	app    *app
	flags  restoreFlags
	answer *restoreAnswer
	state  restoreState
	out    sink
	line   []byte
	saved  time.Time
}

// open begins a restore of an archive, or goes on with one.
func (j *restoring) open(archive string) error {
	j.state = restoreState{Stele: restoreStateFormat, Archive: archive, Out: j.flags.out, Erased: j.flags.erased,
		Filter: j.flags.filter, Next: map[string]uint64{}, Missing: map[string][]uint64{}}
	resumed, err := j.load()
	if err != nil {
		return err
	}
	j.out, err = j.app.sink(j.flags, j.state, resumed)
	if err != nil {
		return err
	}
	j.answer.Path = j.out.name()
	return j.save() // from here on the same command goes on
}

// load reads the state file, if there is one yet.
func (j *restoring) load() (found bool, err error) {
	if j.flags.resume == "" {
		return false, nil
	}
	data, err := os.ReadFile(j.flags.resume)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	old := restoreState{}
	if err := json.Unmarshal(data, &old); err != nil || old.Stele != restoreStateFormat || old.Next == nil {
		return false, usage("name a file that does not exist to begin anew", "%s is no state of a restore", j.flags.resume)
	}
	if old.Archive != j.state.Archive || old.Out != j.state.Out || old.Erased != j.state.Erased || old.Filter != j.state.Filter {
		return false, usage("repeat the command as it was, or name a new file to begin anew",
			"%s is the state of another restore: archive %s, --out %s", j.flags.resume, old.Archive, old.Out)
	}
	if old.Missing == nil {
		old.Missing = map[string][]uint64{}
	}
	j.state = old
	return true, nil
}

// run writes all records that were not written before.
func (j *restoring) run(ctx context.Context, records iter.Seq2[backup.Found, error]) error {
	p := j.app.progress("restoring")
	defer p.end()
	for f, err := range records {
		one := new(backup.RecordError)
		switch {
		case errors.As(err, &one):
			if j.wanted(one.Log, one.Index) {
				j.miss(one)
			}
			continue
		case err != nil:
			return err
		case !j.wanted(f.Log, f.Index):
			continue
		}
		if err := j.write(ctx, &f); err != nil {
			return err
		}
		p.records(j.answer.Records)
	}
	return nil
}

// miss takes note of a record that cannot be given out; the next run with this state tries it again.
func (j *restoring) miss(e *backup.RecordError) {
	j.answer.Unreadable = append(j.answer.Unreadable, unreadable{e.Log, e.Index, e.Err.Error()})
	fmt.Fprintf(j.app.stderr, "unreadable: %v\n", e)
	j.state.Missing[e.Log] = append(j.state.Missing[e.Log], e.Index)
}

// wanted reports whether a leaf was not restored yet: it lies ahead, or an earlier run could not give it out, which is
// crossed off.
func (j *restoring) wanted(log string, index uint64) bool {
	i := slices.Index(j.state.Missing[log], index)
	if i >= 0 {
		j.state.Missing[log] = slices.Delete(j.state.Missing[log], i, i+1)
	}
	return i >= 0 || index >= j.state.Next[log]
}

func (j *restoring) write(ctx context.Context, f *backup.Found) error {
	log, index := f.Log, f.Index
	if f.Erased {
		j.answer.Erased++
	}
	line, err := j.flags.line(j.line[:0], f)
	if err != nil {
		return fmt.Errorf("%s leaf %d: %w", log, index, err)
	}
	if line != nil {
		if err := j.out.write(ctx, line); err != nil {
			return err
		}
		j.line = line
		j.answer.Records++
		j.answer.Bytes += int64(len(line))
		j.state.Records++
		j.state.Bytes += int64(len(line))
	}
	j.state.Next[log] = max(j.state.Next[log], index+1)
	if time.Since(j.saved) > saveEvery {
		return j.save()
	}
	return nil
}

// save makes the output durable, and then the state that says so.
func (j *restoring) save() error {
	j.saved = time.Now()
	if err := j.out.flush(); err != nil || j.flags.resume == "" {
		return err
	}
	data, err := json.Marshal(j.state)
	if err != nil {
		return err
	}
	return replaceFile(j.flags.resume, append(data, '\n'))
}

func (j *restoring) close() error {
	err := errors.Join(j.save(), j.out.close())
	j.answer.Total = j.state.Records
	return err
}

// sink is where restored lines go.
type sink interface {
	name() string
	write(ctx context.Context, line []byte) error
	flush() error // what was written is durable, as far as the place allows
	close() error
}

func (a *app) sink(f restoreFlags, state restoreState, resumed bool) (sink, error) {
	switch {
	case f.out == "-":
		return newStreamSink(a.stdout), nil
	case isKafka(f.out):
		return nil, errors.New("this version cannot write to topics")
	}
	return openFileSink(f.out, state.Bytes, resumed)
}
