// A network made ready to compute on the CPU, in float32 or bfloat16, for forward passes and gradients of its input.
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/csrc/jit/passes/frozen_conv_folding.h>
#include <torch/csrc/jit/passes/remove_dropout.h>
#include <torch/csrc/jit/passes/remove_mutation.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include "convolution.hpp"
#include "module.hpp"

namespace sat {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::toIValue;
using torch::jit::Value;
namespace aten = torch::jit::aten;
namespace attr = torch::jit::attr;
namespace prim = torch::jit::prim;

// each_node calls f for every node, also those within others; f may put nodes before its own.
template <class F>
void each_node(Block* block, F&& f) {
  for (auto it = block->nodes().begin(); it != block->nodes().end();) {
    Node* node = *it++;
    for (Block* inner : node->blocks()) each_node(inner, f);
    f(node);
  }
}

// convert returns value with all floating-point tensors in it in bfloat16.
c10::IValue convert(const c10::IValue& value) {
  if (value.isTensor() && value.toTensor().defined() && value.toTensor().is_floating_point()) {
    return value.toTensor().to(at::kBFloat16);
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& t : value.toTensorVector()) list.push_back(convert(t).toTensor());
    return list;
  }
  if (value.isTuple()) {
    std::vector<c10::IValue> elements;
    for (const c10::IValue& v : value.toTupleRef().elements()) elements.push_back(convert(v));
    return c10::ivalue::Tuple::create(std::move(elements));
  }
  return value;
}

// keep marks a constant that is not to be converted. The mark lies on the node, because passes free nodes.
const c10::Symbol kKept = c10::Symbol::attr("kept");
void keep(Node* node) { node->i_(kKept, 1); }

bool same_type(const c10::IValue& a, const c10::IValue& b) {
  if (!a.isTensor() || !b.isTensor()) return false;
  return a.toTensor().defined() && a.toTensor().scalar_type() == b.toTensor().scalar_type();
}

// merge_types makes the constants of exact, frozen in float32, those of a network in bfloat16 where they say a type:
// freezing has made numbers of expressions like x.to(weight.dtype). rough is the same network, frozen in bfloat16.
// Tensors that are float32 in it too are part of the code and are marked to stay so. It returns false if the two differ
// in more than constants.
bool merge_types(Block* exact, Block* rough) {
  auto other = rough->nodes().begin();
  for (Node* node : exact->nodes()) {
    if (other == rough->nodes().end() || node->kind() != other->kind() ||
        node->inputs().size() != other->inputs().size() || node->blocks().size() != other->blocks().size()) {
      return false;
    }
    for (size_t i = 0; i < node->blocks().size(); ++i) {
      if (!merge_types(node->blocks()[i], other->blocks()[i])) return false;
    }
    if (node->kind() == prim::Constant && node->hasAttribute(attr::value) && other->hasAttribute(attr::value)) {
      if (node->kindOf(attr::value) == torch::jit::AttributeKind::i &&
          other->kindOf(attr::value) == torch::jit::AttributeKind::i) {
        node->i_(attr::value, other->i(attr::value));
      } else if (same_type(toIValue(node->output()).value(), toIValue(other->output()).value())) {
        keep(node);
      }
    }
    ++other;
  }
  return other == rough->nodes().end();
}

// replace_constant puts value in the place of a constant.
void replace_constant(Node* node, const c10::IValue& value) {
  const torch::jit::WithInsertPoint before(node);
  Value* constant = node->owningGraph()->insertConstant(value);
  node->output()->replaceAllUsesWith(constant);
  node->destroy();
}

std::optional<std::vector<int64_t>> pair(const Value* v) {
  const std::optional<c10::IValue> value = toIValue(v);
  if (!value.has_value() || !value->isIntList()) return std::nullopt;
  std::vector<int64_t> list = value->toIntVector();
  if (list.size() == 1) list.push_back(list[0]);
  if (list.size() != 2) return std::nullopt;
  return list;
}

