// The handle of a TorchScript network.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <string>
#include <utility>
#include <vector>

#include "internal.hpp"
#include "st_module.h"

struct st_module {
  torch::jit::Module module;
  bool requires_grad = false;
  sat::Live live;

  explicit st_module(torch::jit::Module m);

  // Parameters and buffers in the order of the code. They share memory with the module's own.
  std::vector<std::pair<std::string, at::Tensor>> parameters, buffers;
  // Type that the network computes in: that of its first floating-point parameter; undefined when it has none.
  at::ScalarType compute_type = at::ScalarType::Undefined;

  // refresh reads parameters, buffers and compute_type from the module.
  void refresh();
  // set_requires_grad applies the flag to the parameters; buffers never require a gradient.
  void set_requires_grad(bool on);
};

namespace sat {

st_module& module_of(st_module* m);
const st_module& module_of(const st_module* m);

// check_input refuses images that are not floating-point numbers.
void check_input(const at::Tensor& x);
// run calls the network on the normalised x, converted to its type, and returns its outputs in the type of x.
std::vector<at::Tensor> run(st_module& m, const at::Tensor& x, const st_normalisation& norm);

}  // namespace sat
