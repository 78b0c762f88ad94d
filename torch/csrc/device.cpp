// CUDA on demand, memory figures, random generators.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/empty.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <dlfcn.h>
#include <signal.h>
#include <sys/stat.h>

#include <mutex>
#include <sstream>

#include "internal.hpp"

namespace sat {

std::string torch_folder();

namespace {

// KeepSignals restores every signal handler that changed in its lifetime, with SA_ONSTACK. CUDA's libraries install
// handlers of their own; one without SA_ONSTACK makes Go's runtime die at the next signal, one in place of Go's makes
// Ctrl-C kill the process instead of ending the run.
class KeepSignals {
 public:
  KeepSignals() {
    for (int s = 1; s < NSIG; ++s) known_[s] = sigaction(s, nullptr, &before_[s]) == 0;
  }
  ~KeepSignals() {
    for (int s = 1; s < NSIG; ++s) {
      struct sigaction now;
      if (!known_[s] || sigaction(s, nullptr, &now) != 0) continue;
      // The union of both handler fields is compared through the plain one.
      if (now.sa_handler == before_[s].sa_handler && now.sa_flags == before_[s].sa_flags) continue;
      if (before_[s].sa_handler != SIG_DFL && before_[s].sa_handler != SIG_IGN) before_[s].sa_flags |= SA_ONSTACK;
      sigaction(s, &before_[s], nullptr);
    }
  }
  KeepSignals(const KeepSignals&) = delete;
  KeepSignals& operator=(const KeepSignals&) = delete;

 private:
  struct sigaction before_[NSIG];
  bool known_[NSIG];
};

struct CudaState {
  std::mutex mutex;
  bool loaded = false;  // libtorch_cuda is in the process and answers
  int devices = 0;
  std::string error;
};

CudaState& cuda() {
  static CudaState state;
  return state;
}

// load_cuda_locked throws NoCuda, with the reason, unless at least one device is usable afterwards.
void load_cuda_locked(CudaState& state) {
  if (state.devices > 0) return;
  if (!state.loaded) {
    const std::string path = torch_folder() + "/libtorch_cuda.so";
    struct stat info;
    if (stat(path.c_str(), &info) != 0) throw NoCuda("this libtorch has no CUDA part (" + path + " is missing)");
    // libtorch looks once for its CUDA part, when it loads a network or computes; and it counts the devices for the
    // threads of its backward passes once, at the first of them.
    const char* late = "CUDA must be asked for before anything else is loaded or computed in this process";
    if (gradients_started) throw NoCuda(late);
    if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) throw NoCuda(dlerror());
    if (!at::detail::getCUDAHooks().hasCUDART()) throw NoCuda(late);
    state.loaded = true;
  }
  const int devices = at::detail::getCUDAHooks().getNumGPUs();
  if (devices < 1) throw NoCuda("no CUDA device or driver found (see nvidia-smi)");
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  state.devices = devices;
}

void load_cuda() {
  CudaState& state = cuda();
  const std::lock_guard<std::mutex> lock(state.mutex);
  const KeepSignals keep;
  try {
    load_cuda_locked(state);
    state.error.clear();
  } catch (const c10::Error& e) {
    state.error = e.what_without_backtrace();
    throw NoCuda(state.error);
  } catch (const std::exception& e) {
    state.error = e.what();
    throw;
  }
}

const char* json_bool(bool b) { return b ? "true" : "false"; }

}  // namespace

bool cuda_loaded() {
  const std::lock_guard<std::mutex> lock(cuda().mutex);
  return cuda().devices > 0;
}

