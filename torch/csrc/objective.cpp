// Networks that compute what is minimised themselves, and their other methods.
#include <torch/csrc/autograd/autograd.h>

#include "autocast.hpp"
#include "module.hpp"
#include "st_train.h"

using namespace sat;

namespace {

std::vector<c10::IValue> arguments(const st_tensor* const* inputs, int32_t n) {
  require(n >= 0 && (n == 0 || inputs != nullptr), "null inputs");
  std::vector<c10::IValue> out;
  for (int32_t i = 0; i < n; ++i) out.emplace_back(tensor_of(inputs[i]).detach());
  return out;
}

std::vector<at::Tensor> call(st_module& m, const std::string& method, const st_tensor* const* inputs, int32_t n,
                             int32_t precision) {
  const auto found = m.module.find_method(method);
  require(found.has_value(), "the network has no method " + method);
  std::vector<at::Tensor> outputs;
  {
    const Autocast cast(m.device().type(), precision);
    outputs = tensors_of((*found)(arguments(inputs, n)));
  }
  require(outputs.size() <= ST_MAX_OUTPUTS, "the network returns too many tensors");
  return outputs;
}

}  // namespace

st_error st_module_objective(st_module* m, const st_tensor* const* inputs, int32_t n, double scale, int32_t precision,
                             double* values, int32_t* n_values) {
  return guarded([&] {
    require(values != nullptr && n_values != nullptr, "null result");
    st_module& self = module_of(m);
    require(self.requires_grad, "the parameters do not require gradients");
    const c10::OptionalDeviceGuard guard(self.device());
    const c10::AutoGradMode record(true);
    gradients_started = true;
    const std::vector<at::Tensor> outputs = call(self, "forward", inputs, n, precision);
    for (const at::Tensor& t : outputs) require(t.numel() == 1, "an objective is one number");
    require(outputs[0].requires_grad(), "the objective does not depend on the parameters");
    const at::Tensor total = outputs[0].reshape({}).to(at::kFloat);
    torch::autograd::backward({scale == 1 ? total : total.mul(scale)});
    for (size_t i = 0; i < outputs.size(); ++i) values[i] = outputs[i].item().toDouble();
    *n_values = static_cast<int32_t>(outputs.size());
  });
}

st_error st_module_call(st_module* m, const char* method, const st_tensor* const* inputs, int32_t n, int32_t precision,
                        st_tensor** outputs, int32_t* n_outputs) {
  return guarded([&] {
    require(method != nullptr && outputs != nullptr && n_outputs != nullptr, "null method or result");
    st_module& self = module_of(m);
    const c10::OptionalDeviceGuard guard(self.device());
    const std::vector<at::Tensor> results = call(self, method, inputs, n, precision);
    std::vector<std::unique_ptr<st_tensor>> handles;
    for (const at::Tensor& t : results) handles.emplace_back(new_handle(t.detach()));
    for (size_t i = 0; i < handles.size(); ++i) outputs[i] = handles[i].release();
    *n_outputs = static_cast<int32_t>(results.size());
  });
}
