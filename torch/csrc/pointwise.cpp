// Functions of single elements and of rows in bfloat16, as loops that the compiler turns into vector instructions.
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_softmax_backward_data.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/threshold_backward.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "bfloat16.hpp"
#include "lowered.hpp"

namespace sat {
namespace {

struct ValueAndSlope {
  float value, slope;
};

// gelu is x Phi(x). Phi and its derivative, the normal density, share one exponential: the error function is
// approximated by formula 7.1.26 of Abramowitz and Stegun, whose error of 1.5e-7 is far below a step of bfloat16.
inline ValueAndSlope gelu(float x) {
  constexpr float kSqrtHalf = 0.70710678f, kDensity = 0.39894228f;
  const float z = std::fabs(x) * kSqrtHalf;
  const float t = 1.0f / (1.0f + 0.3275911f * z);
  const float bell = fast_exp(-z * z);  // exp(-x^2 / 2)
  const float poly =
      t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float tail = 0.5f * poly * bell;  // Phi(-|x|)
  const float phi = x < 0 ? tail : 1.0f - tail;
  return {x * phi, phi + x * kDensity * bell};
}

// silu is x s(x), s the logistic function.
inline ValueAndSlope silu(float x) {
  const float e = fast_exp(-std::fabs(x));
  const float s = (x < 0 ? e : 1.0f) / (1.0f + e);
  return {x * s, s + x * s * (1.0f - s)};
}

SAT_VECTORISED void gelu_values(const uint16_t* x, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = rounded(gelu(widened(x[i])).value);
}

SAT_VECTORISED void gelu_slopes(const uint16_t* x, uint16_t* y, uint16_t* slope, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const ValueAndSlope f = gelu(widened(x[i]));
    y[i] = rounded(f.value);
    slope[i] = rounded(f.slope);
  }
}

SAT_VECTORISED void silu_values(const uint16_t* x, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = rounded(silu(widened(x[i])).value);
}

SAT_VECTORISED void silu_slopes(const uint16_t* x, uint16_t* y, uint16_t* slope, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const ValueAndSlope f = silu(widened(x[i]));
    y[i] = rounded(f.value);
    slope[i] = rounded(f.slope);
  }
}

SAT_VECTORISED void products(const uint16_t* a, const uint16_t* b, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = rounded(widened(a[i]) * widened(b[i]));
}

// Not-a-numbers stay, unlike in oneDNN's rectifier.
SAT_VECTORISED void rectified(const uint16_t* x, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = is_below_zero(x[i]) ? 0 : x[i];
}

SAT_VECTORISED void where_rectified(const uint16_t* y, const uint16_t* grad, uint16_t* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = (y[i] & 0x7fff) == 0 ? 0 : grad[i];
}

// Functions come as two loops: one for values, and one that gives slopes too.
struct Loops {
  void (*values)(const uint16_t* x, uint16_t* y, int64_t n);
  void (*slopes)(const uint16_t* x, uint16_t* y, uint16_t* slope, int64_t n);
};
constexpr Loops kGelu = {gelu_values, gelu_slopes}, kSilu = {silu_values, silu_slopes};

const uint16_t* bits(const at::Tensor& t) { return static_cast<const uint16_t*>(t.const_data_ptr()); }
uint16_t* mutable_bits(const at::Tensor& t) { return static_cast<uint16_t*>(t.mutable_data_ptr()); }

constexpr int64_t kGrain = 1 << 15;  // elements for a thread

// each_part calls f with the bounds of the parts of n elements, one for each thread that there is work for.
template <class F>
void each_part(int64_t n, F&& f) {
  at::parallel_for(0, n, kGrain, std::forward<F>(f));
}

at::Tensor dense(const at::Tensor& x) { return x.is_non_overlapping_and_dense() ? x : x.contiguous(); }

bool needs_gradient(const at::Tensor& x) { return at::GradMode::is_enabled() && x.requires_grad(); }

}  // namespace

void rectify(const at::Tensor& x, const at::Tensor& y) {
  if (x.scalar_type() != at::kBFloat16) {
    at::Tensor out = y;
    at::clamp_min_out(out, x, 0);
    return;
  }
  each_part(x.numel(), [&](int64_t from, int64_t to) { rectified(bits(x) + from, mutable_bits(y) + from, to - from); });
}

