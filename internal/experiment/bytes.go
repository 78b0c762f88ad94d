package experiment

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Bytes is an amount of memory, "8GiB" in a file. The zero value is "not given".
type Bytes int64

var (
	bytesPattern = regexp.MustCompile(`^(\d{1,15}(?:\.\d{1,6})?) ?([KMGT]i?)?B$`)
	byteUnits    = map[string]float64{"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
)

// ParseBytes reads a number with its unit: "8GiB", "500 MB", "1.5GiB".
func ParseBytes(text string) (Bytes, error) {
	match := bytesPattern.FindStringSubmatch(strings.TrimSpace(text))
	if match == nil {
		return 0, fmt.Errorf("%q is not an amount of memory; write for instance 8GiB", text)
	}
	number, err := strconv.ParseFloat(match[1], 64)
	value := number * byteUnits[match[2]]
	if err != nil || value < 1 || value > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is no memory that a machine has", text)
	}
	return Bytes(value), nil
}

// String writes the amount in the largest binary unit that divides it.
func (b Bytes) String() string {
	for _, unit := range []string{"Ti", "Gi", "Mi", "Ki"} {
		if size := Bytes(byteUnits[unit]); b != 0 && b%size == 0 {
			return fmt.Sprintf("%d%sB", b/size, unit)
		}
	}
	return fmt.Sprintf("%dB", int64(b))
}

func (b *Bytes) fromTOML(raw any) *misfit {
	hint := `write the number with its unit between quotes: "8GiB"`
	text, ok := raw.(string)
	if !ok {
		return &misfit{"wants an amount of memory, not " + kindOf(raw), hint}
	}
	v, err := ParseBytes(text)
	if err != nil {
		return &misfit{fmt.Sprintf("has no value %q", text), hint}
	}
	*b = v
	return nil
}
