package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/stelelog/stele/backup"
	"github.com/stelelog/stele/backup/republish"
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
	Topic   *republish.Position `json:"topic,omitempty"` // where the topic ended then
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
	broken bool // the output failed: nothing more is written or saved
}

// open begins a restore of an archive, or goes on with one. sink opens the output.
func (j *restoring) open(ctx context.Context, archive string, sink func(restoreState, bool) (sink, error)) error {
	j.state = restoreState{Stele: restoreStateFormat, Archive: archive, Out: j.flags.out, Erased: j.flags.erased,
		Filter: j.flags.filter, Next: map[string]uint64{}, Missing: map[string][]uint64{}}
	resumed, err := j.load()
	if err != nil {
		return err
	}
	j.out, err = sink(j.state, resumed)
	if err != nil {
		return err
	}
	j.answer.Path = j.out.name()
	if err := j.save(ctx); err != nil { // from here on the same command goes on
		return errors.Join(err, j.out.close(ctx, j.answer))
	}
	return nil
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
	if j.answer.Missed++; j.answer.Missed <= maxRefusals {
		j.answer.Unreadable = append(j.answer.Unreadable, unreadable{e.Log, e.Index, e.Err.Error()})
	}
	j.app.notOpened(e)
	j.state.Missing[e.Log] = append(j.state.Missing[e.Log], e.Index)
}

// from is where each log is to be read from: behind all that was restored, but for what could not be given out.
func (j *restoring) from() map[string]uint64 {
	from := maps.Clone(j.state.Next)
	for log, missing := range j.state.Missing {
		for _, index := range missing {
			from[log] = min(from[log], index)
		}
	}
	return from
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
	if f.Expired {
		j.answer.Expired++
	}
	if f.Erased {
		j.answer.Erased++
	}
	line, err := j.flags.line(j.line[:0], f)
	if err != nil {
		return fmt.Errorf("%s leaf %d: %w", log, index, err)
	}
	if line != nil {
		if err := j.out.write(ctx, f, line); err != nil {
			large := new(republish.TooLargeError)
			j.broken = !errors.As(err, &large) || large.Limit == 0 // else what was written before is as good as ever
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
		return j.save(ctx)
	}
	return nil
}

// save makes the output durable, and then the state that says so.
func (j *restoring) save(ctx context.Context) error {
	j.saved = time.Now()
	if err := j.out.flush(ctx, &j.state); err != nil {
		j.broken = true
		return err
	}
	if j.flags.resume == "" {
		return nil
	}
	data, err := json.Marshal(j.state)
	if err != nil {
		return err
	}
	if err := replaceFile(j.flags.resume, append(data, '\n')); err != nil {
		return hinted(fmt.Errorf("the state of the restore cannot be kept: %w", err), "name a file in a folder that you can write to with --resume")
	}
	return nil
}

// close saves what can be saved, after an interruption too.
func (j *restoring) close(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sinkWait)
	defer cancel()
	if !j.broken {
		err = j.save(ctx)
	}
	err = errors.Join(err, j.out.close(ctx, j.answer))
	j.answer.Total = j.state.Records
	return err
}
