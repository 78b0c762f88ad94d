"""Makes torch/testdata: small TorchScript networks and what eager PyTorch computes for them.

    third_party/env/bin/python3 scripts/goldens/torch_ops.py

The expected values come from the eager modules and from torch.optim and timm.optim without fused or multi-tensor kernels, never from
the TorchScript files or from the binding under test.
"""

import datetime
import json
import pathlib
import zipfile

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.optim import Lamb, RMSpropTF

SEED = 20240611
OUT = pathlib.Path(__file__).resolve().parents[2] / "torch" / "testdata"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLASSES = 5


# No parameter here has a gradient that is zero but for rounding (a bias in front of batch normalisation, the bias of the
# keys): AdamW would turn that noise into full steps, and nothing could be compared.


class ConvNet(nn.Module):
    """Convolution, batch normalisation, a gating branch, pooling: what convolutional families are made of."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, groups=2, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.silu(self.bn2(self.conv2(x)))
        x = F.max_pool2d(x, 2)
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.drop = nn.Dropout(0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        a = F.scaled_dot_product_attention(q, k, v)
        x = x + self.drop(self.proj(a.transpose(1, 2).reshape(b, n, c)))
        return x + self.drop(self.fc2(F.gelu(self.fc1(self.norm2(x)))))


class ViT(nn.Module):
    def __init__(self, dim: int = 8):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, 4, stride=4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 10, dim))
        self.blocks = nn.Sequential(Block(dim, 2), Block(dim, 2))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.head_dist = nn.Linear(3, CLASSES), nn.Linear(3, CLASSES)

    def forward(self, x: torch.Tensor):
        f = x.mean((2, 3))
        return self.head(f), self.head_dist(f)


class Hungry(nn.Module):
    """Asks for 256 TiB."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) + torch.zeros([70368744177664])[:3]


def randomise(net: nn.Module):
    """Fills everything with values that leave no gradient at zero, batch statistics included."""
    for name, t in list(net.named_parameters()) + list(net.named_buffers()):
        with torch.no_grad():
            if not t.is_floating_point():
                continue
            if name.endswith("running_var"):
                t.uniform_(0.5, 1.5)
            elif t.dim() == 1 and name.endswith("weight"):
                t.uniform_(0.5, 1.5)
            else:
                t.normal_(0, 0.3)
    return net.eval()


