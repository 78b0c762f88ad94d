// Errors, versions, handles, process-wide settings and what doctor wants to know about them.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/jit/codegen/fuser/interface.h>
#include <torch/csrc/jit/passes/tensorexpr_fuser.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/version.h>

#include <cstdlib>
#include <mutex>
#include <set>
#include <sstream>

#include "internal.hpp"

namespace sat {

std::atomic<int64_t> Live::count{0};
std::atomic<bool> gradients_started{false};

namespace {

// Collects the distinct warnings of libtorch. A network that warns on every call must not grow the list.
class WarningList : public c10::WarningHandler {
 public:
  void process(const c10::Warning& w) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (texts_.size() < kMax) texts_.insert(w.msg());
  }
  std::set<std::string> texts() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return texts_;
  }

 private:
  static constexpr size_t kMax = 32;
  std::mutex mutex_;
  std::set<std::string> texts_;
};

WarningList& warning_list() {
  static WarningList list;
  return list;
}

// innermost shortens the report of TorchScript's interpreter, a traceback of many lines, to the error at its end.
std::string innermost(const std::string& text) {
  if (text.find("TorchScript interpreter") == std::string::npos) return text;
  const std::string mark = "Error: ";
  const size_t at = text.rfind(mark);
  return at == std::string::npos ? text : text.substr(at + mark.size());
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// is_oom recognises failed allocations by their text: the CPU allocator throws a plain c10::Error, and an exception
// that passed through TorchScript's interpreter has lost its type.
bool is_oom(const std::string& text) {
  return contains(text, "can't allocate memory") || contains(text, "CUDA out of memory") ||
         contains(text, "CUDA error: out of memory") || contains(text, "_STATUS_ALLOC_FAILED");
}

}  // namespace

st_error fail(int32_t code, const char* text) noexcept { return {code, strdup(text == nullptr ? "" : text)}; }

st_error fail_torch(const char* text) noexcept {
  try {
    std::string s = innermost(text);
    while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back())) != 0) s.pop_back();
    return fail(is_oom(s) ? ST_OOM : ST_TORCH, s.c_str());
  } catch (...) {
    return fail(ST_TORCH, text);
  }
}

ThreadState::ThreadState() : warnings_(&warning_list()), graph_optimizer_(torch::jit::getGraphExecutorOptimize()) {
  // OpenMP keeps the team size per thread: without this a new thread would use every core.
  static thread_local const bool ready = (at::init_num_threads(), true);
  (void)ready;
  // Without the optimiser, TorchScript runs the recorded operations one by one with autograd's own
  // formulas, as eager PyTorch does.
  torch::jit::setGraphExecutorOptimize(false);
}

ThreadState::~ThreadState() { torch::jit::setGraphExecutorOptimize(graph_optimizer_); }

const at::Tensor& tensor_of(const st_tensor* t) {
  require(t != nullptr, "null tensor");
  return t->t;
}

st_tensor* new_handle(at::Tensor t) {
  require(t.defined(), "libtorch returned no tensor");
  return new st_tensor{std::move(t), {}};
}

namespace {
constexpr at::ScalarType kTypes[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf,
                                     at::kLong,  at::kInt,    at::kByte,     at::kBool};
}

at::ScalarType to_scalar_type(int32_t dtype) {
  require(dtype >= 0 && dtype < static_cast<int32_t>(std::size(kTypes)), "unknown element type");
  return kTypes[dtype];
}

int32_t from_scalar_type(at::ScalarType type) {
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    if (kTypes[i] == type) return static_cast<int32_t>(i);
  }
  throw InvalidArgument(std::string("element type ") + c10::toString(type) + " is not supported");
}

at::IntArrayRef to_sizes(const int64_t* values, int32_t n, const char* what) {
  require(n >= 0 && n <= ST_MAX_DIMS && (n == 0 || values != nullptr), what);
  return {values, static_cast<size_t>(n)};
}

char* copy_string(const std::string& s) {
  char* c = strdup(s.c_str());
  if (c == nullptr) throw std::bad_alloc();
  return c;
}

st_bytes copy_bytes(const void* data, size_t len) {
  auto* p = static_cast<uint8_t*>(std::malloc(len == 0 ? 1 : len));
  if (p == nullptr) throw std::bad_alloc();
  if (len > 0) std::memcpy(p, data, len);
  return {p, len};
}

std::string json_string(const std::string& s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", c);
      out += code;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

namespace {

// The file that libtorch_cpu was loaded from.
std::string torch_path() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&at::get_num_threads), &info) == 0 || info.dli_fname == nullptr) return "";
  char* real = realpath(info.dli_fname, nullptr);
  std::string path = real == nullptr ? info.dli_fname : real;
  std::free(real);
  return path;
}

