// Losses and gradients of training.
#include "st_train.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/kl_div.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/stack.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>

#include "autocast.hpp"
#include "module.hpp"

using namespace sat;

namespace {

at::Tensor task_loss(const at::Tensor& logits, const at::Tensor& targets, const st_training_loss& loss) {
  if (loss.kind == ST_TRAIN_CROSS_ENTROPY) return cross_entropy(logits, targets, ST_REDUCE_MEAN, loss.smoothing);
  require(loss.kind == ST_TRAIN_BCE, "unknown loss");
  require(targets.is_floating_point() && targets.sizes() == logits.sizes(),
          "binary cross-entropy needs probabilities [N,K]");
  return at::binary_cross_entropy_with_logits(logits, targets.to(logits.device()));
}

// Hard: cross-entropy with the teacher's class. Soft: tau^2 * KL(teacher || student) at temperature tau, over the
// number of elements, as DeiT divides it.
at::Tensor distillation_loss(const at::Tensor& student, const at::Tensor& teacher, const st_training_loss& loss) {
  require(teacher.sizes() == student.sizes(), "teacher and student have logits of different shapes");
  const at::Tensor t = teacher.to(student.device());
  if (loss.distillation == ST_DISTILL_HARD) return cross_entropy(student, t.argmax(1), ST_REDUCE_MEAN, 0);
  require(loss.distillation == ST_DISTILL_SOFT, "unknown distillation");
  require(loss.tau > 0, "the temperature is not positive");
  const at::Tensor p = student.div(loss.tau).log_softmax(1), q = t.div(loss.tau).log_softmax(1);
  return at::kl_div(p, q, at::Reduction::Sum, /*log_target=*/true)
      .mul(loss.tau * loss.tau / static_cast<double>(p.numel()));
}

}  // namespace

st_error st_module_backward(st_module* m, const st_tensor* x, const st_tensor* targets, st_normalisation norm,
                            const st_training_loss* loss, double losses[2], st_tensor** logits) {
  return guarded([&] {
    require(loss != nullptr && losses != nullptr && logits != nullptr, "null loss or result");
    const at::Tensor& images = tensor_of(x);
    const at::Tensor& goal = tensor_of(targets);
    st_module& self = module_of(m);
    require(self.requires_grad, "the parameters do not require gradients");
    const c10::OptionalDeviceGuard guard(images.device());
    const c10::AutoGradMode record(true);
    gradients_started = true;
    std::vector<at::Tensor> outputs;
    {
      const Autocast cast(images.device().type(), loss->precision);
      outputs = run(self, images.detach(), Normalisation(norm, images));
    }
    const at::Tensor& out = outputs[0];
    require(out.dim() == 2 && out.size(0) == images.size(0), "the network does not return logits [N,K]");
    at::Tensor total = task_loss(out, goal, *loss), distilled;
    if (loss->distillation != ST_DISTILL_NONE) {
      require(outputs.size() == 2, "distillation needs a network with two outputs");
      require(loss->alpha >= 0 && loss->alpha <= 1, "alpha is not in [0,1]");
      distilled = distillation_loss(outputs[1], tensor_of(loss->teacher), *loss);
      total = total.mul(1 - loss->alpha).add(distilled.mul(loss->alpha));
    }
    torch::autograd::backward({loss->scale == 1 ? total : total.mul(loss->scale)});
    std::unique_ptr<st_tensor> handle(new_handle(out.detach()));
    losses[0] = total.item().toDouble();
    losses[1] = distilled.defined() ? distilled.item().toDouble() : 0;
    *logits = handle.release();
  });
}

st_error st_module_scale_grad(st_module* m, double factor, int32_t* finite) {
  return guarded([&] {
    require(finite != nullptr, "null result");
    std::vector<at::Tensor> grads;
    for (const auto& [name, p] : module_of(m).parameters) {
      if (p.grad().defined() && p.grad().numel() > 0) grads.push_back(p.grad());
    }
    *finite = 1;
    if (grads.empty()) return;
    at::_foreach_mul_(grads, factor);
    // The largest absolute values, NaN among them, are read back together: one wait for the device and not one per
    // tensor.
    std::vector<at::Tensor> largest;
    for (const at::Tensor& g : at::_foreach_norm(grads, std::numeric_limits<double>::infinity())) {
      largest.push_back(g.to(at::kFloat));
    }
    *finite = at::isfinite(at::stack(largest)).all().item().toBool() ? 1 : 0;
  });
}

st_error st_module_average(st_module* average, const st_module* m, double decay) {
  return guarded([&] {
    st_module& mean = module_of(average);
    const st_module& source = module_of(m);
    require(decay >= 0 && decay <= 1, "the decay is not in [0,1]");
    const c10::AutoGradMode record(false);
    std::vector<at::Tensor> averaged, sources;
    const auto follow = [&](const auto& to, const auto& from) {
      require(to.size() == from.size(), "the networks have different tensors");
      for (size_t i = 0; i < to.size(); ++i) {
        require(to[i].first == from[i].first && to[i].second.sizes() == from[i].second.sizes(),
                "the networks have different tensors: " + to[i].first + " and " + from[i].first);
        const at::Tensor a = to[i].second.detach(), b = from[i].second.detach();
        if (a.is_floating_point()) {
          averaged.push_back(a);
          sources.push_back(b);
        } else {
          a.copy_(b);
        }
      }
    };
    follow(mean.parameters, source.parameters);
    follow(mean.buffers, source.buffers);
    if (averaged.empty()) return;
    // All tensors in one call each: on a GPU, hundreds of small kernels would cost more than the arithmetic.
    at::_foreach_mul_(averaged, decay);
    at::_foreach_add_(averaged, sources, 1 - decay);
  });
}
