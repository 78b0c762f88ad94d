package experiment

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// Fraction is an exact rational number as people write radii and steps: "8/255", "0.1", "3.1875", "1e-3". The zero
// Fraction is 0.
type Fraction struct {
	text  string
	value *big.Rat
}

// decimal limits the digits and the exponent: an exact "1e999999999" would fill the memory.
var decimal = regexp.MustCompile(`^[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,2})?$`)

// ParseFraction reads a decimal or a quotient of two decimals.
func ParseFraction(text string) (Fraction, error) {
	numerator, denominator, quotient := strings.Cut(text, "/")
	parts := []string{strings.TrimSpace(numerator)}
	if quotient {
		parts = append(parts, strings.TrimSpace(denominator))
	}
	var values []*big.Rat
	for _, part := range parts {
		if !decimal.MatchString(part) {
			return Fraction{}, fmt.Errorf("%q is not a number", text)
		}
		value, ok := new(big.Rat).SetString(part)
		if !ok {
			return Fraction{}, fmt.Errorf("%q is not a number", text)
		}
		values = append(values, value)
	}
	value := values[0]
	if quotient {
		if values[1].Sign() == 0 {
			return Fraction{}, fmt.Errorf("%q divides by zero", text)
		}
		value = new(big.Rat).Quo(value, values[1])
	}
	return Fraction{text: strings.Join(parts, "/"), value: value}, nil
}

// String returns the number as it was written.
func (f Fraction) String() string {
	if f.value == nil {
		return "0"
	}
	return f.text
}

// Float64 returns the nearest float64.
func (f Fraction) Float64() float64 {
	if f.value == nil {
		return 0
	}
	v, _ := f.value.Float64()
	return v
}

// Rat returns the exact value.
func (f Fraction) Rat() *big.Rat {
	if f.value == nil {
		return new(big.Rat)
	}
	return new(big.Rat).Set(f.value)
}

// MarshalText returns the number as it was written, so that it is a string in JSON.
func (f Fraction) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText is ParseFraction.
func (f *Fraction) UnmarshalText(text []byte) error {
	parsed, err := ParseFraction(string(text))
	if err == nil {
		*f = parsed
	}
	return err
}

func (f *Fraction) fromTOML(raw any) *misfit {
	var text string
	switch v := raw.(type) {
	case string:
		text = v
	case int64:
		text = strconv.FormatInt(v, 10)
	case float64:
		text = strconv.FormatFloat(v, 'g', -1, 64)
	default:
		return &misfit{"wants a number, not " + kindOf(raw), `write a fraction "8/255" or a decimal`}
	}
	parsed, err := ParseFraction(text)
	if err != nil {
		return &misfit{"cannot be read: " + err.Error(), `write a fraction with a denominator other than 0, "8/255", or a decimal, 0.03`}
	}
	*f = parsed
	return nil
}

// toTOML writes a decimal as a number where that gives back the same text, everything else as a string.
func (f Fraction) toTOML() string {
	text := f.String()
	if v, err := strconv.ParseFloat(text, 64); err == nil && strconv.FormatFloat(v, 'g', -1, 64) == text {
		return text
	}
	return strconv.Quote(text)
}
