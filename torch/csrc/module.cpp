// TorchScript networks: files, tensors by name, mode, device.
#include <ATen/ops/empty.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/serialization/export.h>
#include <torch/csrc/jit/serialization/import.h>

#include <malloc.h>

#include <fstream>
#include <sstream>
#include <unordered_set>

#include "module.hpp"

using namespace sat;

st_module::st_module(torch::jit::Module m) : module(std::move(m)) { refresh(); }

void st_module::refresh() {
  parameters.clear();
  buffers.clear();
  compute_type = at::ScalarType::Undefined;
  for (const auto& p : module.named_parameters()) {
    parameters.emplace_back(p.name, p.value);
    if (compute_type == at::ScalarType::Undefined && p.value.is_floating_point()) compute_type = p.value.scalar_type();
  }
  for (const auto& b : module.named_buffers()) buffers.emplace_back(b.name, b.value);
}

void st_module::set_requires_grad(bool on) {
  for (auto& [name, p] : parameters) {
    if (p.is_floating_point()) p.set_requires_grad(on && frozen.count(name) == 0);
  }
  for (auto& [name, b] : buffers) b.set_requires_grad(false);
  requires_grad = on;
}

c10::Device st_module::device() const {
  if (!parameters.empty()) return parameters[0].second.device();
  return buffers.empty() ? c10::Device(c10::kCPU) : buffers[0].second.device();
}

void st_module::lay_out() {
  for (auto& [name, p] : parameters) {
    if (p.dim() == 4) p.set_data(p.contiguous(format()));
  }
}

namespace sat {

st_module& module_of(st_module* m) {
  require(m != nullptr, "null module");
  return *m;
}

const st_module& module_of(const st_module* m) {
  require(m != nullptr, "null module");
  return *m;
}

void require_changeable(const st_module& m) {
  require(!m.lowered, "the network was lowered: nothing of it can change or be copied");
}

at::Tensor parameter(const st_module* m, const std::string& name) {
  for (const auto& [known, p] : module_of(m).parameters) {
    if (known == name) return p;
  }
  throw InvalidArgument("the network has no parameter " + name);
}

namespace {

at::Tensor parameter_or_buffer(const st_module* m, const char* name) {
  require(name != nullptr, "null name");
  for (const auto& [known, b] : module_of(m).buffers) {
    if (known == name) return b;
  }
  for (const auto& [known, p] : module_of(m).parameters) {
    if (known == name) return p;
  }
  throw InvalidArgument(std::string("the network has no parameter or buffer ") + name);
}

// Operations that behave differently in train mode, by the argument that says which mode it is.
bool depends_on_mode(const torch::jit::Node* node) {
  static const std::unordered_set<std::string> kinds = {
      "aten::batch_norm",      "aten::instance_norm", "aten::dropout",        "aten::dropout_",
      "aten::feature_dropout", "aten::alpha_dropout", "aten::native_dropout", "aten::rrelu"};
  return kinds.count(node->kind().toQualString()) > 0;
}

struct ModeUse {
  bool reads_training = false;   // some layer asks which mode it is in
  bool depends_on_mode = false;  // some operation would behave differently
};

void scan(const torch::jit::Block* block, ModeUse& use) {
  for (const torch::jit::Node* node : block->nodes()) {
    if (node->kind() == torch::jit::prim::GetAttr && node->s(torch::jit::attr::name) == "training") {
      use.reads_training = true;
    }
    use.depends_on_mode |= depends_on_mode(node);
    for (const torch::jit::Block* inner : node->blocks()) scan(inner, use);
  }
}

// refuse_baked_mode throws for a network whose mode is part of its graph: a trace holds "training = False" as a
// constant, so batch normalisation would keep its old statistics and dropout would stay off whatever train() says.
void refuse_baked_mode(const torch::jit::Module& module) {
  require(module.hasattr("training"), "a frozen network cannot be trained; export it with torch.jit.script");
  const auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  ModeUse use;
  scan(graph->block(), use);
  require(use.reads_training || !use.depends_on_mode,
          "a traced network has its mode baked in and cannot be trained; export it with torch.jit.script");
}

}  // namespace

void move_tensors(const torch::jit::Module& module, c10::Device device, at::ScalarType type) {
  for (const torch::jit::Module& part : module.modules()) {
    for (const auto& attribute : part.named_attributes(/*recurse=*/false)) {
      if (!attribute.value.isTensor()) continue;
      at::Tensor t = attribute.value.toTensor();
      if (!t.defined()) continue;
      t.mutable_grad().reset();
      t.set_data(t.is_floating_point() ? t.to(device, type) : t.to(device));
    }
  }
}

}  // namespace sat

st_error st_module_load(const char* path, st_device device, st_module** out) {
  return guarded([&] {
    require(path != nullptr && out != nullptr, "null path or result");
    // The debug records hold source paths of the machine that exported the file; without them a saved copy has none.
    torch::jit::Module module = torch::jit::load(path, to_device(device), /*load_debug_files=*/false);
    module.eval();
    auto m = std::make_unique<st_module>(std::move(module));
    m->set_requires_grad(false);
    *out = m.release();
  });
}

