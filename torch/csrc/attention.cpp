// Attention in bfloat16 on the CPU.
#include <ATen/ops/masked_fill.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention_native.h>
#include <ATen/ops/softmax.h>
#include <torch/library.h>

#include "internal.hpp"

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
  at::Tensor scores = query.mul(factor).matmul(key.transpose(-2, -1));
  if (mask.has_value() && mask->defined()) {
    scores = mask->scalar_type() == at::kBool ? scores.masked_fill(mask->logical_not(), -INFINITY) : scores.add(*mask);
  }
  return scores.softmax(-1).matmul(value);
}

}  // namespace

// The operation is composed of others, so one kernel serves with and without gradients.
TORCH_LIBRARY_IMPL(aten, AutogradCPU, m) { m.impl("scaled_dot_product_attention", attention); }
TORCH_LIBRARY_IMPL(aten, CPU, m) { m.impl("scaled_dot_product_attention", attention); }
