// libsat_torch_cuda.so: what needs libtorch_cuda when it is linked. Opened by graph.cpp, never linked to.
#include "../graph.hpp"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>

namespace {

constexpr int kWarmUp = 3;  // as PyTorch's own notes on capture advise

class CudaGraph final : public sat::Graph {
 public:
  explicit CudaGraph(int device) : device_(static_cast<c10::DeviceIndex>(device)) {}

  void capture(const std::function<void()>& body) override {
    const c10::cuda::CUDAGuard device(device_);
    c10::cuda::device_synchronize();
    {
      // A graph cannot be captured on the default stream.
      const c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device_);
      const c10::cuda::CUDAStreamGuard guard(stream);
      for (int i = 0; i < kWarmUp; ++i) body();
      stream.synchronize();
      // Other threads may allocate while this one captures.
      graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      body();
      graph_.capture_end();
    }
    c10::cuda::device_synchronize();
  }

  void replay() override {
    const c10::cuda::CUDAGuard device(device_);
    graph_.replay();
  }

 private:
  c10::DeviceIndex device_;
  at::cuda::CUDAGraph graph_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) sat::Graph* sat_new_graph(int device) {
  return new CudaGraph(device);
}
