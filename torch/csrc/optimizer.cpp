// Optimisers: parameter groups, fused update kernels, exact state.
//
// A new update rule is a class derived from Rule and a line in make_rule.
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <map>

#include "module.hpp"

namespace {

using sat::InvalidArgument;
using sat::require;

struct Parameter {
  std::string name;
  at::Tensor value;
  int64_t steps = 0;              // updates so far
  std::vector<at::Tensor> state;  // moments, like value in shape, type and layout; made at the first update
};

struct Group {
  std::vector<Parameter> parameters;
  double weight_decay;
  double lr_scale;
};

// Batch is what one call of a kernel works on: parameters of one group with the same number of updates so far.
struct Batch {
  int64_t steps;
  double lr, weight_decay;
  std::vector<at::Tensor> values, grads;
  std::vector<std::vector<at::Tensor>> state;  // [slot][parameter]
};

class Rule {
 public:
  virtual ~Rule() = default;
  // Number of tensors kept per parameter, and what they hold before the first update.
  virtual size_t slots() const = 0;
  virtual double initial(size_t) const { return 0; }
  // Whether the gradients of all groups are first divided by max(1, their global norm).
  virtual bool normalises() const { return false; }
  virtual void update(Batch& b) const = 0;
};

// SGD as in st_optimizer.h's Go documentation; the first step sets the momentum buffer to the gradient.
class Sgd : public Rule {
 public:
  Sgd(double momentum, bool nesterov) : momentum_(momentum), nesterov_(nesterov) {}
  size_t slots() const override { return momentum_ > 0 ? 1 : 0; }
  void update(Batch& b) const override {
    at::_fused_sgd_(b.values, b.grads, slots() > 0 ? b.state[0] : std::vector<at::Tensor>{}, b.weight_decay, momentum_,
                    b.lr, /*dampening=*/0, nesterov_, /*maximize=*/false, /*is_first_step=*/b.steps == 0);
  }

 private:
  double momentum_;
  bool nesterov_;
};

class AdamW : public Rule {
 public:
  AdamW(double beta1, double beta2, double eps) : beta1_(beta1), beta2_(beta2), eps_(eps) {}
  size_t slots() const override { return 2; }
  void update(Batch& b) const override {
    // The kernel wants the step count, this step included, as a float32 tensor per parameter; they can be the same one.
    const at::Tensor step = at::full({}, static_cast<double>(b.steps + 1), b.values[0].options().dtype(at::kFloat));
    const std::vector<at::Tensor> steps(b.values.size(), step);
    at::_fused_adamw_(b.values, b.grads, b.state[0], b.state[1], {}, steps, b.lr, beta1_, beta2_, b.weight_decay, eps_,
                      /*amsgrad=*/false, /*maximize=*/false);
  }

 private:
  double beta1_, beta2_, eps_;
};

// LAMB as timm has it: the bias-corrected direction of Adam plus the decay, each decayed tensor scaled by the ratio of
// the norms of parameter and direction (1 where either is zero).
class Lamb : public Rule {
 public:
  Lamb(double beta1, double beta2, double eps) : beta1_(beta1), beta2_(beta2), eps_(eps) {}
  size_t slots() const override { return 2; }
  bool normalises() const override { return true; }
  void update(Batch& b) const override {
    const auto step = static_cast<double>(b.steps + 1);
    const double correction1 = 1 - std::pow(beta1_, step), correction2 = 1 - std::pow(beta2_, step);
    for (size_t i = 0; i < b.values.size(); ++i) {
      const at::Tensor &value = b.values[i], &grad = b.grads[i], &mean = b.state[0][i], &square = b.state[1][i];
      mean.lerp_(grad, 1 - beta1_);
      square.mul_(beta2_).addcmul_(grad, grad, 1 - beta2_);
      at::Tensor direction = mean.div(correction1).div_(square.sqrt().div_(std::sqrt(correction2)).add_(eps_));
      if (b.weight_decay != 0) {
        direction.add_(value, b.weight_decay);
        const at::Tensor of_value = value.norm(), of_direction = direction.norm();
        const at::Tensor one = at::full({}, 1.0, value.options());
        direction.mul_(at::where(of_value.gt(0).logical_and(of_direction.gt(0)), of_value.div(of_direction), one));
      }
      value.add_(direction, -b.lr);
    }
  }

 private:
  double beta1_, beta2_, eps_;
};

// RMSProp as TensorFlow 1 has it: the average of squares starts at one, eps is under the root, the decay is added to
// the gradient, and the rate enters the momentum when it is accumulated.
class RmsProp : public Rule {
 public:
  RmsProp(double momentum, double beta2, double eps) : momentum_(momentum), beta2_(beta2), eps_(eps) {}
  size_t slots() const override { return momentum_ > 0 ? 2 : 1; }
  double initial(size_t slot) const override { return slot == 0 ? 1 : 0; }
  void update(Batch& b) const override {
    for (size_t i = 0; i < b.values.size(); ++i) {
      const at::Tensor &value = b.values[i], &square = b.state[0][i];
      const at::Tensor grad = b.weight_decay != 0 ? b.grads[i].add(value, b.weight_decay) : b.grads[i];
      square.add_(grad.square().sub_(square), 1 - beta2_);
      const at::Tensor root = square.add(eps_).sqrt_();
      if (momentum_ > 0) {
        value.sub_(b.state[1][i].mul_(momentum_).addcdiv_(grad, root, b.lr));
      } else {
        value.addcdiv_(grad, root, -b.lr);
      }
    }
  }

