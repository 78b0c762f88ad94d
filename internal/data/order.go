package data

import "fmt"

// CheckOrder reports a network whose outputs seem to be the right classes in another order than the labels: it is rarely
// right, and would be often if every output stood for the class that it is mostly chosen for. Which class that is, is
// learnt on every other image and tried on the rest, so that chance does not look like an order. predicted holds the
// network's classes for images in the order of a Folder, whose neighbours have equal labels.
func CheckOrder(labels []int64, predicted []int32) error {
	n := len(labels)
	if n == 0 || n != len(predicted) {
		return nil
	}
	counts := map[int64]int{}
	right := 0
	for i, label := range labels {
		counts[label]++
		if int64(predicted[i]) == label {
			right++
		}
	}
	largest := 0 // what predicting one class for every image could reach
	for _, c := range counts {
		largest = max(largest, c)
	}
	meanings := [2]map[int32]int64{meaning(labels, predicted, 0), meaning(labels, predicted, 1)}
	renumbered := 0
	for i, label := range labels {
		if class, ok := meanings[1-i%2][predicted[i]]; ok && class == label {
			renumbered++
		}
	}
	if renumbered < minRenumbered || renumbered < 2*max(right, largest) {
		return nil
	}
	example := ""
	for output := range int32(1 << 16) {
		if class, ok := meanings[0][output]; ok && class != int64(output) && meanings[1][output] == class {
			example = fmt.Sprintf("; output %d, for instance, seems to mean class %d", output, class)
			break
		}
	}
	return fmt.Errorf("right on %.1f %% of the images, but with its outputs renumbered it would be on %.1f %%: its classes seem to be in another order than the labels%s. "+
		"Give a class map that says which output each class is (class_map, --class-map)", 100*float64(right)/float64(n), 100*float64(renumbered)/float64(n), example)
}

// minRenumbered is how many images must speak for another order.
const minRenumbered = 20

// meaning returns, for each predicted class, the most frequent label among the images whose number has the given parity.
// Of equally frequent labels it is the smallest.
func meaning(labels []int64, predicted []int32, parity int) map[int32]int64 {
	counts := map[int32]map[int64]int{}
	for i := parity; i < len(labels); i += 2 {
		if counts[predicted[i]] == nil {
			counts[predicted[i]] = map[int64]int{}
		}
		counts[predicted[i]][labels[i]]++
	}
	out := map[int32]int64{}
	for output, seen := range counts {
		best := 0
		for label, c := range seen {
			if c > best || (c == best && label < out[output]) {
				out[output], best = label, c
			}
		}
	}
	return out
}
