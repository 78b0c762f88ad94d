package analysis

import "fmt"

// modelNames returns n names whose alphabetical order is their order.
func modelNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("model%03d", i)
	}
	return names
}
