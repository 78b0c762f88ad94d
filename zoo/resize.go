package zoo

import "sat/torch"

// Linear resizes images as TransferLogits does, without clamping to [0,1] afterwards: so it is linear in the pixels.
func (r Resize) Linear(s *torch.Scope, x torch.Tensor, height, width int) (torch.Tensor, error) {
	filter, err := r.filter()
	if err != nil {
		return torch.Tensor{}, err
	}
	return s.Interpolate(x, height, width, filter, r.Antialias), s.Err()
}