st_error st_module_save(st_module* m, const char* path, const char* const* names, const uint8_t* const* contents,
                        const size_t* sizes, int32_t n) {
  return guarded([&] {
    st_module& self = module_of(m);
    require_changeable(self);
    require(path != nullptr && n >= 0, "null path");
    require(n == 0 || (names != nullptr && contents != nullptr && sizes != nullptr), "null extra files");
    torch::jit::ExtraFilesMap extra;
    for (int32_t i = 0; i < n; ++i) {
      require(names[i] != nullptr && (contents[i] != nullptr || sizes[i] == 0), "null extra file");
      extra[names[i]] =
          sizes[i] == 0 ? std::string() : std::string(reinterpret_cast<const char*>(contents[i]), sizes[i]);
    }
    // The flag is stored with every tensor and the file should not depend on it. On a GPU the file would also name the
    // device.
    torch::jit::Module stored = self.module;
    const bool on_cpu = self.parameters.empty() || self.parameters[0].second.is_cpu();
    if (!on_cpu) stored = self.module.deepcopy(c10::Device(c10::kCPU));
    const bool requires_grad = self.requires_grad;
    struct Restore {
      st_module& m;
      bool on;
      ~Restore() { m.set_requires_grad(on); }
    } restore{self, requires_grad};
    self.set_requires_grad(false);

    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    require(file.is_open(), std::string("cannot open for writing: ") + std::strerror(errno));
    // Through a writer function the folder in the archive has a fixed name instead of the file's.
    torch::jit::ExportModule(
        stored,
        [&](const void* data, size_t len) -> size_t {
          file.write(static_cast<const char*>(data), static_cast<std::streamsize>(len));
          return file ? len : 0;
        },
        extra);
    file.close();
    require(!file.fail(), std::string("write: ") + std::strerror(errno));
  });
}

st_error st_module_clone(const st_module* m, st_module** out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    const st_module& self = module_of(m);
    require_changeable(self);
    auto copy = std::make_unique<st_module>(self.module.deepcopy());
    copy->frozen = self.frozen;
    copy->set_requires_grad(self.requires_grad);
    copy->channels_last = self.channels_last;
    *out = copy.release();
  });
}

void st_module_free(st_module* m) {
  guarded_free([&] {
    delete m;
    malloc_trim(0);  // see keep_memory; the next network may need less
  });
}

st_error st_module_describe(const st_module* m, char** json) {
  return guarded([&] {
    require(json != nullptr, "null result");
    const st_module& self = module_of(m);
    std::ostringstream s;
    const char* separator = "";
    const auto list = [&](const auto& tensors, const char* buffer) {
      for (const auto& [name, t] : tensors) {
        s << separator << "{\"Name\":" << json_string(name) << ",\"DType\":" << from_scalar_type(t.scalar_type())
          << ",\"Buffer\":" << buffer << ",\"Shape\":[";
        for (int64_t i = 0; i < t.dim(); ++i) s << (i > 0 ? "," : "") << t.size(i);
        s << "]}";
        separator = ",";
      }
    };
    s << "{\"Tensors\":[";
    list(self.parameters, "false");
    list(self.buffers, "true");
    s << "]}";
    *json = copy_string(s.str());
  });
}

st_error st_module_get(const st_module* m, const char* name, int32_t gradient, st_tensor** out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    at::Tensor t = parameter_or_buffer(m, name);
    if (gradient != 0) {
      t = t.grad();
      require(t.defined(), "it has no gradient");
    }
    *out = new_handle(t.detach().clone());
  });
}

st_error st_module_set(st_module* m, const char* name, const st_tensor* value) {
  return guarded([&] {
    at::Tensor t = parameter_or_buffer(m, name);
    const at::Tensor& v = tensor_of(value);
    require(t.sizes() == v.sizes(), "the shapes differ");  // copy_ would broadcast
    const c10::OptionalDeviceGuard guard(t.device());
    t.copy_(v);
  });
}

st_error st_module_train(st_module* m, int32_t on) {
  return guarded([&] {
    st_module& self = module_of(m);
    if (on != 0) refuse_baked_mode(self.module);
    // A frozen network has no mode to set.
    if (self.module.hasattr("training")) self.module.train(on != 0);
  });
}

st_error st_module_requires_grad(st_module* m, int32_t on) {
  return guarded([&] { module_of(m).set_requires_grad(on != 0); });
}

st_error st_module_freeze(st_module* m, const char* const* names, int32_t n) {
  return guarded([&] {
    st_module& self = module_of(m);
    require(n >= 0 && (n == 0 || names != nullptr), "null names");
    std::unordered_set<std::string> frozen;
    for (int32_t i = 0; i < n; ++i) {
      require(names[i] != nullptr, "null name");
      parameter(m, names[i]).mutable_grad().reset();
      frozen.insert(names[i]);
    }
    self.frozen = std::move(frozen);
    self.set_requires_grad(self.requires_grad);
  });
}

st_error st_module_to(st_module* m, st_device device, int32_t dtype) {
  return guarded([&] {
    st_module& self = module_of(m);
    const at::ScalarType type = to_scalar_type(dtype);
    require(c10::isFloatingType(type), "not a floating-point type");
    require_changeable(self);
    const c10::Device target = to_device(device);
    const c10::OptionalDeviceGuard guard(target);
    move_tensors(self.module, target, type);
    self.refresh();
    self.set_requires_grad(self.requires_grad);
  });
}

st_error st_module_channels_last(st_module* m, int32_t on) {
  return guarded([&] {
    st_module& self = module_of(m);
    require_changeable(self);
    const c10::OptionalDeviceGuard guard(self.device());
    self.channels_last = on != 0;
    self.lay_out();
  });
}
