// Convolutions of a lowered network.
#pragma once

#include <torch/custom_class.h>

#include <optional>
#include <string>
#include <vector>

#include "internal.hpp"

namespace sat {

// Convolution is a convolution in two dimensions whose filters are known and never change, so that they can lie in
// memory as oneDNN's kernels want them. Through ATen's operator oneDNN puts them in that order on every pass anew,
// forward and backward, which with a few images takes a tenth of the time. It gives the gradient of its input only.
// Where the processor has no kernels for bfloat16, it multiplies in float32, and rounds what comes out.
class Convolution : public torch::CustomClassHolder {
 public:
  struct Shape {
    std::vector<int64_t> stride, padding, dilation;
    int64_t groups = 1;
  };

  // weight is [O,I/groups,H,W], in float32 or bfloat16 as the inputs are; relu says that a rectifier follows.
  Convolution(const at::Tensor& weight, std::optional<at::Tensor> bias, Shape shape, bool relu);

  bool relu() const { return relu_; }
  at::Tensor forward(const at::Tensor& x);
  // backward returns the gradient of an input of those sizes; grad is that of the output, before the rectifier.
  at::Tensor backward(const at::Tensor& grad, at::IntArrayRef sizes);

 private:
  // Filters in the order that suits inputs of one shape. Which order that is may depend on the shape, and results must
  // not depend on the shapes that came before, so another shape makes the order anew.
  struct Packed {
    std::vector<int64_t> sizes;
    at::Tensor weight;
  };

  // Which pass gives the gradient of the input.
  enum class Backward {
    kMirrored,  // a convolution with mirrored filters: no stride
    kPhases,    // a convolution that gives all pixels of a stride as channels: few channels, or filters side by side
    kSpread,    // a convolution with mirrored filters over outputs set apart by zeros: a channel of its own per filter
    kTransposed
  };

  // convolve convolves x, of any type, with packed filters; filters returns those that packed does not hold yet.
  template <class Filters>
  at::Tensor convolve(Packed& packed, const at::Tensor& x, Filters&& filters, const std::optional<at::Tensor>& bias,
                      const Shape& shape) const;
  at::Tensor mirrored() const;
  at::Tensor phases() const;
  at::Tensor backward_by_phases(const at::Tensor& grad, at::IntArrayRef sizes);
  at::Tensor spread(const at::Tensor& grad, at::IntArrayRef sizes) const;

  at::ScalarType type_;  // of inputs and outputs
  at::Tensor weight_;    // in the type of the products
  std::optional<at::Tensor> bias_;
  Shape shape_, backward_shape_;
  bool relu_;
  Backward kind_ = Backward::kTransposed;
  // Per dimension: of kPhases the first and the last output that the pixels of a stride were met by; of kSpread the
  // zeros before the first output.
  std::vector<int64_t> first_, last_;
  Packed forward_, backward_;
};

}  // namespace sat
