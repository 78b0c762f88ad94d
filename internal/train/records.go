package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sat/internal/tensorboard"
)

// Records says what a run leaves in Job.Dir beside its result, which does not depend on it.
type Records struct {
	LogEvery    int  // updates from one line of LogFile, and one point of the event file, to the next; 0: no lines
	TensorBoard bool // write the event file
	KeepLast    int  // checkpoints of so many last epochs are kept
	KeepBest    int  // and of so many with the highest accuracy, of evaluated epochs
}

// LogFile in Job.Dir has a JSON object per line: "update" every LogEvery updates and "epoch" after each epoch.
const LogFile = "log.jsonl"

// EventFile in Job.Dir is for TensorBoard.
const EventFile = tensorboard.FileName

// window is what has happened since the last line of the log. It is part of a checkpoint, so that the line after a resume is
// that of an uninterrupted run.
type window struct {
	Updates      int     `json:"updates"`
	Loss         float64 `json:"loss"`         // sum
	Distillation float64 `json:"distillation"` // sum
	Seconds      float64 `json:"seconds"`
	Waited       float64 `json:"waited"`
}

// logLine is a line of the log. Losses are means over the updates that it stands for.
type logLine struct {
	Kind  string `json:"kind"`
	Epoch int    `json:"epoch"` // from 1
	Step  int    `json:"step"`  // updates of the run so far

	LR          float64  `json:"lr"`
	Loss        float64  `json:"loss"` // that is minimised
	TaskLoss    *float64 `json:"task_loss,omitempty"`
	DistillLoss *float64 `json:"distill_loss,omitempty"`
	ValLoss     *float64 `json:"val_loss,omitempty"`
	ValTop1     *float64 `json:"val_top1,omitempty"`
	ValTop5     *float64 `json:"val_top5,omitempty"`
	EMALoss     *float64 `json:"ema_loss,omitempty"`
	EMATop1     *float64 `json:"ema_top1,omitempty"`
	EMATop5     *float64 `json:"ema_top5,omitempty"`
	PerSecond   float64  `json:"images_per_second"`
	LoaderWait  float64  `json:"loader_wait"` // share of the time, 0 to 1
	Time        string   `json:"time"`
	tags        string   // prefix of the curves in the event file
}

const (
	kindUpdate = "update"
	kindEpoch  = "epoch"

	updateTags = "update/"
	epochTags  = "epoch/"
)

// logUpdate counts an update and writes a line if it is time to: the step is a multiple of LogEvery, or the run's last.
func (t *session) logUpdate(w window, lr float64, step, last int) error {
	sum := &t.state.Window
	sum.Updates++
	sum.Loss, sum.Distillation = sum.Loss+w.Loss, sum.Distillation+w.Distillation
	sum.Seconds, sum.Waited = sum.Seconds+w.Seconds, sum.Waited+w.Waited
	if t.Records.LogEvery == 0 || step%t.Records.LogEvery != 0 && step != last {
		return nil
	}
	n := float64(sum.Updates)
	line := logLine{Kind: kindUpdate, Epoch: t.state.Epoch + 1, Step: step, LR: lr, Loss: sum.Loss / n,
		PerSecond: n * float64(t.Recipe.Batch) / sum.Seconds, LoaderWait: sum.Waited / sum.Seconds, tags: updateTags}
	line.TaskLoss, line.DistillLoss = t.parts(line.Loss, sum.Distillation/n)
	*sum = window{}
	return t.writeLog(line)
}

