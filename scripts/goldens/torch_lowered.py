"""Makes torch/testdata/lowered: TorchScript networks of the layers that lowering changes, and what eager PyTorch
computes for them in float32.

    third_party/env/bin/python3 scripts/goldens/torch_lowered.py
"""

import datetime
import json
import pathlib

import torch
import torch.nn as nn
import torch.nn.functional as F

import torch_ops as common

SEED = 20261129
OUT = common.OUT / "lowered"
SIZE = (19, 22)  # no stride divides both
CLASSES = common.CLASSES


def conv(i, o, k, **options):
    return nn.Conv2d(i, o, k, bias=options.pop("bias", False), **options)


class Residual(nn.Module):
    """A ResNet: a stem of 7 x 7, normalisation behind convolutions, a shortcut of 1 x 1 with a stride."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = conv(3, 16, 7, stride=2, padding=3), nn.BatchNorm2d(16)
        self.conv1, self.bn1 = conv(16, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24)
        self.conv2, self.bn2 = conv(24, 24, 3, padding=1), nn.BatchNorm2d(24)
        self.short, self.bn3 = conv(16, 24, 1, stride=2), nn.BatchNorm2d(24)
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)), inplace=True)
        y = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(y)) + self.bn3(self.short(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Mobile(nn.Module):
    """An EfficientNet: depthwise filters with and without a stride, SiLU, a gate on channels; filters in groups, dilated."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = conv(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.depth1, self.bn1 = conv(16, 16, 5, padding=2, groups=16), nn.BatchNorm2d(16)
        self.depth2, self.bn2 = conv(16, 16, 3, stride=2, padding=1, groups=16), nn.BatchNorm2d(16)
        self.reduce, self.expand = conv(16, 4, 1, bias=True), conv(4, 16, 1, bias=True)
        self.group, self.bn3 = conv(16, 16, 3, padding=1, groups=4), nn.BatchNorm2d(16)
        self.wide = conv(16, 16, 3, padding=2, dilation=2, bias=True)
        self.strided = conv(16, 16, 3, stride=2, padding=1, groups=2, bias=True)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = F.silu(self.bn(self.stem(x)))
        x = F.silu(self.bn1(self.depth1(x)), inplace=True)
        x = F.silu(self.bn2(self.depth2(x)), inplace=True)
        x = x * torch.sigmoid(self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True)))))
        x = x + self.wide(F.silu(self.bn3(self.group(x))))
        return self.head(self.strided(x).mean((2, 3)))


class Before(nn.Module):
    """Normalisation that no convolution comes before, GELU in front of it, and a factor per channel."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = conv(3, 16, 5, stride=5, bias=True), nn.BatchNorm2d(16)
        self.depth, self.bn1 = conv(16, 16, 3, padding=1, groups=16, bias=True), nn.BatchNorm2d(16)
        self.gamma = nn.Parameter(torch.zeros(16))
        self.down = conv(16, 24, 2, stride=2, bias=True)
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x):
        x = self.bn(F.gelu(self.stem(x)))
        x = x + F.relu(self.bn1(x)) + self.bn1(F.gelu(self.depth(x))) * self.gamma.reshape(1, -1, 1, 1)
        return self.head(self.down(x).mean((2, 3)))


class Attention(nn.Module):
    """Attention by the plain formula and by the fused function, and a conversion to the type of the parameters."""

    def __init__(self, dim: int = 32, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.patches = conv(3, dim, 4, stride=4, bias=True)
        self.register_buffer("bias", torch.zeros(heads, 20, 20))
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.head = nn.Linear(dim, CLASSES)

    def heads_of(self, x: torch.Tensor):
        b, n, c = x.shape
        return self.qkv(self.norm(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x.float().to(self.fc1.weight.dtype)).flatten(2).transpose(1, 2)
        b, n, c = x.shape
        q, k, v = self.heads_of(x)
        scores = q * 0.35 @ k.transpose(-2, -1) + self.bias
        x = x + self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, n, c))
        q, k, v = self.heads_of(x)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))
        return self.head((x + self.fc2(F.gelu(self.fc1(x)))).mean(1))


class Branching(nn.Module):
    """Another network in another precision, so that constants of one cannot be those of the other; and a convolution without
    numbers for its padding."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = conv(3, 8, 3, padding="same"), nn.BatchNorm2d(8)
        self.gate, self.head = nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x))).mean((2, 3))
        if self.gate.weight.dtype == torch.float32:
            x = x * torch.sigmoid(self.gate(x))
        else:
            x = x / (1 + torch.exp(-self.gate(x)))
        return self.head(x)


class Shared(nn.Module):
    """Functions that overwrite their argument: a view of what is read later, which they must change, and a sum that is their own."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = conv(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv, self.bn1 = conv(16, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.short, self.dropout = conv(16, 16, 1, stride=2, bias=True), nn.Dropout(0.5)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.bn(self.stem(x))
        first = F.silu(x[:, :8], inplace=True).mean((2, 3))
        rest = F.relu(self.dropout(x[:, 8:]), inplace=True).mean((2, 3))
        y = self.bn1(self.conv(x))
        y += self.short(x)
        y = F.relu(y, inplace=True)
        return self.head(y.mean((2, 3)) + torch.cat([first, rest], 1))


class Functions(nn.Module):
    """Functions of numbers between -10 and 10, and softmax of rows that are no multiple of 16."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))

    def forward(self, x):
        x = x.flatten(1)[:, :301] * self.scale
        return torch.cat([F.gelu(x), F.silu(x), F.relu(x), x.softmax(dim=-1)], 1)


def main():
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    common.OUT = OUT
    x, y = torch.rand(3, 3, *SIZE), torch.tensor([1, 4, 0])
    golden = {
        "header": {
            "tool": "eager PyTorch",
            "version": torch.__version__.split("+")[0],
            "script": "scripts/goldens/torch_lowered.py",
            "seed": SEED,
            "date": datetime.date.today().isoformat(),
            "tolerance": "relative L2 2e-2 of the logits, 8e-2 of the gradient: bfloat16 has eight bits",
        },
        "mean": common.MEAN, "std": common.STD, "x": common.flat(x), "x_shape": list(x.shape), "y": y.tolist(), "networks": {},
    }
    for name, make in (("residual", Residual), ("mobile", Mobile), ("before", Before), ("attention", Attention),
                       ("branching", Branching), ("shared", Shared)):
        net = common.randomise(make())
        with torch.no_grad():
            net.head.weight *= 0.1  # a saturated loss would have no gradient to speak of
        common.save(torch.jit.trace(net, x) if name == "before" else torch.jit.script(net), name)
        golden["networks"][name] = common.input_gradient(net, x, y)
    functions = Functions().eval()
    common.save(torch.jit.script(functions), "functions")
    # On the numbers that the network sees in bfloat16, so that only the functions can differ.
    rounded = (common.normalise(x).bfloat16() * functions.scale.bfloat16()).float() / functions.scale
    golden["functions"] = common.flat(functions(rounded))
    (OUT / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
