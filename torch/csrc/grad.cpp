// Forward passes and gradients.
#include <ATen/core/Reduction.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "module.hpp"

namespace sat {

Normalisation::Normalisation(const st_normalisation& norm, const at::Tensor& x) {
  require(x.is_floating_point(), "the images are not floating-point numbers");
  if (norm.channels == 0) return;
  require(norm.channels > 0 && norm.mean != nullptr && norm.std != nullptr, "bad normalisation");
  require(x.dim() == 4 && x.size(1) == norm.channels,
          "the images are not [N," + std::to_string(norm.channels) + ",H,W] as the normalisation needs");
  const auto per_channel = [&](const float* values) {
    return at::tensor(at::ArrayRef<float>(values, norm.channels)).to(x.options()).view({1, norm.channels, 1, 1});
  };
  mean_ = per_channel(norm.mean);
  std_ = per_channel(norm.std);
}

at::Tensor Normalisation::operator()(const at::Tensor& x) const {
  return mean_.defined() ? x.sub(mean_).div_(std_) : x;
}

std::vector<at::Tensor> tensors_of(const c10::IValue& result) {
  std::vector<at::Tensor> outputs;
  const auto add = [&](const c10::IValue& v) {
    require(v.isTensor(), "the network returns " + v.tagKind() + ", not tensors");
    outputs.push_back(v.toTensor());
  };
  if (result.isTuple()) {
    for (const auto& v : result.toTupleRef().elements()) {
      if (!v.isTensorList()) {
        add(v);
        continue;
      }
      for (const at::Tensor& t : v.toTensorVector()) add(t);
    }
  } else if (result.isTensorList()) {
    for (const at::Tensor& t : result.toTensorVector()) add(t);
  } else {
    add(result);
  }
  require(!outputs.empty(), "the network returns nothing");
  return outputs;
}

std::vector<at::Tensor> run(st_module& m, const at::Tensor& x, const Normalisation& norm) {
  at::Tensor input = norm(x);
  const at::ScalarType type = m.compute_type == at::ScalarType::Undefined ? input.scalar_type() : m.compute_type;
  if (m.channels_last && input.dim() == 4) {
    input = input.to(type, /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::ChannelsLast);
  } else {
    input = input.to(type);
  }
  std::vector<at::Tensor> outputs = tensors_of(m.module.forward({input}));
  for (at::Tensor& t : outputs) {
    if (t.is_floating_point()) t = t.to(x.scalar_type());
  }
  return outputs;
}

at::Tensor logits_of(const std::vector<at::Tensor>& outputs) {
  const at::Tensor& first = outputs[0];
  const bool two = outputs.size() == 2 && first.dim() == 2 && outputs[1].sizes() == first.sizes();
  return two ? first.add(outputs[1]).div(2) : first;
}

at::Tensor run_for_logits(st_module& m, const at::Tensor& x, const Normalisation& norm) {
  at::Tensor logits = logits_of(run(m, x, norm));
  require(logits.dim() == 2 && logits.size(0) == x.size(0), "the network does not return logits [N,K]");
  return logits;
}

AttackLoss::AttackLoss(int32_t kind, const at::Tensor& labels, const st_tensor* targets) : kind(kind), labels(labels) {
  require(kind >= ST_LOSS_CROSS_ENTROPY && kind <= ST_LOSS_LOGIT_DIFFERENCE, "unknown loss");
  require(labels.scalar_type() == at::kLong, "the labels are not int64");
  const bool targeted = kind >= ST_LOSS_TARGETED_DLR;
  require(targeted == (targets != nullptr), targeted ? "a targeted loss needs targets" : "the loss takes no targets");
  if (targeted) this->targets = tensor_of(targets);
}

at::Tensor AttackLoss::operator()(const at::Tensor& logits) {
  if (!checked_) {
    const int64_t needed = kind == ST_LOSS_TARGETED_DLR    ? 4
                           : kind == ST_LOSS_DLR           ? 3
                           : kind == ST_LOSS_CROSS_ENTROPY ? 1
                                                           : 2;
    require(logits.size(1) >= needed,
            "the loss needs " + std::to_string(needed) + " classes, there are " + std::to_string(logits.size(1)));
    labels = classes_on_device(labels, logits);
    if (targets.defined()) targets = classes_on_device(targets, logits);
    checked_ = true;
  }
  if (kind == ST_LOSS_CROSS_ENTROPY) {
    return at::cross_entropy_loss(logits, labels, {}, at::Reduction::None, /*ignore_index=*/-100, /*smoothing=*/0);
  }
  const auto of = [&](const at::Tensor& classes) { return logits.gather(1, classes.unsqueeze(1)).squeeze(1); };
  const at::Tensor z_y = of(labels);
  if (kind == ST_LOSS_LOGIT_DIFFERENCE) return of(targets).sub(z_y);

  const auto [values, order] = logits.sort(/*dim=*/1, /*descending=*/true);
  const at::Tensor& sorted = values;  // a lambda cannot capture a structured binding
  const auto rank = [&](int64_t r) { return sorted.select(1, r - 1); };
  if (kind == ST_LOSS_TARGETED_DLR) {
    const at::Tensor gap = rank(1).sub(rank(3).add(rank(4)).mul(0.5)).add(1e-12);
    return of(targets).sub(z_y).div(gap);
  }
  const at::Tensor other = at::where(order.select(1, 0).eq(labels), rank(2), rank(1));
  const at::Tensor margin = other.sub(z_y);
  return kind == ST_LOSS_MARGIN ? margin : margin.div(rank(1).sub(rank(3)).add(1e-12));
}

}  // namespace sat

