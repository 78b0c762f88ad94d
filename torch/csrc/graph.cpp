// Opens the library with the CUDA graphs.
#include "graph.hpp"

#include <dlfcn.h>

#include "internal.hpp"

namespace sat {

namespace {

// The file beside the one that this code was loaded from.
std::string beside_this(const char* name) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&beside_this), &info) == 0 || info.dli_fname == nullptr) return name;
  const std::string self = info.dli_fname;
  return self.substr(0, self.rfind('/') + 1) + name;
}

sat_new_graph_function open_graphs() {
  void* library = dlopen(beside_this("libsat_torch_cuda.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw NoCuda(std::string("no captured graphs: ") + dlerror());
  void* symbol = dlsym(library, "sat_new_graph");
  if (symbol == nullptr) throw NoCuda(std::string("no captured graphs: ") + dlerror());
  return reinterpret_cast<sat_new_graph_function>(symbol);
}

}  // namespace

std::unique_ptr<Graph> make_graph(c10::Device device) {
  static const sat_new_graph_function create = open_graphs();
  return std::unique_ptr<Graph>(create(device.index()));
}

}  // namespace sat
