package train

import (
	"context"
	"fmt"

	"sat/torch"
	"sat/zoo"
)

// Teacher is a network to distil from, as DeiT does (Touvron et al., 2021): it sees the augmented and mixed batch of the
// student, at its own resolution and normalisation, in eval mode and without gradients.
type Teacher struct {
	Module   string // TorchScript file
	Describe zoo.Description
	Key      string // identifies the content of Module

	Soft       bool    // distil its probabilities at temperature Tau rather than its class
	Alpha, Tau float64 // share of the distillation in the loss; temperature
	Resize     torch.Interpolation
	// Renormalise gives the teacher its own mean and deviation. DeiT's code feeds it what the student sees.
	Renormalise bool
	Precision   torch.DType
	// Lowered is the version of what torch.Module.Lower makes of a network; 0 for a teacher that computes as it is.
	Lowered int `json:",omitempty"`
}

// openTeacher loads the network and what it is fed with.
func (t *session) openTeacher(ctx context.Context) error {
	if t.Teacher == nil {
		return nil
	}
	if t.manifest.Heads != 2 {
		return fmt.Errorf("the student %s has %d heads; distillation needs a class head and a distillation head (export it with heads = 2)",
			t.Module, t.manifest.Heads)
	}
	module, _, err := torch.LoadModule(t.Teacher.Module, t.Device)
	if err != nil {
		return fmt.Errorf("teacher: %w", err)
	}
	t.teacher = module
	switch {
	case t.Teacher.Lowered > 0:
		err = module.Lower(t.Teacher.Precision)
	case t.Teacher.Precision != torch.Float32:
		err = module.To(t.Device, t.Teacher.Precision)
	}
	if err != nil {
		return fmt.Errorf("teacher: %w", err)
	}
	return nil
}

// distil puts the teacher's logits for the images, pixels in [0,1], into the options of the student's loss.
func (t *session) distil(s *torch.Scope, images torch.Tensor, o *torch.BackwardOptions) {
	d := t.Teacher.Describe
	if shape := images.Shape(); d.Height > 0 && (shape[2] != d.Height || shape[3] != d.Width) {
		images = s.Interpolate(images, d.Height, d.Width, t.Teacher.Resize, false)
	}
	mean, std := t.manifest.Mean, t.manifest.Std
	if t.Teacher.Renormalise {
		mean, std = d.Mean, d.Std
	}
	o.Teacher = t.teacher.Forward(s, images, mean, std)
	o.Distillation, o.Alpha, o.Tau = torch.HardDistillation, t.Teacher.Alpha, t.Teacher.Tau
	if t.Teacher.Soft {
		o.Distillation = torch.SoftDistillation
	}
}
