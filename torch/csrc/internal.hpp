// What the files of this library share: the guard around every exported function, the handles, argument checks.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "st_attack.h"
#include "st_optimizer.h"

struct st_tensor;

namespace sat {

// An argument that this library itself refuses.
struct InvalidArgument : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

struct NoCuda : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// fail makes an error value; it must not throw, so without memory for the text the text is left out.
st_error fail(int32_t code, const char* text) noexcept;
// fail_torch is fail for an exception of libtorch or of its interpreter, which hides the kind of the original one.
st_error fail_torch(const char* text) noexcept;

// ThreadState sets what libtorch keeps per OS thread for the length of one call: no gradients (calls that want them
// open their own AutoGradMode), TorchScript's graph optimiser off, warnings collected and not printed. It also gives a
// new thread its OpenMP team of the configured size.
class ThreadState {
 public:
  ThreadState();
  ~ThreadState();
  ThreadState(const ThreadState&) = delete;
  ThreadState& operator=(const ThreadState&) = delete;

 private:
  c10::AutoGradMode grad_mode_{false};
  c10::WarningUtils::WarningHandlerGuard warnings_;
  bool graph_optimizer_;  // as it was before
};

// heap_in_huge_pages puts what the C library's heap has grown by since the last call into huge pages, where the kernel
// has them: the kernels of libtorch walk through tensors of many megabytes, and each step to another small page costs.
void heap_in_huge_pages();

// guarded is the only way out of an exported function that can go wrong: no exception leaves it.
template <class F>
st_error guarded(F&& body) noexcept {
  try {
    heap_in_huge_pages();
    ThreadState state;
    body();
    return {ST_OK, nullptr};
  } catch (const InvalidArgument& e) {
    return fail(ST_INVALID, e.what());
  } catch (const NoCuda& e) {
    return fail(ST_NO_CUDA, e.what());
  } catch (const c10::OutOfMemoryError& e) {
    return fail(ST_OOM, e.what_without_backtrace());
  } catch (const c10::Error& e) {
    return fail_torch(e.what_without_backtrace());
  } catch (const std::bad_alloc& e) {
    return fail(ST_OOM, e.what());
  } catch (const std::exception& e) {
    return fail_torch(e.what());
  } catch (...) {
    return fail(ST_OTHER, "unknown C++ exception");
  }
}

// guarded_value is guarded for the functions that return a plain value and cannot say why they failed.
template <class T, class F>
T guarded_value(T fallback, F&& body) noexcept {
  try {
    return body();
  } catch (...) {
    return fallback;
  }
}

// guarded_free is guarded for the functions that return nothing. What a destructor throws is lost.
template <class F>
void guarded_free(F&& body) noexcept {
  try {
    body();
  } catch (...) {
  }
}

// Live counts the handles that exist.
class Live {
 public:
  Live() { ++count; }
  ~Live() { --count; }
  Live(const Live&) = delete;
  Live& operator=(const Live&) = delete;
  static std::atomic<int64_t> count;
};

// require throws InvalidArgument unless ok.
inline void require(bool ok, const char* text) {
  if (!ok) throw InvalidArgument(text);
}
inline void require(bool ok, const std::string& text) {
  if (!ok) throw InvalidArgument(text);
}

// tensor_of returns the tensor behind a handle.
const at::Tensor& tensor_of(const st_tensor* t);
st_tensor* new_handle(at::Tensor t);

at::ScalarType to_scalar_type(int32_t dtype);
int32_t from_scalar_type(at::ScalarType type);
// to_device checks and, for CUDA, loads what it needs.
c10::Device to_device(st_device d);
st_device from_device(c10::Device d);
// upload returns t on a device. On its way to a GPU it is copied to pinned memory first, from which the GPU fetches it
// while this thread goes on; libtorch keeps that memory until then.
at::Tensor upload(const at::Tensor& t, c10::Device device, at::MemoryFormat format = at::MemoryFormat::Preserve);
at::IntArrayRef to_sizes(const int64_t* values, int32_t n, const char* what);

// copy_string and copy_bytes allocate what the caller frees.
char* copy_string(const std::string& s);
st_bytes copy_bytes(const void* data, size_t len);

std::string json_string(const std::string& s);

// classes_on_device returns labels [N] int64 on the device of logits [N,K], each checked to be one of the K classes:
// libtorch ignores -100 silently on the CPU and ends the process's use of a GPU on others.
at::Tensor classes_on_device(const at::Tensor& labels, const at::Tensor& logits);

// cross_entropy is the loss for labels [N] or for probabilities [N,K].
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets, int32_t reduction, double smoothing);

// parameter returns the parameter of that name, not a copy.
at::Tensor parameter(const st_module* m, const std::string& name);

// gradients_started is set by the first backward pass: libtorch fixes its set of device threads then.
extern std::atomic<bool> gradients_started;
bool cuda_loaded();

// make runs body with the tensor behind t, on its device, and hands the result out.
template <class F>
void make(const st_tensor* t, st_tensor** out, F&& body) {
  require(out != nullptr, "null result");
  const at::Tensor& self = tensor_of(t);
  const c10::OptionalDeviceGuard guard(self.device());
  *out = new_handle(body(self));
}

}  // namespace sat

struct st_tensor {
  at::Tensor t;
  sat::Live live;
};