// logEpoch writes the line of an epoch that has just been evaluated.
func (t *session) logEpoch(e Epoch, epoch, step int) error {
	line := logLine{Kind: kindEpoch, Epoch: epoch, Step: step, LR: e.LR, Loss: e.TrainLoss,
		PerSecond: float64(e.Images) / e.Seconds, LoaderWait: e.Waited / e.Seconds, tags: epochTags}
	line.TaskLoss, line.DistillLoss = t.parts(e.TrainLoss, e.DistillLoss)
	if e.Evaluated {
		line.ValLoss, line.ValTop1, line.ValTop5 = &e.ValLoss, &e.ValTop1, &e.ValTop5
		if t.average != nil {
			line.EMALoss, line.EMATop1, line.EMATop5 = &e.EMALoss, &e.EMATop1, &e.EMATop5
		}
	}
	return t.writeLog(line)
}

// parts splits a loss into those on the labels and on the teacher; nil without a teacher, and where the loss is the teacher's
// alone.
func (t *session) parts(total, distillation float64) (task, distill *float64) {
	if t.Teacher == nil {
		return nil, nil
	}
	if a := t.Teacher.Alpha; a < 1 {
		v := (total - float64(a*distillation)) / (1 - a)
		task = &v
	}
	return task, &distillation
}

func (t *session) writeLog(line logLine) error {
	now := time.Now()
	line.Time = now.UTC().Format(time.RFC3339)
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if t.Records.LogEvery > 0 {
		text, err := json.Marshal(line)
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
		if err := appendFile(filepath.Join(t.Dir, LogFile), append(text, '\n')); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	if !t.Records.TensorBoard {
		return nil
	}
	event := tensorboard.Event{Seconds: float64(now.UnixMilli()) / 1e3, Step: int64(line.Step)}
	add := func(tag string, v *float64) {
		if v != nil {
			event.Values = append(event.Values, tensorboard.Value{Tag: line.tags + tag, Scalar: float32(*v)})
		}
	}
	add("loss", &line.Loss)
	add("task_loss", line.TaskLoss)
	add("distill_loss", line.DistillLoss)
	add("lr", &line.LR)
	add("val_loss", line.ValLoss)
	add("val_top1", line.ValTop1)
	add("val_top5", line.ValTop5)
	add("ema_loss", line.EMALoss)
	add("ema_top1", line.EMATop1)
	add("ema_top5", line.EMATop5)
	add("images_per_second", &line.PerSecond)
	add("loader_wait", &line.LoaderWait)
	return tensorboard.Append(filepath.Join(t.Dir, EventFile), event)
}

func appendFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// resumeRecords removes from both logs what a killed run wrote after the checkpoint that this one continues from, and makes up
// for a copy of the checkpoint that it did not come to. Without a checkpoint, what an earlier run left is removed. updates is
// the number of an epoch.
func (t *session) resumeRecords(updates int) error {
	log, events := filepath.Join(t.Dir, LogFile), filepath.Join(t.Dir, EventFile)
	if !t.resumed {
		return errors.Join(os.RemoveAll(log), os.RemoveAll(events), os.RemoveAll(filepath.Join(t.Dir, EpochsDir)))
	}
	if err := t.keepEpochs(); err != nil {
		return err
	}
	// An epoch's line is written before the checkpoint that ends it, and has the step of its last update.
	ended := t.state.Epoch * updates
	step := ended + t.state.Update
	keep := func(epoch bool, at int) bool { return at <= ended || !epoch && at <= step }
	if err := cutLines(log, func(l logLine) bool { return keep(l.Kind == kindEpoch, l.Step) }); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return tensorboard.Cut(events, func(e tensorboard.Event) bool {
		return keep(len(e.Values) > 0 && strings.HasPrefix(e.Values[0].Tag, epochTags), int(e.Step))
	})
}

// cutLines removes the first line that keep does not want or that is not whole, and all after it.
func cutLines(path string, keep func(logLine) bool) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	kept := 0
	for line := range bytes.Lines(content) {
		var l logLine
		if !bytes.HasSuffix(line, []byte("\n")) || json.Unmarshal(line, &l) != nil || !keep(l) {
			break
		}
		kept += len(line)
	}
	if kept == len(content) {
		return nil
	}
	return os.Truncate(path, int64(kept))
}
