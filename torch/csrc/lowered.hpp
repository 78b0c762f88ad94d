// What lowered networks use in place of functions of libtorch, and attention in bfloat16 too. All have gradients.
#pragma once

#include "internal.hpp"

namespace sat {

// rectify writes max(x, 0) to y, which may be x; both are dense and lie alike, in bfloat16.
void rectify(const at::Tensor& x, const at::Tensor& y);
// rectify_backward is grad where y, what rectify wrote, is not zero.
at::Tensor rectify_backward(const at::Tensor& grad, const at::Tensor& y);

// softmax along the last dimension.
at::Tensor softmax(const at::Tensor& x);

// matmul is that of libtorch on tensors of matrices that lie next to each other. Views of other tensors, which the
// heads of attention are, libtorch would copy element by element against the order of memory.
at::Tensor matmul(const at::Tensor& a, const at::Tensor& b);

}  // namespace sat
