package zoo

import (
	"errors"
	"fmt"

	"sat/torch"
)

// Mode is how a network computes. Images, logits and gradients are float32 in all of them, and numbers differ from one to the
// other: in float32 in the last bits, in bfloat16 from the third digit on.
type Mode struct {
	// Precision is the type the network computes in, float32 or bfloat16.
	Precision torch.DType
	// ChannelsLast lays filters and feature maps pixel by pixel in memory (NHWC), where some CPUs and GPUs compute
	// convolutions faster in float32. Lowered networks and those in bfloat16 always lie so.
	ChannelsLast bool
	// Lowered makes the network faster on the CPU, see torch.Module.Lower. In bfloat16 every network on the CPU is lowered.
	Lowered bool
}

// The words for modes in float32 that are not its plain one.
const (
	channelsLast = "channels-last"
	lowered      = "lowered"
)

// ParseMode reads float32, channels-last or lowered (both in float32), or bfloat16.
func ParseMode(word string) (Mode, error) {
	switch word {
	case channelsLast:
		return Mode{ChannelsLast: true}, nil
	case lowered:
		return Mode{Lowered: true}, nil
	}
	precision, err := torch.ParseDType(word)
	m := Mode{Precision: precision}
	if err != nil || m.Check(torch.CPU) != nil {
		return Mode{}, fmt.Errorf("%q: want float32, %s, %s or bfloat16", word, channelsLast, lowered)
	}
	return m, nil
}

// String is the word for the mode.
func (m Mode) String() string {
	switch {
	case m.Precision != torch.Float32:
		return m.Precision.String()
	case m.Lowered:
		return lowered
	case m.ChannelsLast:
		return channelsLast
	}
	return m.Precision.String()
}

// Check says what is wrong with the mode on a device.
func (m Mode) Check(d torch.Device) error {
	if m.Precision != torch.Float32 && m.Precision != torch.BFloat16 {
		return fmt.Errorf("precision %s: want float32 or bfloat16", m.Precision)
	}
	if m.Lowered && d.Type != torch.DeviceCPU {
		return errors.New("networks are lowered for the CPU only; set device = \"cpu\" or leave lowered out")
	}
	return nil
}

// On returns the mode as it is on a device, with what follows from something else set or left out, so that equal modes
// compute equal numbers.
func (m Mode) On(d torch.Device) Mode {
	m.Lowered = d.Type == torch.DeviceCPU && (m.Lowered || m.Precision == torch.BFloat16)
	m.ChannelsLast = m.ChannelsLast || m.Lowered || m.Precision == torch.BFloat16
	return m
}
