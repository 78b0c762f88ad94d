// Convolutions of a lowered network, by oneDNN on filters in its own order.
#include "convolution.hpp"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/pixel_shuffle.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "lowered.hpp"

namespace sat {
namespace {

using Pointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, at::IntArrayRef,
                             at::IntArrayRef, at::IntArrayRef, int64_t, std::string_view,
                             c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
using Reorder = at::Tensor(const at::Tensor&, at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, int64_t,
                           at::OptionalIntArrayRef);

// Few channels are those of images.
constexpr int64_t kFewChannels = 4;

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

}  // namespace

Convolution::Convolution(const at::Tensor& weight, std::optional<at::Tensor> bias, Shape shape, bool relu)
    : type_(weight.scalar_type()),
      weight_(weight.to(product_type(type_))),
      bias_(std::move(bias)),
      shape_(std::move(shape)),
      relu_(relu) {
  if (bias_) bias_ = bias_->to(weight_.scalar_type());
  const auto& [stride, padding, dilation, groups] = shape_;
  const std::vector<int64_t> kernel = weight_.sizes().slice(2).vec(), ones = {1, 1}, none = {0, 0};
  const std::vector<int64_t> around = {dilation[0] * (kernel[0] - 1) - padding[0],
                                       dilation[1] * (kernel[1] - 1) - padding[1]};
  if (stride == ones && around[0] >= 0 && around[1] >= 0) {
    kind_ = Backward::kMirrored;
    backward_shape_ = {ones, around, dilation, groups};
  } else if (groups == 1 && dilation == ones && stride[0] == stride[1] &&
             (weight_.size(1) <= kFewChannels || kernel == stride)) {
    kind_ = Backward::kPhases;
    backward_shape_ = {ones, none, ones, 1};
    for (int d = 0; d < 2; ++d) {
      first_.push_back(-floor_div(kernel[d] - 1 - padding[d], stride[d]));
      last_.push_back(floor_div(stride[d] - 1 + padding[d], stride[d]));
    }
  } else if (groups == weight_.size(0) && weight_.size(1) == 1 && dilation == ones && around[0] >= 0 &&
             around[1] >= 0) {
    kind_ = Backward::kSpread;
    first_ = around;
    backward_shape_ = {ones, none, ones, groups};
  }
}

// mirrored returns filters [I,O/groups,H,W]: inputs and outputs of a group exchanged, taps in the opposite order.
at::Tensor Convolution::mirrored() const {
  const int64_t groups = shape_.groups, out = weight_.size(0) / groups, in = weight_.size(1);
  const int64_t height = weight_.size(2), width = weight_.size(3);
  const at::Tensor exchanged = weight_.reshape({groups, out, in, height, width}).transpose(1, 2);
  return exchanged.reshape({groups * in, out, height, width}).flip({2, 3});
}

// phases returns filters [I s^2,O,H',W'] for a stride s. Pixel s u + a of the input, a < s, was met by tap a + p - s t
// of output u + t, for every t that makes it a tap; p is the padding. So the gradient of the s^2 pixels from s u on is
// a convolution without stride over outputs u + t, with a channel for each channel of the input and each a.
at::Tensor Convolution::phases() const {
  const int64_t out = weight_.size(0), in = weight_.size(1), s = shape_.stride[0];
  const int64_t rows = last_[0] - first_[0] + 1, columns = last_[1] - first_[1] + 1;
  const auto tap = [&](int d, int64_t a, int64_t t) { return a + shape_.padding[d] - s * (first_[d] + t); };
  const auto is_tap = [&](int d, int64_t k) { return k >= 0 && k < weight_.size(2 + d); };
  at::Tensor all = at::zeros({in, s, s, out, rows, columns}, weight_.options());
  for (int64_t a = 0; a < s; ++a) {
    for (int64_t i = 0; i < rows; ++i) {
      if (!is_tap(0, tap(0, a, i))) continue;
      for (int64_t b = 0; b < s; ++b) {
        for (int64_t j = 0; j < columns; ++j) {
          if (!is_tap(1, tap(1, b, j))) continue;
          const at::Tensor filter = weight_.select(2, tap(0, a, i)).select(2, tap(1, b, j));  // [O,I]
          all.select(1, a).select(1, b).select(2, i).select(2, j).copy_(filter.t());
        }
      }
    }
  }
  return all.view({in * s * s, out, rows, columns});
}

template <class Filters>
at::Tensor Convolution::convolve(Packed& packed, const at::Tensor& x, Filters&& filters,
                                 const std::optional<at::Tensor>& bias, const Shape& shape) const {
  static const auto reorder =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_reorder_convolution_weight", "").typed<Reorder>();
  static const auto pointwise =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_convolution_pointwise", "").typed<Pointwise>();
  const at::Tensor input = x.to(weight_.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
  if (input.sizes() != at::IntArrayRef(packed.sizes)) {
    packed.weight = reorder.call(filters(), shape.padding, shape.stride, shape.dilation, shape.groups, input.sizes());
    packed.sizes = input.sizes().vec();
  }
  return pointwise
      .call(input, packed.weight, bias, shape.padding, shape.stride, shape.dilation, shape.groups, "none",
            c10::List<std::optional<at::Scalar>>(), std::nullopt)
      .to(type_);
}

at::Tensor Convolution::forward(const at::Tensor& x) {
  const at::Tensor y = convolve(forward_, x, [&] { return weight_; }, bias_, shape_);
  if (relu_) rectify(y, y);
  return y;
}

at::Tensor Convolution::backward(const at::Tensor& grad, at::IntArrayRef sizes) {
  switch (kind_) {
    case Backward::kMirrored:
      return convolve(backward_, grad, [&] { return mirrored(); }, std::nullopt, backward_shape_);
    case Backward::kPhases:
      return backward_by_phases(grad, sizes);
    case Backward::kSpread:
      return convolve(backward_, spread(grad, sizes), [&] { return mirrored(); }, std::nullopt, backward_shape_);
    case Backward::kTransposed:
      break;
  }
  const at::Tensor g = grad.to(weight_.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor input = at::empty(sizes, g.options(), at::MemoryFormat::ChannelsLast);  // only its shape counts
  return std::get<0>(at::convolution_backward(g, input, weight_, std::nullopt, shape_.stride, shape_.padding,
                                              shape_.dilation, /*transposed=*/false, /*output_padding=*/{0, 0},
                                              shape_.groups, {true, false, false}))
      .to(type_);
}

at::Tensor Convolution::backward_by_phases(const at::Tensor& grad, at::IntArrayRef sizes) {
  const int64_t s = shape_.stride[0];
  const auto behind = [&](int d) {  // outputs that the last pixels ask for, behind the last one
    return (sizes[2 + d] + s - 1) / s - 1 + last_[d] - (grad.size(2 + d) - 1);
  };
  const std::vector<int64_t> pad = {-first_[1], behind(1), -first_[0], behind(0)};
  const at::Tensor padded = pad == std::vector<int64_t>(4, 0) ? grad : at::constant_pad_nd(grad, pad);
  const at::Tensor pixels = convolve(backward_, padded, [&] { return phases(); }, std::nullopt, backward_shape_);
  return at::pixel_shuffle(pixels, s).slice(2, 0, sizes[2]).slice(3, 0, sizes[3]);
}

// spread puts the gradient of each output where its tap 0 was, among zeros, with room for filters at the border.
at::Tensor Convolution::spread(const at::Tensor& grad, at::IntArrayRef sizes) const {
  const int64_t height = sizes[2] + weight_.size(2) - 1, width = sizes[3] + weight_.size(3) - 1;
  at::Tensor all = at::empty({sizes[0], sizes[1], height, width}, grad.options(), at::MemoryFormat::ChannelsLast);
  all.zero_();
  at::Tensor places = all;
  for (int d = 0; d < 2; ++d) {
    const int64_t from = first_[d], s = shape_.stride[d];
    places = places.slice(2 + d, from, from + s * (grad.size(2 + d) - 1) + 1, s);
  }
  places.copy_(grad);
  return all;
}

namespace {

class ConvolutionFunction : public torch::autograd::Function<ConvolutionFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x,
                            const c10::intrusive_ptr<Convolution>& c) {
    at::AutoDispatchBelowADInplaceOrView below;
    at::Tensor y = c->forward(x);
    ctx->saved_data["convolution"] = c;
    ctx->saved_data["sizes"] = x.sizes();
    if (c->relu()) ctx->save_for_backward({y});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const auto c = ctx->saved_data["convolution"].toCustomClass<Convolution>();
    at::Tensor grad = grads[0];
    if (c->relu()) grad = rectify_backward(grad, ctx->get_saved_variables()[0]);
    return {c->backward(grad, ctx->saved_data["sizes"].toIntVector()), at::Tensor()};
  }
};

at::Tensor convolution(const at::Tensor& x, const c10::intrusive_ptr<Convolution>& c) {
  if (at::GradMode::is_enabled() && x.requires_grad()) return ConvolutionFunction::apply(x, c);
  return c->forward(x);
}

}  // namespace
}  // namespace sat

TORCH_LIBRARY_FRAGMENT(sat, m) {
  m.class_<sat::Convolution>("Convolution");
  m.def("convolution", sat::convolution);
}