at::Tensor rectify_backward(const at::Tensor& grad, const at::Tensor& y) {
  if (grad.strides() != y.strides() || grad.scalar_type() != at::kBFloat16) return at::threshold_backward(grad, y, 0);
  at::Tensor out = at::empty_like(y);
  each_part(y.numel(), [&](int64_t from, int64_t to) {
    where_rectified(bits(y) + from, bits(grad) + from, mutable_bits(out) + from, to - from);
  });
  return out;
}

namespace {

// SlopeFunction keeps the slope in place of its argument, and multiplies with it on the way back.
class SlopeFunction : public torch::autograd::Function<SlopeFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& input, const Loops* loops) {
    at::AutoDispatchBelowADInplaceOrView below;
    const at::Tensor x = dense(input);
    at::Tensor y = at::empty_like(x), slope = at::empty_like(x);
    each_part(x.numel(), [&](int64_t from, int64_t to) {
      loops->slopes(bits(x) + from, mutable_bits(y) + from, mutable_bits(slope) + from, to - from);
    });
    ctx->save_for_backward({slope});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::Tensor& grad = grads[0];
    const at::Tensor slope = ctx->get_saved_variables()[0];
    if (grad.strides() != slope.strides() || grad.scalar_type() != at::kBFloat16)
      return {grad.mul(slope), at::Tensor()};
    at::Tensor product = at::empty_like(slope);
    each_part(slope.numel(), [&](int64_t from, int64_t to) {
      products(bits(grad) + from, bits(slope) + from, mutable_bits(product) + from, to - from);
    });
    return {product, at::Tensor()};
  }
};

at::Tensor apply(const at::Tensor& input, const Loops& loops) {
  if (needs_gradient(input)) return SlopeFunction::apply(input, &loops);
  const at::Tensor x = dense(input);
  at::Tensor y = at::empty_like(x);
  each_part(x.numel(),
            [&](int64_t from, int64_t to) { loops.values(bits(x) + from, mutable_bits(y) + from, to - from); });
  return y;
}

class RectifyFunction : public torch::autograd::Function<RectifyFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& input) {
    at::AutoDispatchBelowADInplaceOrView below;
    const at::Tensor x = dense(input);
    at::Tensor y = at::empty_like(x);
    rectify(x, y);
    ctx->save_for_backward({y});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    return {rectify_backward(grads[0], ctx->get_saved_variables()[0])};
  }
};

at::Tensor relu_of(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 && needs_gradient(x) ? RectifyFunction::apply(x) : at::relu(x);
}

at::Tensor gelu_of(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 ? apply(x, kGelu) : at::gelu(x); }
at::Tensor silu_of(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 ? apply(x, kSilu) : at::silu(x); }

// softmax_rows takes the softmax of each of some rows of n elements; row has room for one.
SAT_VECTORISED void softmax_rows(const uint16_t* x, uint16_t* y, float* row, int64_t rows, int64_t n) {
  constexpr int64_t kLanes = 16;
  const int64_t whole = n / kLanes * kLanes;
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    float most[kLanes], sums[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) most[l] = -INFINITY, sums[l] = 0;
    for (int64_t i = 0; i < whole; i += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) {
        const float v = widened(x[i + l]);
        most[l] = most[l] > v ? most[l] : v;
      }
    }
    float top = -INFINITY, sum = 0;
    for (int64_t i = whole; i < n; ++i) top = top > widened(x[i]) ? top : widened(x[i]);
    for (int64_t l = 0; l < kLanes; ++l) top = top > most[l] ? top : most[l];
    for (int64_t i = 0; i < n; ++i) row[i] = fast_exp(widened(x[i]) - top);
    for (int64_t i = 0; i < whole; i += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) sums[l] += row[i + l];
    }
    for (int64_t i = whole; i < n; ++i) sum += row[i];
    for (int64_t l = 0; l < kLanes; ++l) sum += sums[l];
    const float scale = 1.0f / sum;
    for (int64_t i = 0; i < n; ++i) y[i] = rounded(row[i] * scale);
  }
}

at::Tensor softmax_forward(const at::Tensor& input) {
  const at::Tensor x = input.contiguous();
  at::Tensor y = at::empty_like(x);
  const int64_t n = x.size(-1);
  if (x.numel() == 0) return y;
  at::parallel_for(0, x.numel() / n, std::max<int64_t>(kGrain / n, 1), [&](int64_t from, int64_t to) {
    std::vector<float> row(n);
    softmax_rows(bits(x) + from * n, mutable_bits(y) + from * n, row.data(), to - from, n);
  });
  return y;
}

