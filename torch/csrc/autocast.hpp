// Mixed precision for the length of a scope.
#pragma once

#include <ATen/autocast_mode.h>

#include "internal.hpp"

namespace sat {

// Autocast lets matrix products and convolutions compute in 16 bit for the length of a scope.
class Autocast {
 public:
  Autocast(at::DeviceType device, int32_t dtype) : device_(device), on_(dtype != ST_FLOAT32) {
    if (!on_) return;
    require(dtype == ST_BFLOAT16 || (dtype == ST_FLOAT16 && device == at::kCUDA),
            "mixed precision is bfloat16, or float16 on CUDA");
    was_on_ = at::autocast::is_autocast_enabled(device);
    was_type_ = at::autocast::get_autocast_dtype(device);
    at::autocast::set_autocast_dtype(device, dtype == ST_BFLOAT16 ? at::kBFloat16 : at::kHalf);
    at::autocast::set_autocast_enabled(device, true);
  }
  ~Autocast() {
    if (!on_) return;
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, was_on_);
    at::autocast::set_autocast_dtype(device_, was_type_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  at::DeviceType device_;
  bool on_, was_on_ = false;
  at::ScalarType was_type_ = at::kFloat;
};

}  // namespace sat
