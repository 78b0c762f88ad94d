// What lowered networks use in place of functions of libtorch, and attention in bfloat16 too. All have gradients.
#pragma once

#include "internal.hpp"

namespace sat {

// product_type is the type in which tensors of a type are multiplied: type, but float32 for bfloat16 on processors for
// which oneDNN has no kernels in bfloat16. What libtorch has for them then takes ten times as long as float32.
at::ScalarType product_type(at::ScalarType type);

// rectify writes max(x, 0) to y, which may be x; both are dense and lie alike.
void rectify(const at::Tensor& x, const at::Tensor& y);
// rectify_backward is grad where y, what rectify wrote, is not zero.
at::Tensor rectify_backward(const at::Tensor& grad, const at::Tensor& y);

// softmax along the last dimension.
at::Tensor softmax(const at::Tensor& x);

// matmul is that of libtorch on tensors of matrices that lie next to each other. Views of other tensors, which the
// heads of attention are, libtorch would copy element by element against the order of memory.
at::Tensor matmul(const at::Tensor& a, const at::Tensor& b);

// linear is x weight^T + bias.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias);

}  // namespace sat