class SoftmaxFunction : public torch::autograd::Function<SoftmaxFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x) {
    at::AutoDispatchBelowADInplaceOrView below;
    at::Tensor y = softmax_forward(x);
    ctx->save_for_backward({y});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    return {at::_softmax_backward_data(grads[0], ctx->get_saved_variables()[0], -1, at::kBFloat16)};
  }
};

// scale_pixels multiplies each of some pixels of n channels with factors of the channels.
SAT_VECTORISED void scale_pixels(const uint16_t* x, const uint16_t* factors, uint16_t* y, int64_t pixels, int64_t n) {
  for (int64_t p = 0; p < pixels; ++p, x += n, y += n) {
    for (int64_t c = 0; c < n; ++c) y[c] = rounded(widened(x[c]) * widened(factors[c]));
  }
}

// affine_pixels is scale_pixels with factors in float32 and a number added.
SAT_VECTORISED void affine_pixels(const uint16_t* x, const float* scale, const float* shift, uint16_t* y,
                                  int64_t pixels, int64_t n) {
  for (int64_t p = 0; p < pixels; ++p, x += n, y += n) {
    for (int64_t c = 0; c < n; ++c) y[c] = rounded(widened(x[c]) * scale[c] + shift[c]);
  }
}

SAT_VECTORISED void affine_pixels(const float* x, const float* scale, const float* shift, float* y, int64_t pixels,
                                  int64_t n) {
  for (int64_t p = 0; p < pixels; ++p, x += n, y += n) {
    for (int64_t c = 0; c < n; ++c) y[c] = x[c] * scale[c] + shift[c];
  }
}

// sum_products adds up the products of each channel over the pixels.
SAT_VECTORISED void sum_products(const uint16_t* a, const uint16_t* b, float* sums, int64_t pixels, int64_t n) {
  for (int64_t p = 0; p < pixels; ++p, a += n, b += n) {
    for (int64_t c = 0; c < n; ++c) sums[c] += widened(a[c]) * widened(b[c]);
  }
}

// scales_channels reports whether factors [1 or N,C,1,1] multiply the channels of x [N,C,H,W], which lies pixel by
// pixel.
bool scales_channels(const at::Tensor& x, const at::Tensor& factors) {
  return x.scalar_type() == at::kBFloat16 && factors.scalar_type() == at::kBFloat16 && x.dim() == 4 &&
         factors.dim() == 4 && x.size(2) * x.size(3) > 1 && factors.size(2) == 1 && factors.size(3) == 1 &&
         factors.size(1) == x.size(1) && (factors.size(0) == x.size(0) || factors.size(0) == 1) && x.numel() > 0 &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor scaled(const at::Tensor& x, const at::Tensor& factors) {
  const int64_t channels = x.size(1), pixels = x.size(2) * x.size(3);
  at::Tensor y = at::empty_like(x);
  for (int64_t image = 0; image < x.size(0); ++image) {
    const int64_t first = image * pixels;
    const uint16_t* of_image = bits(factors) + (factors.size(0) == 1 ? 0 : image) * channels;
    at::parallel_for(0, pixels, std::max<int64_t>(kGrain / channels, 1), [&](int64_t from, int64_t to) {
      const int64_t at = (first + from) * channels;
      scale_pixels(bits(x) + at, of_image, mutable_bits(y) + at, to - from, channels);
    });
  }
  return y;
}

class ScaleFunction : public torch::autograd::Function<ScaleFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const at::Tensor& factors) {
    at::AutoDispatchBelowADInplaceOrView below;
    const at::Tensor packed = factors.contiguous();
    ctx->saved_data["factors_need"] = factors.requires_grad();
    ctx->saved_data["x_needs"] = x.requires_grad();
    ctx->save_for_backward({factors.requires_grad() ? x : at::Tensor(), packed});
    return scaled(x, packed);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor grad = grads[0].contiguous(at::MemoryFormat::ChannelsLast);
    at::Tensor of_x, of_factors;
    if (ctx->saved_data["x_needs"].toBool()) of_x = scaled(grad, saved[1]);
    if (ctx->saved_data["factors_need"].toBool()) {
      const int64_t channels = grad.size(1), pixels = grad.size(2) * grad.size(3);
      at::Tensor sums = at::zeros({grad.size(0), channels, 1, 1}, grad.options().dtype(at::kFloat));
      at::parallel_for(0, grad.size(0), 1, [&](int64_t from, int64_t to) {
        for (int64_t image = from; image < to; ++image) {
          const int64_t at = image * pixels * channels;
          sum_products(bits(grad) + at, bits(saved[0]) + at, sums.data_ptr<float>() + image * channels, pixels,
                       channels);
        }
      });
      if (saved[1].size(0) == 1) sums = sums.sum(0, /*keepdim=*/true);
      of_factors = sums.to(at::kBFloat16);
    }
    return {of_x, of_factors};
  }
};