 private:
  double momentum_, beta2_, eps_;
};

std::unique_ptr<Rule> make_rule(const st_optimizer_config& c) {
  switch (c.kind) {
    case ST_SGD:
      require(c.momentum >= 0 && c.momentum < 1, "the momentum is not in [0,1)");
      require(c.nesterov == 0 || c.momentum > 0, "Nesterov needs a momentum");
      return std::make_unique<Sgd>(c.momentum, c.nesterov != 0);
    case ST_ADAMW:
      require(c.beta1 >= 0 && c.beta1 < 1 && c.beta2 >= 0 && c.beta2 < 1, "a beta is not in [0,1)");
      require(c.eps > 0, "eps is not positive");
      return std::make_unique<AdamW>(c.beta1, c.beta2, c.eps);
    case ST_LAMB:
      require(c.beta1 >= 0 && c.beta1 < 1 && c.beta2 >= 0 && c.beta2 < 1, "a beta is not in [0,1)");
      require(c.eps > 0, "eps is not positive");
      return std::make_unique<Lamb>(c.beta1, c.beta2, c.eps);
    case ST_RMSPROP:
      require(c.momentum >= 0 && c.momentum < 1, "the momentum is not in [0,1)");
      require(c.beta2 >= 0 && c.beta2 < 1, "a beta is not in [0,1)");
      require(c.eps > 0, "eps is not positive");
      return std::make_unique<RmsProp>(c.momentum, c.beta2, c.eps);
    default:
      throw InvalidArgument("unknown kind of optimiser");
  }
}

// like returns grad with the memory layout of value: the fused kernels walk through both in memory order.
at::Tensor like(const at::Tensor& grad, const at::Tensor& value) {
  if (grad.strides() == value.strides() && grad.scalar_type() == value.scalar_type()) return grad;
  return at::empty_like(value).copy_(grad);
}

// State format, little-endian: magic, kind (u32), slots (u32), parameters (u64); per parameter: length of the name
// (u64), name, updates (u64), bytes per slot (u64), slots. The length of the whole must fit exactly.
constexpr char kMagic[8] = {'S', 'A', 'T', 'O', 'P', 'T', '0', '1'};

class Writer {
 public:
  void bytes(const void* p, size_t n) { data_.append(static_cast<const char*>(p), n); }
  template <class T>
  void number(T v) {
    bytes(&v, sizeof v);
  }
  const std::string& data() const { return data_; }

 private:
  std::string data_;
};

class Reader {
 public:
  Reader(const uint8_t* data, size_t len) : data_(data), left_(len) {}
  const uint8_t* bytes(size_t n) {
    require(n <= left_, "the state is truncated");
    const uint8_t* p = data_;
    data_ += n;
    left_ -= n;
    return p;
  }
  template <class T>
  T number() {
    T v;
    std::memcpy(&v, bytes(sizeof v), sizeof v);
    return v;
  }
  bool done() const { return left_ == 0; }

 private:
  const uint8_t* data_;
  size_t left_;
};

}  // namespace

struct st_optimizer {
  int32_t kind;
  std::unique_ptr<Rule> rule;
  std::vector<Group> groups;
  sat::Live live;
};

using namespace sat;

namespace {

const st_optimizer& optimizer_of(const st_optimizer* o) {
  require(o != nullptr, "null optimiser");
  return *o;
}

// new_state is the moment in a slot before the first update.
at::Tensor new_state(const Rule& rule, const at::Tensor& value, size_t slot) {
  return at::full_like(value, rule.initial(slot));
}

// global_divisor is max(1, norm of all gradients).
at::Tensor global_divisor(const std::vector<Group>& groups) {
  std::vector<at::Tensor> norms;
  for (const Group& g : groups) {
    for (const Parameter& p : g.parameters) {
      if (p.value.grad().defined()) norms.push_back(at::linalg_vector_norm(p.value.grad()).to(at::kFloat));
    }
  }
  if (norms.empty()) return {};
  return at::linalg_vector_norm(at::stack(norms)).clamp_min(1.0);
}

void step_group(const Rule& rule, Group& group, double lr, const at::Tensor& divisor) {
  std::map<int64_t, std::vector<Parameter*>> by_steps;
  for (Parameter& p : group.parameters) {
    if (p.value.grad().defined()) by_steps[p.steps].push_back(&p);
  }
  for (auto& [steps, parameters] : by_steps) {
    Batch b{steps, lr * group.lr_scale, group.weight_decay, {}, {}, std::vector<std::vector<at::Tensor>>(rule.slots())};
    for (Parameter* p : parameters) {
      while (p->state.size() < rule.slots()) p->state.push_back(new_state(rule, p->value, p->state.size()));
      b.values.push_back(p->value.detach());
      const at::Tensor grad = like(p->value.grad(), p->value);
      b.grads.push_back(divisor.defined() ? grad.div(divisor) : grad);
      for (size_t i = 0; i < rule.slots(); ++i) b.state[i].push_back(p->state[i]);
    }
    rule.update(b);
    for (Parameter* p : parameters) ++p->steps;
  }
}

}  // namespace