def save(module, name, extra=None):
    """Saves without the debug records, which hold the paths of this machine."""
    path = OUT / f"{name}.pt"
    module.save(str(path), _extra_files=extra or {})
    with zipfile.ZipFile(path) as archive:
        records = [(n, archive.read(n)) for n in archive.namelist() if not n.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for n, data in records:
            archive.writestr(zipfile.ZipInfo(n), data)


def flat(t):
    """Nine significant digits give every float32 back exactly; float64 keeps its own digits."""
    if t.dtype == torch.float64:
        return t.detach().flatten().tolist()
    if not t.is_floating_point():
        return t.flatten().tolist()
    return [float(f"{v:.9g}") for v in t.detach().float().flatten().tolist()]


def normalise(x):
    mean = torch.tensor(MEAN, dtype=torch.float32).to(x.dtype).view(1, 3, 1, 1)
    std = torch.tensor(STD, dtype=torch.float32).to(x.dtype).view(1, 3, 1, 1)
    return (x - mean) / std


def input_gradient(net, x, y):
    leaf = x.clone().requires_grad_(True)
    logits = net(normalise(leaf))
    loss = F.cross_entropy(logits, y, reduction="none")
    (grad,) = torch.autograd.grad(loss.sum(), leaf)
    return {"logits": flat(logits), "loss": flat(loss), "grad": flat(grad)}


def parameter_gradients(net, x, **loss):
    net.zero_grad()
    logits = net(normalise(x))
    value = F.cross_entropy(logits, **loss)
    value.backward()
    return {
        "loss": value.item(),
        "logits": flat(logits),
        "grads": {n: flat(p.grad) for n, p in net.named_parameters()},
    }


def training(make, state, x, y, kind):
    """Ten steps with a moving learning rate and two groups: 1-D tensors without decay, the rest with, at half the rate."""
    net = make()
    net.load_state_dict(state)
    net.train()
    named = dict(net.named_parameters())
    plain = [n for n, p in named.items() if p.dim() <= 1]
    decayed = [n for n in named if n not in plain]
    groups = [
        {"params": [named[n] for n in plain], "weight_decay": 0.0, "scale": 1.0},
        {"params": [named[n] for n in decayed], "weight_decay": 0.05, "scale": 0.5},
    ]
    flags = dict(foreach=False, fused=False)
    if kind == "adamw":
        opt = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.99), eps=1e-8, **flags)
        base = 0.01
    elif kind == "lamb":
        opt, base = Lamb(groups, lr=1.0, betas=(0.9, 0.99), eps=1e-6, foreach=False), 0.02
    elif kind == "rmsprop":
        opt, base = RMSpropTF(groups, lr=1.0, alpha=0.9, eps=1e-3, momentum=0.9, foreach=False), 0.005
    else:
        opt = torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=kind == "nesterov", **flags)
        base = 0.05
    losses = []
    for step in range(10):
        for g in opt.param_groups:
            g["lr"] = base * (1 - step / 20) * g["scale"]
        opt.zero_grad(set_to_none=True)
        loss = F.cross_entropy(net(normalise(x)), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return {
        "plain": plain,
        "decayed": decayed,
        "base_lr": base,
        "losses": losses,
        "tensors": {n: flat(t) for n, t in net.state_dict().items()},
    }


def operations():
    """Image operations and losses on small inputs."""
    x = torch.rand(2, 3, 5, 7)
    logits, labels = torch.randn(4, CLASSES), torch.tensor([0, 3, 4, 1])
    soft = torch.randn(4, CLASSES).softmax(1)
    out = {"x": flat(x), "x_shape": list(x.shape), "logits": flat(logits), "labels": labels.tolist(), "soft": flat(soft)}
    for mode, antialias, size in [
        ("nearest", False, (8, 4)),
        ("bilinear", False, (8, 10)),
        ("bilinear", True, (3, 4)),
        ("bicubic", False, (8, 10)),
        ("bicubic", True, (3, 4)),
    ]:
        kwargs = {} if mode == "nearest" else {"align_corners": False, "antialias": antialias}
        out[f"{mode}_{antialias}_{size[0]}x{size[1]}"] = flat(F.interpolate(x, size=size, mode=mode, **kwargs))
    for reduction in ("none", "mean", "sum"):
        out[f"ce_{reduction}"] = flat(F.cross_entropy(logits, labels, reduction=reduction))
        out[f"ce_smooth_{reduction}"] = flat(F.cross_entropy(logits, labels, reduction=reduction, label_smoothing=0.1))
        out[f"soft_ce_{reduction}"] = flat(F.cross_entropy(logits, soft, reduction=reduction))
        out[f"bce_{reduction}"] = flat(F.binary_cross_entropy_with_logits(logits, soft, reduction=reduction))
        kl = F.kl_div(logits.log_softmax(1), soft.log(), reduction="none", log_target=True).sum(1)
        out[f"kl_{reduction}"] = flat({"none": kl, "mean": kl.mean(), "sum": kl.sum()}[reduction])
    return out


def main():
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    golden = {
        "header": {
            "tool": "eager PyTorch",
            "version": torch.__version__.split("+")[0],
            "script": "scripts/goldens/torch_ops.py",
            "seed": SEED,
            "date": datetime.date.today().isoformat(),
            "tolerance": "relative L2 1e-5 (float32), 1e-12 (float64)",
            "why": "kernels differ with the instruction set of the CPU in the last bits, which ten training steps amplify; "
            "on the machine that made the file the gradients are bit-equal",
        },
        "mean": MEAN,
        "std": STD,
        "classes": CLASSES,
    }
    x, y = torch.rand(3, 3, 12, 12), torch.tensor([1, 4, 0])
    soft = torch.randn(3, CLASSES).softmax(1)
    golden.update(x=flat(x), x_shape=list(x.shape), y=y.tolist(), soft=flat(soft))

    for name, make in (("conv", ConvNet), ("vit", ViT)):
        net = randomise(make())
        state = {k: v.clone() for k, v in net.state_dict().items()}
        extra = {"sat.json": json.dumps({"name": name}), "note.txt": "second extra file"}
        save(torch.jit.script(net), name, extra)
        case = {"float32": input_gradient(net, x, y), "float64": input_gradient(make_double(make, state), x.double(), y)}
        case["bfloat16_logits"] = flat(bfloat16(make, state)(normalise(x).bfloat16()))
        case["names"] = list(net.state_dict())
        train_net = make()
        train_net.load_state_dict(state)
        train_net.train()
        case["labels"] = parameter_gradients(train_net, x, target=y, label_smoothing=0.1)
        train_net.load_state_dict(state)
        case["soft"] = parameter_gradients(train_net, x, target=soft)
        case["training"] = {k: training(make, state, x, y, k) for k in ("sgd", "nesterov", "adamw")}
        with torch.random.fork_rng():  # later numbers stay those that losses.json was made from
            case["training"] |= {k: training(make, state, x, y, k) for k in ("lamb", "rmsprop")}
        golden[name] = case
        if name == "conv":
            save(torch.jit.trace(net, x), "traced")
            torch.save(net.state_dict(), OUT / "weights.pt")

    two = randomise(TwoHeads())
    save(torch.jit.script(two), "twoheads")
    golden["twoheads"] = [flat(t) for t in two(normalise(x))]
    save(torch.jit.script(Hungry()), "hungry")
    golden["operations"] = operations()
    (OUT / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


def make_double(make, state):
    net = make()
    net.load_state_dict(state)
    return net.eval().double()


def bfloat16(make, state):
    net = make()
    net.load_state_dict(state)
    return net.eval().bfloat16()


if __name__ == "__main__":
    main()
