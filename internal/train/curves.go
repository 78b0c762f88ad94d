package train

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"sat/internal/store"
)

// curveColumns are those of CurveFile. A cell is empty where there is nothing to say: the parts of the loss without a teacher,
// scores of epochs that were not evaluated, averages of weights without one.
var curveColumns = []string{"epoch", "lr", "train_loss", "task_loss", "distill_loss", "val_loss", "val_top1", "val_top5",
	"ema_loss", "ema_top1", "ema_top5"}

// writeCurves writes both tables from the beginning: after a kill between checkpoint and table, the checkpoint counts.
func (t *session) writeCurves() error {
	err := t.writeTable(CurveFile, curveColumns, func(e Epoch) []string {
		cells := []string{number(e.LR), number(e.TrainLoss)}
		task, distill := t.parts(e.TrainLoss, e.DistillLoss)
		for _, v := range []*float64{task, distill} {
			if v == nil {
				cells = append(cells, "")
			} else {
				cells = append(cells, number(*v))
			}
		}
		for _, s := range []struct {
			there bool
			score
		}{{e.Evaluated, score{e.ValLoss, e.ValTop1, e.ValTop5}}, {e.Evaluated && t.average != nil, score{e.EMALoss, e.EMATop1, e.EMATop5}}} {
			if s.there {
				cells = append(cells, number(s.loss), number(s.top1), number(s.top5))
			} else {
				cells = append(cells, "", "", "")
			}
		}
		return cells
	})
	if err != nil {
		return err
	}
	return t.writeTable(SpeedFile, []string{"epoch", "images_per_second", "seconds", "loader_wait"}, func(e Epoch) []string {
		return []string{fmt.Sprintf("%.1f", float64(e.Images)/e.Seconds), fmt.Sprintf("%.3f", e.Seconds), fmt.Sprintf("%.3f", e.Waited)}
	})
}

// writeTable writes a line for each epoch so far.
func (t *session) writeTable(name string, columns []string, cells func(Epoch) []string) error {
	return store.WriteFile(filepath.Join(t.Dir, name), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, strings.Join(columns, ","))
		for i, e := range t.state.History {
			if err == nil {
				_, err = fmt.Fprintf(w, "%d,%s\n", i+1, strings.Join(cells(e), ","))
			}
		}
		return err
	})
}

// number writes v so that reading it gives v again.
func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
