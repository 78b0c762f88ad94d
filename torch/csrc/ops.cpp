// Arithmetic, reductions, losses and resizing.
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/add.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/div.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/log.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/upsample_bicubic2d.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/upsample_nearest2d.h>

#include "internal.hpp"

namespace sat {

at::Tensor classes_on_device(const at::Tensor& labels, const at::Tensor& logits) {
  require(labels.scalar_type() == at::kLong, "the labels are not int64");
  require(labels.dim() == 1 && labels.size(0) == logits.size(0), "the labels are not [N]");
  if (labels.numel() > 0) {
    const auto low = labels.min().item<int64_t>();
    const auto high = labels.max().item<int64_t>();
    require(low >= 0 && high < logits.size(1), "label " + std::to_string(low < 0 ? low : high) + " lies outside of " +
                                                   std::to_string(logits.size(1)) + " classes");
  }
  return labels.to(logits.device());
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets, int32_t reduction, double smoothing) {
  require(reduction >= ST_REDUCE_NONE && reduction <= ST_REDUCE_SUM, "unknown reduction");
  require(logits.dim() == 2, "the logits are not [N,K]");
  require(smoothing >= 0 && smoothing < 1, "the label smoothing is not in [0,1)");
  at::Tensor on_device;
  if (targets.scalar_type() == at::kLong) {
    on_device = classes_on_device(targets, logits);
  } else {
    require(targets.is_floating_point() && targets.sizes() == logits.sizes(),
            "the targets are neither int64 labels [N] nor probabilities [N,K]");
    on_device = targets.to(logits.device());
  }
  return at::cross_entropy_loss(logits, on_device, {}, reduction, /*ignore_index=*/-100, smoothing);
}

namespace {

at::Tensor reduce_rows(const at::Tensor& per_row, int32_t reduction) {
  require(reduction >= ST_REDUCE_NONE && reduction <= ST_REDUCE_SUM, "unknown reduction");
  if (reduction == ST_REDUCE_NONE) return per_row;
  return reduction == ST_REDUCE_MEAN ? per_row.mean() : per_row.sum();
}

}  // namespace
}  // namespace sat

using namespace sat;

st_error st_unary(int32_t op, const st_tensor* t, st_tensor** out) {
  return guarded([&] {
    make(t, out, [&](const at::Tensor& self) {
      switch (op) {
        case ST_SIGN:
          return at::sign(self);
        case ST_ABS:
          return at::abs(self);
        case ST_SQRT:
          return at::sqrt(self);
        case ST_EXP:
          return at::exp(self);
        case ST_LOG:
          return at::log(self);
        default:
          throw InvalidArgument("unknown operation");
      }
    });
  });
}

st_error st_binary(int32_t op, const st_tensor* a, const st_tensor* b, st_tensor** out) {
  return guarded([&] {
    make(a, out, [&](const at::Tensor& x) {
      const at::Tensor& y = tensor_of(b);
      switch (op) {
        case ST_ADD:
          return at::add(x, y);
        case ST_SUB:
          return at::sub(x, y);
        case ST_MUL:
          return at::mul(x, y);
        case ST_DIV:
          return at::div(x, y);
        default:
          throw InvalidArgument("unknown operation");
      }
    });
  });
}

st_error st_binary_scalar(int32_t op, const st_tensor* t, double v, st_tensor** out) {
  return guarded([&] {
    make(t, out, [&](const at::Tensor& self) {
      switch (op) {
        case ST_ADD:
          return at::add(self, v);
        case ST_SUB:
          return at::sub(self, v);
        case ST_MUL:
          return at::mul(self, v);
        case ST_DIV:
          return at::div(self, v);
        default:
          throw InvalidArgument("unknown operation");
      }
    });
  });
}

st_error st_clamp(const st_tensor* t, double lo, double hi, st_tensor** out) {
  return guarded([&] {
    require(lo <= hi, "the lower limit is above the upper one");
    make(t, out, [&](const at::Tensor& self) { return at::clamp(self, lo, hi); });
  });
}