st_error st_optimizer_new(const st_module* m, const st_optimizer_config* config, st_optimizer** out) {
  return guarded([&] {
    require(config != nullptr && out != nullptr, "null configuration or result");
    require(config->n_groups > 0 && config->groups != nullptr, "no parameter groups");
    auto o = std::make_unique<st_optimizer>();
    o->kind = config->kind;
    o->rule = make_rule(*config);
    for (int32_t i = 0; i < config->n_groups; ++i) {
      const st_group& g = config->groups[i];
      require(g.n == 0 || g.names != nullptr, "null names");
      Group group{{}, g.weight_decay, g.lr_scale};
      for (int32_t j = 0; j < g.n; ++j) {
        require(g.names[j] != nullptr, "null name");
        const at::Tensor value = parameter(m, g.names[j]);
        require(value.is_non_overlapping_and_dense(), std::string("the layout of ") + g.names[j] + " has gaps");
        group.parameters.push_back({g.names[j], value, 0, {}});
      }
      o->groups.push_back(std::move(group));
    }
    *out = o.release();
  });
}

void st_optimizer_free(st_optimizer* o) {
  guarded_free([&] { delete o; });
}

st_error st_optimizer_step(st_optimizer* o, double lr) {
  return guarded([&] {
    optimizer_of(o);
    require(lr >= 0, "the learning rate is negative");
    const at::Tensor divisor = o->rule->normalises() ? global_divisor(o->groups) : at::Tensor();
    for (Group& g : o->groups) step_group(*o->rule, g, lr, divisor);
  });
}

st_error st_optimizer_state(const st_optimizer* o, st_bytes* out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    const st_optimizer& self = optimizer_of(o);
    Writer w;
    w.bytes(kMagic, sizeof kMagic);
    w.number(static_cast<uint32_t>(self.kind));
    w.number(static_cast<uint32_t>(self.rule->slots()));
    uint64_t count = 0;
    for (const Group& g : self.groups) count += g.parameters.size();
    w.number(count);
    for (const Group& g : self.groups) {
      for (const Parameter& p : g.parameters) {
        w.number(static_cast<uint64_t>(p.name.size()));
        w.bytes(p.name.data(), p.name.size());
        w.number(static_cast<uint64_t>(p.steps));
        w.number(static_cast<uint64_t>(p.value.nbytes()));
        for (size_t i = 0; i < self.rule->slots(); ++i) {
          const at::Tensor t =
              (p.state.empty() ? new_state(*self.rule, p.value, i) : p.state[i]).to(at::kCPU).contiguous();
          w.bytes(t.const_data_ptr(), t.nbytes());
        }
      }
    }
    *out = copy_bytes(w.data().data(), w.data().size());
  });
}

st_error st_optimizer_set_state(st_optimizer* o, const uint8_t* data, size_t len) {
  return guarded([&] {
    optimizer_of(o);
    require(data != nullptr || len == 0, "null state");
    Reader r(data, len);
    const size_t slots = o->rule->slots();
    require(std::memcmp(r.bytes(sizeof kMagic), kMagic, sizeof kMagic) == 0, "not the state of an optimiser");
    require(r.number<uint32_t>() == static_cast<uint32_t>(o->kind) && r.number<uint32_t>() == slots,
            "the state belongs to another kind of optimiser");
    uint64_t count = 0;
    for (const Group& g : o->groups) count += g.parameters.size();
    require(r.number<uint64_t>() == count, "the state has another number of parameters");
    std::vector<Group> groups = o->groups;  // shares the values; the moments are replaced
    for (Group& g : groups) {
      for (Parameter& p : g.parameters) {
        const auto name_len = r.number<uint64_t>();
        const std::string name(reinterpret_cast<const char*>(r.bytes(name_len)), name_len);
        require(name == p.name, "the state has parameter " + name + " where " + p.name + " is expected");
        p.steps = static_cast<int64_t>(r.number<uint64_t>());
        require(p.steps >= 0, "the state has a negative step count");
        const auto bytes = r.number<uint64_t>();
        require(bytes == p.value.nbytes(), "the state of " + name + " has another size");
        p.state.clear();
        for (size_t i = 0; i < slots; ++i) {
          at::Tensor host = at::empty_like(p.value, p.value.options().device(at::kCPU), at::MemoryFormat::Contiguous);
          std::memcpy(host.data_ptr(), r.bytes(bytes), bytes);
          p.state.push_back(at::empty_like(p.value).copy_(host));
        }
      }
    }
    require(r.done(), "the state is longer than expected");
    o->groups = std::move(groups);
  });
}