using namespace sat;

namespace {

// attention_objective returns J_l [N] of one layer's map a [N,heads,T,T] for the token numbers [N,k].
at::Tensor attention_objective(const at::Tensor& a, const at::Tensor& tokens, int32_t form) {
  require(a.dim() == 4 && a.size(0) == tokens.size(0) && a.size(2) == a.size(3),
          "the network does not return logits and attention maps [N,heads,T,T]");
  // What every query of every head pays to the tokens: [N,heads,T,k].
  const at::Tensor where = tokens.view({a.size(0), 1, 1, -1}).expand({-1, a.size(1), a.size(2), -1});
  const at::Tensor paid = a.gather(3, where);
  if (form == ST_ATTENTION_PAPER) return paid.sum({1, 2, 3});
  return paid.select(3, 0).mean(1).log().mean(1);
}

std::vector<at::Tensor> gradients(const st_module& m) {
  std::vector<at::Tensor> list;
  for (const auto& [name, p] : m.parameters) {
    if (p.grad().defined()) list.push_back(p.grad());
  }
  return list;
}

}  // namespace

st_error st_module_forward(st_module* m, const st_tensor* x, st_normalisation norm, int32_t first_only,
                           st_tensor** outputs, int32_t* n_outputs) {
  return guarded([&] {
    require(outputs != nullptr && n_outputs != nullptr, "null result");
    const at::Tensor& images = tensor_of(x);
    const c10::OptionalDeviceGuard guard(images.device());
    std::vector<at::Tensor> tensors;
    {
      // No gradient and no bookkeeping for one. What leaves is copied, because a tensor made in this mode could not be
      // the target of a loss later; logits are small.
      const c10::InferenceMode inference;
      tensors = run(module_of(m), images, Normalisation(norm, images));
      if (first_only != 0) tensors = {logits_of(tensors)};
    }
    for (at::Tensor& t : tensors) {
      if (t.is_inference()) t = t.clone();
    }
    require(tensors.size() <= ST_MAX_OUTPUTS, "the network has too many outputs");
    std::vector<std::unique_ptr<st_tensor>> handles;
    for (at::Tensor& t : tensors) handles.emplace_back(new_handle(std::move(t)));
    for (size_t i = 0; i < handles.size(); ++i) outputs[i] = handles[i].release();
    *n_outputs = static_cast<int32_t>(handles.size());
  });
}

st_error st_module_input_grad(st_module* m, const st_tensor* x, const st_tensor* labels, const st_tensor* targets,
                              st_normalisation norm, int32_t loss_kind, st_tensor** grad, st_tensor** logits,
                              st_tensor** loss) {
  return guarded([&] {
    require(grad != nullptr && logits != nullptr && loss != nullptr, "null result");
    const at::Tensor& images = tensor_of(x);
    st_module& self = module_of(m);
    const c10::OptionalDeviceGuard guard(images.device());
    const c10::AutoGradMode record(true);
    gradients_started = true;
    const at::Tensor leaf = images.detach().requires_grad_(true);
    AttackLoss attack_loss(loss_kind, tensor_of(labels), targets);
    const at::Tensor out = run_for_logits(self, leaf, Normalisation(norm, images));
    const at::Tensor per_image = attack_loss(out);
    const at::Tensor g = torch::autograd::grad({per_image.sum()}, {leaf})[0];
    std::unique_ptr<st_tensor> g_handle(new_handle(g));
    std::unique_ptr<st_tensor> out_handle(new_handle(out.detach()));
    std::unique_ptr<st_tensor> loss_handle(new_handle(per_image.detach()));
    *grad = g_handle.release();
    *logits = out_handle.release();
    *loss = loss_handle.release();
  });
}