st_error st_reduce(int32_t op, const st_tensor* t, const int64_t* dims, int32_t n_dims, st_tensor** out) {
  return guarded([&] {
    make(t, out, [&](const at::Tensor& self) {
      const at::IntArrayRef d = to_sizes(dims, n_dims, "bad dimensions");
      switch (op) {
        case ST_SUM:
          return at::sum(self, d);
        case ST_MEAN:
          return at::mean(self, d);
        case ST_MAX:
          return at::amax(self, d);
        case ST_NORM:
          return n_dims == 0 ? at::linalg_vector_norm(self) : at::linalg_vector_norm(self, 2, d);
        default:
          throw InvalidArgument("unknown operation");
      }
    });
  });
}

st_error st_argmax(const st_tensor* t, int64_t dim, st_tensor** out) {
  return guarded([&] { make(t, out, [&](const at::Tensor& self) { return at::argmax(self, dim); }); });
}

st_error st_softmax(const st_tensor* t, int64_t dim, int32_t logarithm, st_tensor** out) {
  return guarded([&] {
    make(t, out,
         [&](const at::Tensor& self) { return logarithm != 0 ? at::log_softmax(self, dim) : at::softmax(self, dim); });
  });
}

st_error st_matmul(const st_tensor* a, const st_tensor* b, st_tensor** out) {
  return guarded([&] { make(a, out, [&](const at::Tensor& x) { return at::matmul(x, tensor_of(b)); }); });
}

st_error st_interpolate(const st_tensor* t, int64_t h, int64_t w, int32_t mode, int32_t antialias, st_tensor** out) {
  return guarded([&] {
    make(t, out, [&](const at::Tensor& self) {
      require(self.dim() == 4, "the tensor is not [N,C,H,W]");
      require(h > 0 && w > 0, "the new size is not positive");
      const std::vector<int64_t> size = {h, w};
      switch (mode) {
        case ST_NEAREST:
          require(antialias == 0, "the nearest filter has no antialiased form");
          return at::upsample_nearest2d(self, size);
        case ST_BILINEAR:
          return antialias != 0 ? at::_upsample_bilinear2d_aa(self, size, /*align_corners=*/false)
                                : at::upsample_bilinear2d(self, size, /*align_corners=*/false);
        case ST_BICUBIC:
          return antialias != 0 ? at::_upsample_bicubic2d_aa(self, size, /*align_corners=*/false)
                                : at::upsample_bicubic2d(self, size, /*align_corners=*/false);
        default:
          throw InvalidArgument("unknown filter");
      }
    });
  });
}

st_error st_cross_entropy(const st_tensor* logits, const st_tensor* targets, int32_t reduction, double smoothing,
                          st_tensor** out) {
  return guarded([&] {
    make(logits, out,
         [&](const at::Tensor& self) { return cross_entropy(self, tensor_of(targets), reduction, smoothing); });
  });
}

st_error st_bce_with_logits(const st_tensor* logits, const st_tensor* targets, int32_t reduction, st_tensor** out) {
  return guarded([&] {
    make(logits, out, [&](const at::Tensor& self) {
      require(reduction >= ST_REDUCE_NONE && reduction <= ST_REDUCE_SUM, "unknown reduction");
      return at::binary_cross_entropy_with_logits(self, tensor_of(targets), {}, {}, reduction);
    });
  });
}

st_error st_kl_div(const st_tensor* input, const st_tensor* target, int32_t reduction, st_tensor** out) {
  return guarded([&] {
    make(input, out, [&](const at::Tensor& self) {
      const at::Tensor& t = tensor_of(target);
      require(self.dim() == 2 && t.sizes() == self.sizes(), "the operands are not both [N,K]");
      return reduce_rows(t.exp().mul(t.sub(self)).sum(1), reduction);
    });
  });
}
