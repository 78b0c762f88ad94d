// The inner loop of a signed-gradient attack.
#include "st_attack.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>

#include "graph.hpp"
#include "module.hpp"

using namespace sat;

namespace {

// step_image is one step for the n pixels of one image on the CPU: one pass instead of six operations that each read
// and write the whole batch. It returns the verdict. The compiler may fuse the product into the sum, because step *
// (-1, 0 or 1) is exact.
int32_t step_image(float* adv, const float* clean, const float* g, int64_t n, float step, float epsilon) {
  int32_t moves = 0;
  int32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float sign = static_cast<float>((g[i] > 0) - (g[i] < 0));
    moves |= g[i] != 0;
    bad |= !(std::abs(g[i]) <= std::numeric_limits<float>::max());
    float d = (adv[i] + step * sign) - clean[i];
    d = d < -epsilon ? -epsilon : d;
    d = d > epsilon ? epsilon : d;
    float v = clean[i] + d;
    v = v < 0 ? 0 : v;
    adv[i] = v > 1 ? 1 : v;
  }
  return (moves != 0 ? ST_SIGN_MOVES : 0) | (bad != 0 ? ST_SIGN_NOT_FINITE : 0);
}

}  // namespace

struct st_sign_attack {
  st_module& m;
  Normalisation norm;
  AttackLoss loss;
  float step_size, epsilon;
  bool by_operations;
  at::Tensor clean, adv;         // on the module's device, in its layout
  at::Tensor logits, verdicts;   // of the last step, on the device
  std::unique_ptr<Graph> graph;  // the captured step; null where there is none
  Live live;

  st_sign_attack(st_module& m, const at::Tensor& clean, const at::Tensor& start, const at::Tensor& labels,
                 const st_normalisation& norm, const st_sign_options& o)
      : m(m),
        norm(norm, clean.to(m.device())),
        loss(o.loss_kind, labels, nullptr),
        step_size(static_cast<float>(o.descend != 0 ? -o.step_size : o.step_size)),
        epsilon(static_cast<float>(o.epsilon)),
        by_operations(o.by_operations != 0 || !m.device().is_cpu()),
        clean(upload(clean, m.device(), m.format()).clone()),
        adv(upload(start, m.device(), m.format()).clone()) {}

  // step is the whole of st_sign_attack_step but for the copies to the CPU.
  void step() {
    at::Tensor g;
    {
      const c10::AutoGradMode record(true);
      gradients_started = true;
      const at::Tensor leaf = adv.detach().requires_grad_(true);
      const at::Tensor out = run_for_logits(m, leaf, norm);
      g = torch::autograd::grad({loss(out).sum()}, {leaf})[0];
      logits = out.detach();
    }
    g = g.contiguous(m.format());
    if (by_operations) {
      const at::Tensor bad = g.isfinite().logical_not().flatten(1).any(1).to(at::kInt);
      verdicts = g.ne(0).flatten(1).any(1).to(at::kInt).mul(ST_SIGN_MOVES).add(bad, ST_SIGN_NOT_FINITE);
      adv.add_(g.sign(), step_size).sub_(clean).clamp_(-epsilon, epsilon).add_(clean).clamp_(0, 1);
      return;
    }
    verdicts = at::empty({adv.size(0)}, at::kInt);
    const int64_t n = adv.numel() / adv.size(0);
    auto* moved = adv.mutable_data_ptr<float>();
    const auto* from = clean.const_data_ptr<float>();
    const auto* slope = g.const_data_ptr<float>();
    auto* verdict = verdicts.mutable_data_ptr<int32_t>();
    at::parallel_for(0, adv.size(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        verdict[i] = step_image(moved + i * n, from + i * n, slope + i * n, n, step_size, epsilon);
      }
    });
  }

  // capture records the step as a graph. It runs it a few times first, so the images are put back afterwards.
  void capture() {
    const at::Tensor before = adv.clone();
    graph = make_graph(m.device());
    graph->capture([this] { step(); });
    adv.copy_(before);
  }
};

namespace {

st_sign_attack& attack_of(st_sign_attack* a) {
  require(a != nullptr, "null attack");
  return *a;
}

}  // namespace

st_error st_sign_attack_new(st_module* m, const st_tensor* clean, const st_tensor* start, const st_tensor* labels,
                            st_normalisation norm, st_sign_options options, st_sign_attack** out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    const at::Tensor& x = tensor_of(clean);
    const at::Tensor& x0 = tensor_of(start);
    require(x.scalar_type() == at::kFloat && x0.scalar_type() == at::kFloat, "the images are not float32");
    require(x.dim() == 4 && x.numel() > 0 && x0.sizes() == x.sizes(),
            "the images and their start are not both [N,C,H,W]");
    require(options.loss_kind < ST_LOSS_TARGETED_DLR, "a loss with targets");
    require(options.step_size >= 0 && options.epsilon >= 0, "a negative step or epsilon");
    st_module& self = module_of(m);
    const c10::OptionalDeviceGuard guard(self.device());
    auto a = std::make_unique<st_sign_attack>(self, x, x0, tensor_of(labels), norm, options);
    if (options.capture != 0 && self.device().is_cuda()) a->capture();
    *out = a.release();
  });
}

st_error st_sign_attack_step(st_sign_attack* a, st_tensor** logits, st_tensor** verdicts) {
  return guarded([&] {
    require(logits != nullptr && verdicts != nullptr, "null result");
    st_sign_attack& self = attack_of(a);
    const c10::OptionalDeviceGuard guard(self.m.device());
    if (self.graph != nullptr) {
      self.graph->replay();
    } else {
      self.step();
    }
    std::unique_ptr<st_tensor> z(new_handle(self.logits.to(at::kCPU)));
    *verdicts = new_handle(self.verdicts.to(at::kCPU));
    *logits = z.release();
  });
}

st_error st_sign_attack_images(const st_sign_attack* a, st_tensor** out) {
  return guarded([&] {
    require(a != nullptr && out != nullptr, "null attack or result");
    const c10::OptionalDeviceGuard guard(a->m.device());
    *out = new_handle(
        a->adv.to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true, at::MemoryFormat::Contiguous));
  });
}

void st_sign_attack_free(st_sign_attack* a) {
  guarded_free([&] { delete a; });
}
