// The handle of a TorchScript network.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "internal.hpp"

struct st_module {
  torch::jit::Module module;
  bool requires_grad = false;
  sat::Live live;

  explicit st_module(torch::jit::Module m);

  // Parameters and buffers in the order of the code. They share memory with the module's own.
  std::vector<std::pair<std::string, at::Tensor>> parameters, buffers;
  // Names of the parameters that get no gradient.
  std::unordered_set<std::string> frozen;
  // Type that the network computes in: that of its first floating-point parameter; undefined when it has none.
  at::ScalarType compute_type = at::ScalarType::Undefined;
  // Whether images, filters and feature maps lie in memory pixel by pixel (NHWC) instead of channel by channel.
  bool channels_last = false;
  // Whether the parameters have become constants: see lower.
  bool lowered = false;

  at::MemoryFormat format() const {
    return channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  }

  // Where the parameters are; the CPU for a network without any.
  c10::Device device() const;

  // refresh reads parameters, buffers and compute_type from the module.
  void refresh();
  // set_requires_grad applies the flag to the parameters that are not frozen; buffers never require a gradient.
  void set_requires_grad(bool on);
  // lay_out puts filters into the memory order that channels_last says.
  void lay_out();
};

namespace sat {

st_module& module_of(st_module* m);
const st_module& module_of(const st_module* m);
// require_changeable refuses a lowered network.
void require_changeable(const st_module& m);

// move_tensors changes every tensor attribute in place, so that whoever holds one sees the change. Module::to would
// convert integer buffers too and leave out plain tensor attributes.
void move_tensors(const torch::jit::Module& module, c10::Device device, at::ScalarType type);

// lower returns a copy of a network in float32 on the CPU, in eval mode, that computes in type, float32 or bfloat16, as
// fast as libtorch's kernels allow. Nothing of it can be changed any more: parameters are constants of its code.
torch::jit::Module lower(const torch::jit::Module& module, at::ScalarType type);

// Normalisation holds (x - mean) / std per channel, in front of a network.
class Normalisation {
 public:
  // For images like x, [N,C,H,W]; mean and std lie on its device, in its type.
  Normalisation(const st_normalisation& norm, const at::Tensor& x);
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  at::Tensor mean_, std_;  // undefined: x stays as it is
};

// run calls the network on x, normalised and converted to its type, and returns its outputs in the type of x.
std::vector<at::Tensor> run(st_module& m, const at::Tensor& x, const Normalisation& norm);
// tensors_of lists what a network returned; a list in a tuple counts as its elements.
std::vector<at::Tensor> tensors_of(const c10::IValue& result);
// logits_of averages the heads of a network that has two classifiers, as DeiT's distilled networks do when they are
// used.
at::Tensor logits_of(const std::vector<at::Tensor>& outputs);
// run_for_logits is logits_of(run), which must be [N,K].
at::Tensor run_for_logits(st_module& m, const at::Tensor& x, const Normalisation& norm);

// AttackLoss computes the loss of each image, [N]; attacks make it grow. With the logits sorted downwards, z(1) >= z(2)
// >= ..., and other the largest logit of a class other than y, it is
//
//   cross-entropy     -log_softmax(z)[y]
//   margin            other - z_y
//   DLR               (other - z_y) / (z(1) - z(3) + 1e-12)
//   targeted DLR      (z_t - z_y)   / (z(1) - (z(3) + z(4)) / 2 + 1e-12)
//   logit difference  z_t - z_y
//
// (Croce and Hein 2020). The gradient of the DLR losses flows through the denominator too.
struct AttackLoss {
  int32_t kind;
  at::Tensor labels, targets;  // [N] int64; targets undefined for the losses without one

  // Checks what can be checked before the logits are known.
  AttackLoss(int32_t kind, const at::Tensor& labels, const st_tensor* targets);
  // The labels are checked against the classes of the logits and move to their device at the first call.
  at::Tensor operator()(const at::Tensor& logits);

 private:
  bool checked_ = false;
};

}  // namespace sat