std::string describe_cuda() {
  const at::Context& context = at::globalContext();
  const char* workspace = std::getenv("CUBLAS_WORKSPACE_CONFIG");
  const std::lock_guard<std::mutex> lock(cuda().mutex);
  std::ostringstream s;
  s << "{\"Loaded\":" << json_bool(cuda().loaded) << ",\"Devices\":" << cuda().devices
    << ",\"Error\":" << json_string(cuda().error)
    << ",\"Deterministic\":" << json_bool(context.deterministicAlgorithms() && context.deterministicCuDNN())
    << ",\"TF32\":" << json_bool(context.allowTF32CuBLAS() || context.allowTF32CuDNN())
    << ",\"CuDNNTuning\":" << json_bool(context.benchmarkCuDNN())
    << ",\"Workspace\":" << json_string(workspace == nullptr ? "" : workspace) << "}";
  return s.str();
}

at::Tensor upload(const at::Tensor& t, c10::Device device, at::MemoryFormat format) {
  const bool pin = t.is_cpu() && device.is_cuda();
  return (pin ? t.pin_memory() : t).to(t.options().device(device), /*non_blocking=*/pin, /*copy=*/false, format);
}

c10::Device to_device(st_device d) {
  require(d.type == 0 || d.type == 1, "unknown kind of device");
  if (d.type == 0) return c10::Device(c10::kCPU);
  load_cuda();
  if (d.index < 0 || d.index >= cuda().devices) {
    throw NoCuda("cuda:" + std::to_string(d.index) + " does not exist, devices: " + std::to_string(cuda().devices));
  }
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(d.index));
}

st_device from_device(c10::Device d) {
  require(d.is_cpu() || d.is_cuda(), "a tensor lives on device " + d.str() + ", which is not supported");
  return {d.is_cuda() ? 1 : 0, d.is_cuda() ? d.index() : 0};
}

}  // namespace sat

using namespace sat;

st_error st_cuda_load() {
  return guarded([] { load_cuda(); });
}

st_error st_allow_tf32(int32_t on) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuBLAS(on != 0);
    at::globalContext().setAllowTF32CuDNN(on != 0);
  });
}

st_error st_cuda_memory(int32_t index, st_memory* out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    const c10::Device device = to_device({1, index});
    const c10::DeviceGuard guard(device);
    c10::DeviceAllocator* allocator = c10::getDeviceAllocator(c10::kCUDA);
    constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const auto stats = allocator->getDeviceStats(device.index());
    const auto [free_bytes, total_bytes] = allocator->getMemoryInfo(device.index());
    *out = {stats.allocated_bytes[all].current, stats.reserved_bytes[all].current, stats.allocated_bytes[all].peak,
            static_cast<int64_t>(free_bytes), static_cast<int64_t>(total_bytes)};
  });
}

st_error st_cuda_empty_cache(int32_t index) {
  return guarded([&] {
    const c10::DeviceGuard guard(to_device({1, index}));
    c10::getDeviceAllocator(c10::kCUDA)->emptyCache();
  });
}

st_error st_cuda_synchronize(int32_t index) {
  return guarded([&] {
    const c10::DeviceGuard guard(to_device({1, index}));
    at::detail::getCUDAHooks().deviceSynchronize(static_cast<c10::DeviceIndex>(index));
  });
}

st_error st_manual_seed(uint64_t seed) {
  return guarded([&] {
    const auto reseed = [seed](at::Generator generator) {
      const std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_current_seed(seed);
    };
    reseed(at::detail::getDefaultCPUGenerator());
    for (int i = 0; cuda_loaded() && i < cuda().devices; ++i) {
      reseed(at::detail::getCUDAHooks().getDefaultGenerator(static_cast<c10::DeviceIndex>(i)));
    }
  });
}

st_error st_generator_state(st_bytes* out) {
  return guarded([&] {
    require(out != nullptr, "null result");
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    const std::lock_guard<std::mutex> lock(generator.mutex());
    const at::Tensor state = generator.get_state();
    *out = copy_bytes(state.const_data_ptr(), state.nbytes());
  });
}

st_error st_set_generator_state(const uint8_t* data, size_t len) {
  return guarded([&] {
    require(data != nullptr && len > 0, "empty generator state");
    at::Tensor state = at::empty({static_cast<int64_t>(len)}, at::kByte);
    std::memcpy(state.data_ptr(), data, len);
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(state);
  });
}