st_error st_module_attention_grad(st_module* m, const st_tensor* x, const st_tensor* labels, const st_tensor* tokens,
                                  st_normalisation norm, int32_t form, const int32_t* layers, int32_t n_layers,
                                  st_tensor** grads, st_tensor** logits, st_tensor** loss) {
  return guarded([&] {
    require(grads != nullptr && logits != nullptr && loss != nullptr, "null result");
    require(n_layers >= 0 && (n_layers == 0 || layers != nullptr), "bad layers");
    require(form == ST_ATTENTION_CODE || form == ST_ATTENTION_PAPER, "unknown attention objective");
    const at::Tensor& images = tensor_of(x);
    const at::Tensor& y = tensor_of(labels);
    require(y.scalar_type() == at::kLong, "the labels are not int64");
    st_module& self = module_of(m);
    const c10::OptionalDeviceGuard guard(images.device());
    const c10::AutoGradMode record(true);
    gradients_started = true;
    const at::Tensor leaf = images.detach().requires_grad_(true);
    const std::vector<at::Tensor> outputs = run(self, leaf, Normalisation(norm, images));
    const at::Tensor& out = outputs[0];
    const auto maps = static_cast<int64_t>(outputs.size()) - 1;  // one per layer
    require(out.dim() == 2 && out.size(0) == images.size(0), "the network does not return logits [N,K]");
    const at::Tensor chosen = tensor_of(tokens).to(images.device());
    require(chosen.scalar_type() == at::kLong && chosen.dim() == 2 && chosen.size(0) == images.size(0) &&
                chosen.size(1) > 0,
            "the tokens are not numbers [N,k]");

    const at::Tensor per_image = cross_entropy(out, y, ST_REDUCE_NONE, 0);
    std::vector<at::Tensor> list;
    list.push_back(torch::autograd::grad({per_image.sum()}, {leaf}, {}, /*retain_graph=*/n_layers > 0)[0]);
    for (int32_t i = 0; i < n_layers; ++i) {
      require(layers[i] >= 0 && layers[i] < maps,
              "there is no layer " + std::to_string(layers[i]) + " of " + std::to_string(maps));
      const at::Tensor j = attention_objective(outputs[layers[i] + 1], chosen, form).sum();
      list.push_back(torch::autograd::grad({j}, {leaf}, {}, /*retain_graph=*/i + 1 < n_layers)[0]);
    }
    std::vector<std::unique_ptr<st_tensor>> handles;
    for (at::Tensor& g : list) handles.emplace_back(new_handle(std::move(g)));
    std::unique_ptr<st_tensor> out_handle(new_handle(out.detach()));
    std::unique_ptr<st_tensor> loss_handle(new_handle(per_image.detach()));
    for (size_t i = 0; i < handles.size(); ++i) grads[i] = handles[i].release();
    *logits = out_handle.release();
    *loss = loss_handle.release();
  });
}

st_error st_module_zero_grad(st_module* m) {
  return guarded([&] {
    for (auto& [name, p] : module_of(m).parameters) p.mutable_grad().reset();
  });
}

st_error st_module_clip_grad_norm(st_module* m, double max, double* norm) {
  return guarded([&] {
    require(norm != nullptr, "null result");
    require(max > 0, "the limit is not positive");
    std::vector<at::Tensor> grads = gradients(module_of(m));
    require(!grads.empty(), "the parameters have no gradients");
    const double total = at::linalg_vector_norm(at::stack(at::_foreach_norm(grads))).item().toDouble();
    require(std::isfinite(total), "the norm of the gradients is not finite");
    const double factor = max / (total + 1e-6);
    if (factor < 1) at::_foreach_mul_(grads, factor);
    *norm = total;
  });
}