// known_convolution returns the convolution of a node aten::conv2d or aten::_convolution whose filters are constant, or
// nothing; relu says that a rectifier follows.
c10::intrusive_ptr<Convolution> known_convolution(const Node* node, bool relu) {
  const bool general = node->kind() == aten::_convolution;
  const auto weight = toIValue(node->input(1)), bias = toIValue(node->input(2));
  const auto stride = pair(node->input(3)), padding = pair(node->input(4)), dilation = pair(node->input(5));
  const auto groups = toIValue(node->input(general ? 8 : 6));
  if (!weight.has_value() || !weight->isTensor() || !bias.has_value() || !stride || !padding || !dilation || !groups) {
    return {};
  }
  if (general) {
    const auto transposed = toIValue(node->input(6));
    if (!transposed.has_value() || transposed->toBool()) return {};
  }
  const at::Tensor& w = weight->toTensor();
  if (w.dim() != 4 || (w.scalar_type() != at::kBFloat16 && w.scalar_type() != at::kFloat)) return {};
  std::optional<at::Tensor> b;
  if (bias->isTensor()) b = bias->toTensor();
  return c10::make_intrusive<Convolution>(w, b, Convolution::Shape{*stride, *padding, *dilation, groups->toInt()},
                                          relu);
}

// only_user is the node that a result goes to; null if there are several.
Node* only_user(const Node* node) {
  const auto& uses = node->output()->uses();
  return uses.size() == 1 ? uses[0].user : nullptr;
}

// replace puts the call of a function of this library in the place of node, whose result is that of last.
void replace(Node* node, Node* last, const char* function, at::ArrayRef<Value*> inputs) {
  Graph* graph = node->owningGraph();
  Node* call = graph->create(c10::Symbol::fromQualString(function), inputs)->insertBefore(node);
  last->output()->replaceAllUsesWith(call->output());
  if (last != node) last->destroy();
  node->destroy();
}

void use_convolutions(torch::jit::Module& module, Graph& graph) {
  int64_t n = 0;
  std::vector<Node*> found;  // first all of them: replacing one also removes the node behind it
  each_node(graph.block(), [&](Node* node) {
    if (node->kind() == aten::conv2d || node->kind() == aten::_convolution) found.push_back(node);
  });
  for (Node* node : found) {
    Node* next = only_user(node);
    const bool relu = next != nullptr && next->owningBlock() == node->owningBlock() && next->kind() == aten::relu;
    const auto convolution = known_convolution(node, relu);
    if (!convolution) continue;
    std::string name;
    do {
      name = "lowered_convolution" + std::to_string(n++);
    } while (module.hasattr(name));
    const c10::IValue object(convolution);
    module.register_attribute(name, object.type(), object);
    Node* get = graph.createGetAttr(graph.inputs()[0], name)->insertBefore(node);
    replace(node, relu ? next : node, "sat::convolution", {node->input(0), get->output()});
  }
}

// use_functions replaces functions of libtorch by faster ones of this library.
void use_functions(Graph& graph) {
  const auto is = [](const Value* v, const char* text) {
    const auto value = toIValue(v);
    return value.has_value() && value->isString() && value->toStringRef() == text;
  };
  const auto last_dimension = [](const Node* node) {
    const auto dimension = toIValue(node->input(1)), type = toIValue(node->input(2));
    return dimension.has_value() && dimension->isInt() && dimension->toInt() == -1 && type.has_value() &&
           type->isNone();
  };
  const auto over_pixels = [](const Node* node) {
    if (node->inputs().size() != 4) return false;
    const auto dimensions = toIValue(node->input(1)), type = toIValue(node->input(3));
    if (!dimensions.has_value() || !dimensions->isIntList() || !type.has_value() || !type->isNone()) return false;
    return dimensions->toIntVector() == std::vector<int64_t>{2, 3};
  };
  const auto is_tensor = [](const Value* v) { return v->type()->isSubtypeOf(*c10::TensorType::get()); };
  each_node(graph.block(), [&](Node* node) {
    const auto replace_by = [&](const char* function, size_t inputs) {
      replace(node, node, function, node->inputs().slice(0, inputs));
    };
    switch (node->kind()) {
      case aten::gelu:
        if (is(node->input(1), "none")) replace_by("sat::gelu", 1);
        break;
      case aten::silu:
        replace_by("sat::silu", 1);
        break;
      case aten::relu:
        replace_by("sat::relu", 1);
        break;
      case aten::softmax:
        if (last_dimension(node)) replace_by("sat::softmax", 1);
        break;
      case aten::linear:
        replace_by("sat::linear", 3);
        break;
      case aten::matmul:
        replace_by("sat::matmul", 2);
        break;
      case aten::mean:
        if (over_pixels(node)) replace(node, node, "sat::pixel_mean", {node->input(0), node->input(2)});
        break;
      case aten::mul:
        if (is_tensor(node->input(0)) && is_tensor(node->input(1))) replace_by("sat::mul", 2);
        break;
      default:
        break;
    }
  });
}

