// Captured graphs of GPU work. Their class needs libtorch_cuda at link time, which this library does not have, so it
// lives in a library of its own (cuda/graph.cpp) that is opened when a graph is first wanted.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace sat {

class Graph {
 public:
  virtual ~Graph() = default;
  // capture runs body a few times, so that libraries pick their kernels and take their memory, and then records it.
  // Tensors that body makes keep their place in memory: replay writes to them again.
  virtual void capture(const std::function<void()>& body) = 0;
  virtual void replay() = 0;
};

// make_graph throws NoCuda when the library beside this one is missing or does not fit.
std::unique_ptr<Graph> make_graph(c10::Device device);

}  // namespace sat

extern "C" {
// Exported by libsat_torch_cuda.so. The caller owns the result.
typedef sat::Graph* (*sat_new_graph_function)(int device);
}
