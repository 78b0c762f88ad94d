// Tensors: life, copies across the border, conversions, views.
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros_like.h>

#include "internal.hpp"

using namespace sat;

void st_tensor_free(st_tensor* t) {
  guarded_free([&] { delete t; });
}

st_error st_tensor_from_data(const void* data, size_t bytes, int32_t dtype, const int64_t* shape, int32_t dims,
                             st_tensor** out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    at::Tensor t = at::empty(to_sizes(shape, dims, "bad shape"), to_scalar_type(dtype));
    require(t.nbytes() == bytes, "the data has another size than the shape");
    require(data != nullptr || bytes == 0, "null data");
    if (bytes > 0) std::memcpy(t.data_ptr(), data, bytes);
    *out = new_handle(std::move(t));
  });
}

st_error st_tensor_full(double value, int32_t dtype, const int64_t* shape, int32_t dims, st_tensor** out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    *out = new_handle(at::full(to_sizes(shape, dims, "bad shape"), value, to_scalar_type(dtype)));
  });
}

st_error st_tensor_copy_out(const st_tensor* t, int32_t dtype, void* dst, size_t bytes) {
  return guarded([&] {
    const at::Tensor& self = tensor_of(t);
    require(self.scalar_type() == to_scalar_type(dtype), "the tensor has another element type");
    require(self.nbytes() == bytes, "the tensor has another size than the destination");
    require(dst != nullptr || bytes == 0, "null destination");
    const at::Tensor host = self.to(at::kCPU).contiguous();
    if (bytes > 0) std::memcpy(dst, host.const_data_ptr(), bytes);
  });
}

st_error st_tensor_get_info(const st_tensor* t, st_tensor_info* out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    const at::Tensor& self = tensor_of(t);
    require(self.dim() <= ST_MAX_DIMS, "too many dimensions");
    st_tensor_info info = {
        from_scalar_type(self.scalar_type()), from_device(self.device()), static_cast<int32_t>(self.dim()), {}};
    for (int64_t i = 0; i < self.dim(); ++i) info.shape[i] = self.size(i);
    *out = info;
  });
}

st_error st_tensor_item(const st_tensor* t, double* out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    const at::Tensor& self = tensor_of(t);
    require(self.numel() == 1, "the tensor has not exactly one element");
    *out = self.item().toDouble();
  });
}

st_error st_tensor_has_non_finite(const st_tensor* t, int32_t* out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    const at::Tensor& self = tensor_of(t);
    if (!self.is_floating_point()) {
      *out = 0;
      return;
    }
    *out = at::isfinite(self).all().item<bool>() ? 0 : 1;
  });
}

st_error st_tensor_assign(st_tensor* dst, const st_tensor* src) {
  return guarded([&] {
    at::Tensor to = tensor_of(dst);
    const at::Tensor& from = tensor_of(src);
    require(to.sizes() == from.sizes(), "the shapes differ");  // copy_ would broadcast
    const c10::OptionalDeviceGuard guard(to.device());
    to.copy_(from);
  });
}

st_error st_tensor_clone(const st_tensor* t, st_tensor** out) {
  return guarded([&] { make(t, out, [](const at::Tensor& self) { return self.clone(); }); });
}

st_error st_tensor_to_dtype(const st_tensor* t, int32_t dtype, st_tensor** out) {
  return guarded([&] { make(t, out, [&](const at::Tensor& self) { return self.to(to_scalar_type(dtype)); }); });
}

st_error st_tensor_to_device(const st_tensor* t, st_device device, st_tensor** out) {
  return guarded([&] { make(t, out, [&](const at::Tensor& self) { return upload(self, to_device(device)); }); });
}

st_error st_reshape(const st_tensor* t, const int64_t* shape, int32_t dims, st_tensor** out) {
  return guarded(
      [&] { make(t, out, [&](const at::Tensor& self) { return self.reshape(to_sizes(shape, dims, "bad shape")); }); });
}

st_error st_permute(const st_tensor* t, const int64_t* dims, int32_t n_dims, st_tensor** out) {
  return guarded([&] {
    make(t, out, [&](const at::Tensor& self) { return self.permute(to_sizes(dims, n_dims, "bad dimensions")); });
  });
}

st_error st_slice(const st_tensor* t, int64_t dim, int64_t from, int64_t to, st_tensor** out) {
  return guarded([&] {
    make(t, out, [&](const at::Tensor& self) {
      // libtorch's own slice silently clips what lies outside.
      require(dim >= -self.dim() && dim < self.dim(), "no such dimension");
      const int64_t n = self.size(dim);
      require(from >= 0 && from <= to && to <= n, "range " + std::to_string(from) + ":" + std::to_string(to) +
                                                      " lies outside of " + std::to_string(n) + " elements");
      return self.narrow(dim, from, to - from);
    });
  });
}

st_error st_cat(st_tensor* const* ts, int32_t n, int64_t dim, st_tensor** out) {
  return guarded([&] {
    require(ts != nullptr && n > 0, "nothing to join");
    std::vector<at::Tensor> list;
    for (int32_t i = 0; i < n; ++i) list.push_back(tensor_of(ts[i]));
    make(ts[0], out, [&](const at::Tensor&) { return at::cat(list, dim); });
  });
}

st_error st_flip(const st_tensor* t, const int64_t* dims, int32_t n_dims, st_tensor** out) {
  return guarded([&] {
    make(t, out, [&](const at::Tensor& self) { return at::flip(self, to_sizes(dims, n_dims, "bad dimensions")); });
  });
}

st_error st_index_rows(const st_tensor* t, const st_tensor* rows, st_tensor** out) {
  return guarded([&] {
    make(t, out, [&](const at::Tensor& self) {
      const at::Tensor& index = tensor_of(rows);
      require(index.scalar_type() == at::kLong && index.dim() == 1, "rows must be an int64 vector");
      require(self.dim() >= 1, "the tensor has no rows");
      // A bad index on a GPU would end the process's use of it, so it is looked at first.
      if (index.numel() > 0) {
        require(index.min().item<int64_t>() >= 0 && index.max().item<int64_t>() < self.size(0),
                "a row index lies outside of " + std::to_string(self.size(0)) + " rows");
      }
      return self.index_select(0, index.to(self.device()));
    });
  });
}

st_error st_shift(const st_tensor* t, const int64_t* dys, const int64_t* dxs, int64_t n, st_tensor** out) {
  return guarded([&] {
    make(t, out, [&](const at::Tensor& self) {
      require(dys != nullptr && dxs != nullptr, "null offsets");
      require(self.dim() == 4 && self.size(0) == n, "the tensor is not [N,C,H,W] with one pair of offsets per image");
      at::Tensor moved = at::zeros_like(self);
      for (int64_t i = 0; i < n; ++i) {
        const int64_t rows = self.size(2) - std::abs(dys[i]);
        const int64_t columns = self.size(3) - std::abs(dxs[i]);
        if (rows <= 0 || columns <= 0) continue;
        // What moves by d > 0 starts at d in the result and at 0 in the source; by d < 0 the other way round.
        const auto part = [&](const at::Tensor& x, int64_t dy, int64_t dx) {
          return x[i].narrow(1, std::max<int64_t>(dy, 0), rows).narrow(2, std::max<int64_t>(dx, 0), columns);
        };
        part(moved, dys[i], dxs[i]).copy_(part(self, -dys[i], -dxs[i]));
      }
      return moved;
    });
  });
}