const char* json_bool(bool b) { return b ? "true" : "false"; }

}  // namespace

std::string torch_folder() {
  const std::string path = torch_path();
  return path.substr(0, path.rfind('/'));
}

// Part of st_describe that belongs to device.cpp.
std::string describe_cuda();

}  // namespace sat

using namespace sat;

int32_t st_abi_version() {
  return guarded_value(-1, [] { return ST_ABI_VERSION; });
}

const char* st_torch_build_version() {
  return guarded_value("", [] { return TORCH_VERSION; });
}

const char* st_torch_version() {
  return guarded_value("", []() -> const char* {
    static const std::string version = [] {
      const uint64_t v = aoti_torch_abi_version();  // one byte each: major, minor, patch
      return std::to_string(v >> 56) + "." + std::to_string(v >> 48 & 0xff) + "." + std::to_string(v >> 40 & 0xff);
    }();
    return version.c_str();
  });
}

void st_string_free(char* s) {
  guarded_free([&] { std::free(s); });
}

void st_bytes_free(st_bytes b) {
  guarded_free([&] { std::free(b.data); });
}

int64_t st_live_handles() {
  return guarded_value(int64_t{-1}, [] { return Live::count.load(); });
}

st_error st_init(int32_t threads) {
  return guarded([&] {
    require(threads >= 1, "threads must be at least 1");
    // cuBLAS reads this when CUDA starts; with it its results are repeatable.
    if (setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 1) != 0) throw std::bad_alloc();
    at::set_num_threads(threads);
    if (at::get_num_interop_threads() != 1) at::set_num_interop_threads(1);

    // TorchScript's executors have returned wrong input gradients from the third call on.
    torch::jit::getExecutorMode() = false;
    torch::jit::getProfilingMode() = false;
    torch::jit::setTensorExprFuserEnabled(false);
    torch::jit::overrideCanFuseOnCPU(false);
    torch::jit::overrideCanFuseOnGPU(false);

    at::Context& context = at::globalContext();
    context.setAllowTF32CuBLAS(false);
    context.setAllowTF32CuDNN(false);
    context.setBenchmarkCuDNN(false);
    context.setDeterministicCuDNN(true);
    // Operations without a repeatable kernel still run (warn_only), and the warning shows up in st_describe. Filling
    // fresh memory, which this mode does by default, would only cost time.
    context.setDeterministicAlgorithms(true, /*warn_only=*/true);
    context.setDeterministicFillUninitializedMemory(false);
  });
}

namespace {

// multiplies_bfloat16 tells whether the processor has instructions for products in bfloat16.
bool multiplies_bfloat16() {
  const auto capabilities = at::cpu::get_cpu_capabilities();
  const auto has = [&](const char* name) {
    const auto found = capabilities.find(name);
    return found != capabilities.end() && found->second.isBool() && found->second.toBool();
  };
  return has("avx512_bf16") || has("amx_bf16") || has("bf16");
}

}  // namespace

st_error st_describe(char** json) {
  return guarded([&] {
    require(json != nullptr, "null result");
    std::ostringstream s;
    s << "{\"Path\":" << json_string(torch_path()) << ",\"CXX11ABI\":" << json_bool(_GLIBCXX_USE_CXX11_ABI != 0)
      << ",\"Threads\":" << at::get_num_threads() << ",\"InterOp\":" << at::get_num_interop_threads()
      << ",\"Capability\":" << json_string(at::get_cpu_capability())
      << ",\"BFloat16\":" << json_bool(multiplies_bfloat16())
      << ",\"BLAS\":" << json_string(at::get_mkl_version() + "; " + at::get_mkldnn_version()) << ",\"JIT\":{"
      << "\"ProfilingExecutor\":" << json_bool(torch::jit::getExecutorMode())
      << ",\"ProfilingMode\":" << json_bool(torch::jit::getProfilingMode())
      << ",\"GraphOptimizer\":" << json_bool(torch::jit::getGraphExecutorOptimize())
      << ",\"TensorExprFuser\":" << json_bool(torch::jit::tensorExprFuserEnabled())
      << ",\"FuseOnCPU\":" << json_bool(torch::jit::canFuseOnCPU())
      << ",\"FuseOnGPU\":" << json_bool(torch::jit::canFuseOnGPU()) << "},\"CUDA\":" << describe_cuda()
      << ",\"Warnings\":[";
    const char* separator = "";
    for (const auto& text : warning_list().texts()) {
      s << separator << json_string(text);
      separator = ",";
    }
    s << "]}";
    *json = copy_string(s.str());
  });
}
