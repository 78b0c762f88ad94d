// Products of matrices in bfloat16 on the CPU, and attention, which is made of them.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/masked_fill.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention_native.h>
#include <torch/library.h>

#include "lowered.hpp"

namespace {

// attention takes the place of scaled_dot_product_attention on the CPU. libtorch's fused kernel for bfloat16 multiplies
// its many little matrices slowly: forward and backward took 2.7 times (heads of 64) to 8.5 times (Swin's windows) as
// long as the plain formula, softmax(q k^T / sqrt(E) + mask) v, whose products go to oneDNN, and longer than in
// float32. All else goes to the kernels that would have been called, so float32 keeps its bits.
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const std::optional<at::Tensor>& mask, double dropout, bool causal, std::optional<double> scale,
                     bool grouped) {
  if (query.scalar_type() != at::kBFloat16 || dropout != 0 || causal || grouped || query.dim() < 3) {
    return at::native::scaled_dot_product_attention(query, key, value, mask, dropout, causal, scale, grouped);
  }
  const double factor = scale.value_or(1 / std::sqrt(static_cast<double>(query.size(-1))));
  at::Tensor scores = sat::matmul(query.mul(factor), key.transpose(-2, -1));
  if (mask.has_value() && mask->defined()) {
    scores = mask->scalar_type() == at::kBool ? scores.masked_fill(mask->logical_not(), -INFINITY) : scores.add(*mask);
  }
  return sat::matmul(sat::softmax(scores), value);
}

// as_it_lies returns t with its matrices next to each other, each in the order of memory that it has.
at::Tensor as_it_lies(const at::Tensor& t) {
  const bool transposed = t.stride(-2) == 1 && t.stride(-1) != 1;
  return transposed ? t.transpose(-2, -1).contiguous().transpose(-2, -1) : t.contiguous();
}

}  // namespace

namespace sat {

at::ScalarType product_type(at::ScalarType type) {
  static const bool has_kernels =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_is_mkldnn_bf16_supported", "").typed<bool()>().call();
  return type == at::kBFloat16 && !has_kernels ? at::kFloat : type;
}

at::Tensor matmul(const at::Tensor& a, const at::Tensor& b) {
  const at::ScalarType type = a.scalar_type();
  if (type != at::kBFloat16) return at::matmul(a, b);
  if (product_type(type) != type) return at::matmul(a.to(at::kFloat), b.to(at::kFloat)).to(type);
  if (a.dim() < 3 || b.dim() < 3) return at::matmul(a, b);
  return at::matmul(as_it_lies(a), as_it_lies(b));
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  const at::ScalarType type = x.scalar_type(), wide = product_type(type);
  if (wide == type) return at::linear(x, weight, bias);
  const auto widened_bias = bias.has_value() && bias->defined() ? std::optional(bias->to(wide)) : std::nullopt;
  return at::linear(x.to(wide), weight.to(wide), widened_bias).to(type);
}

}  // namespace sat

TORCH_LIBRARY_FRAGMENT(sat, m) {
  m.def("matmul", sat::matmul);
  m.def("linear", sat::linear);
}

// The operation is composed of others, so one kernel serves with and without gradients.
TORCH_LIBRARY_IMPL(aten, AutogradCPU, m) { m.impl("scaled_dot_product_attention", attention); }
TORCH_LIBRARY_IMPL(aten, CPU, m) { m.impl("scaled_dot_product_attention", attention); }