at::Tensor mul(const at::Tensor& a, const at::Tensor& b) {
  const bool first = scales_channels(a, b);
  if (!first && !scales_channels(b, a)) return at::mul(a, b);
  const at::Tensor &x = first ? a : b, &factors = first ? b : a;
  if (needs_gradient(x) || needs_gradient(factors)) return ScaleFunction::apply(x, factors);
  return scaled(x, factors.contiguous());
}

at::Tensor affine_forward(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift) {
  const int64_t n = scale.numel();
  const bool rough = x.scalar_type() == at::kBFloat16;
  if ((!rough && x.scalar_type() != at::kFloat) || x.dim() != 4 || !x.is_contiguous(at::MemoryFormat::ChannelsLast)) {
    std::vector<int64_t> per_channel(x.dim(), 1);
    per_channel[1] = n;
    return x.to(at::kFloat).mul(scale.view(per_channel)).add(shift.view(per_channel)).to(x.scalar_type());
  }
  at::Tensor y = at::empty_like(x);
  at::parallel_for(0, x.numel() / n, std::max<int64_t>(kGrain / n, 1), [&](int64_t from, int64_t to) {
    const float *factors = scale.const_data_ptr<float>(), *terms = shift.const_data_ptr<float>();
    if (rough) {
      affine_pixels(bits(x) + from * n, factors, terms, mutable_bits(y) + from * n, to - from, n);
    } else {
      affine_pixels(x.const_data_ptr<float>() + from * n, factors, terms, y.mutable_data_ptr<float>() + from * n,
                    to - from, n);
    }
  });
  return y;
}

class AffineFunction : public torch::autograd::Function<AffineFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const at::Tensor& scale,
                            const at::Tensor& shift) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({scale});
    return affine_forward(x, scale, shift);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::Tensor scale = ctx->get_saved_variables()[0];
    return {affine_forward(grads[0], scale, at::zeros_like(scale)), at::Tensor(), at::Tensor()};
  }
};

// affine multiplies the channels of x [N,C,...] with scale [C] and adds shift [C], both float32: batch normalisation.
at::Tensor affine(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift) {
  return needs_gradient(x) ? AffineFunction::apply(x, scale, shift) : affine_forward(x, scale, shift);
}

// PixelMeanFunction is the mean over the pixels of each channel. The gradient of libtorch's lies channel by channel in
// memory whatever the order of x, and adding it to the others, which lie pixel by pixel, takes longer than all else
// around it.
class PixelMeanFunction : public torch::autograd::Function<PixelMeanFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, bool keep) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->saved_data["sizes"] = x.sizes();
    return at::mean(x, {2, 3}, keep);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const std::vector<int64_t> sizes = ctx->saved_data["sizes"].toIntVector();
    const at::Tensor share = grads[0].reshape({sizes[0], sizes[1], 1, 1}).div(sizes[2] * sizes[3]);
    return {share.expand(sizes).contiguous(at::MemoryFormat::ChannelsLast), at::Tensor()};
  }
};

at::Tensor pixel_mean(const at::Tensor& x, bool keep) {
  const bool fast = x.dim() == 4 && needs_gradient(x) && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  return fast ? PixelMeanFunction::apply(x, keep) : at::mean(x, {2, 3}, keep);
}

}  // namespace

at::Tensor softmax(const at::Tensor& x) {
  if (x.scalar_type() != at::kBFloat16 || x.dim() == 0) return at::softmax(x, -1);
  return needs_gradient(x) ? SoftmaxFunction::apply(x) : softmax_forward(x);
}

}  // namespace sat

TORCH_LIBRARY_FRAGMENT(sat, m) {
  m.def("gelu", sat::gelu_of);
  m.def("relu", sat::relu_of);
  m.def("silu", sat::silu_of);
  m.def("mul", sat::mul);
  m.def("affine", sat::affine);
  m.def("pixel_mean", sat::pixel_mean);
  m.def("softmax", sat::softmax);
}