// use_affine makes what is left of batch normalisation a factor and a term per channel, which stay float32.
void use_affine(Graph& graph) {
  each_node(graph.block(), [&](Node* node) {
    if (node->kind() != aten::batch_norm) return;
    std::vector<c10::IValue> in;
    for (size_t i = 1; i < 8; ++i) {
      const auto value = toIValue(node->input(i));
      if (!value.has_value()) return;
      in.push_back(*value);
    }
    const auto &weight = in[0], &bias = in[1], &mean = in[2], &variance = in[3], &training = in[4], &eps = in[6];
    if (!mean.isTensor() || !variance.isTensor() || training.toBool()) return;
    at::Tensor scale = variance.toTensor().add(eps.toDouble()).rsqrt();
    if (weight.isTensor()) scale = scale.mul(weight.toTensor());
    at::Tensor shift = mean.toTensor().mul(scale).neg();
    if (bias.isTensor()) shift = shift.add(bias.toTensor());
    const torch::jit::WithInsertPoint before(node);
    Value* constants[] = {graph.insertConstant(scale), graph.insertConstant(shift)};
    for (Value* constant : constants) keep(constant->node());
    replace(node, node, "sat::affine", {node->input(0), constants[0], constants[1]});
  });
}

// fold makes factors and terms behind convolutions part of their filters, and what is left of batch normalisation
// simple.
void fold(std::shared_ptr<Graph>& graph) {
  torch::jit::FoldFrozenConvBatchnorm(graph);
  torch::jit::FoldFrozenConvAddOrSub(graph);
  torch::jit::FoldFrozenConvMulOrDiv(graph);
  use_affine(*graph);
}

// convert_constants rounds the constants that are not marked to stay.
void convert_constants(Graph& graph) {
  each_node(graph.block(), [&](Node* node) {
    if (node->kind() != prim::Constant || node->hasAttribute(kKept) || !node->hasAttribute(attr::value)) return;
    const c10::IValue value = toIValue(node->output()).value();
    if (value.isTensor() || value.isTensorList() || value.isTuple()) replace_constant(node, convert(value));
  });
}

}  // namespace

torch::jit::Module lower(const torch::jit::Module& module, at::ScalarType type) {
  const torch::jit::GraphOptimizerEnabledGuard inlining(true);  // without, freezing leaves calls to what it removes
  torch::jit::Module result = torch::jit::freeze_module(module);
  std::shared_ptr<Graph> graph = result.get_method("forward").graph();
  if (type == at::kBFloat16) {
    torch::jit::Module rough = module.clone();  // freezing changes types, so they are copied too
    move_tensors(rough, at::kCPU, type);
    torch::jit::freeze_module_inplace(&rough);
    if (merge_types(graph->block(), rough.get_method("forward").graph()->block())) {
      fold(graph);  // in float32, so that filters are rounded once
      convert_constants(*graph);
      move_tensors(result, at::kCPU, type);
    } else {
      result = rough;
      graph = result.get_method("forward").graph();
    }
  } else {
    fold(graph);
  }
  // In this order: dropout, which here returns its input, would look like a new tensor that functions may overwrite.
  torch::jit::removeDropout(graph);
  torch::jit::RemoveTensorMutation(graph);
  torch::jit::EliminateDeadCode(graph);
  use_convolutions(result, *graph);
  use_functions(*graph);
  torch::jit::EliminateDeadCode(graph);
  return result;
}

}  // namespace sat

using namespace sat;

st_error st_module_lower(st_module* m, int32_t dtype) {
  return guarded([&] {
    st_module& self = module_of(m);
    require_changeable(self);
    const at::ScalarType type = to_scalar_type(dtype);
    require(type == at::kFloat || type == at::kBFloat16, "a network is lowered to float32 or bfloat16");
    require(self.device().is_cpu(), "the network is not on the CPU");
    require(!self.module.hasattr("training") || !self.module.is_training(), "the network is in train mode");
    require(self.compute_type == at::kFloat || self.compute_type == at::ScalarType::Undefined,
            "the network is not in float32");
    self.module = lower(self.module, type);
    self.refresh();
    self.set_requires_grad(false);
    self.compute_type = type;
    self.lowered = true;
    self.channels_last = true;
  });
}
