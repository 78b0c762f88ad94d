"""Makes torch/testdata/training.json: losses of training, their parameter gradients and averaged weights by eager PyTorch.

    third_party/env/bin/python3 scripts/goldens/torch_training.py

Networks and images are those that torch_ops.py wrote. Binary cross-entropy is timm's, the two distillation losses are
written out from the formulas of the DeiT paper (Touvron et al., 2021) with DeiT's divisor, the number of elements.
"""

import datetime
import json
import pathlib

import torch
import torch.nn.functional as F
from timm.loss import BinaryCrossEntropy

import torch_ops

OUT = pathlib.Path(__file__).resolve().parents[2] / "torch" / "testdata"
ALPHA, TAU, DECAY = 0.3, 3.0, 0.97


def network(name, make):
    net = make()
    net.load_state_dict(torch.jit.load(str(OUT / f"{name}.pt")).state_dict())
    return net.train()


def gradients(net, loss):
    net.zero_grad()
    loss.backward()
    return {n: torch_ops.flat(p.grad) for n, p in net.named_parameters()}


def average(net, steps):
    """DeiT's moving average over a few made-up updates: each adds 0.1 to every floating-point tensor."""
    mean = {n: t.clone() for n, t in net.state_dict().items()}
    now = {n: t.clone() for n, t in net.state_dict().items()}
    for _ in range(steps):
        for n, t in now.items():
            now[n] = t + 0.1 if t.is_floating_point() else t + 1
            mean[n] = mean[n] * DECAY + (1 - DECAY) * now[n] if t.is_floating_point() else now[n]
    return {n: torch_ops.flat(t.double()) for n, t in mean.items()}


def main():
    torch.set_num_threads(1)
    golden = json.loads((OUT / "golden.json").read_text())
    x = torch_ops.normalise(torch.tensor(golden["x"], dtype=torch.float32).reshape(golden["x_shape"]))
    y = torch.tensor(golden["y"])
    generator = torch.Generator().manual_seed(torch_ops.SEED)
    n, k = len(y), torch_ops.CLASSES
    soft = torch.randn(n, k, generator=generator).softmax(1)
    multi = (torch.rand(n, k, generator=generator) < 0.4).float()
    teacher = 3 * torch.randn(n, k, generator=generator)

    conv, two = network("conv", torch_ops.ConvNet), network("twoheads", torch_ops.TwoHeads)
    cases = []
    loss = BinaryCrossEntropy(smoothing=0.0)(conv(x), multi)
    cases.append({"name": "bce", "network": "conv", "total": loss.item(), "distillation": 0, "grads": gradients(conv, loss)})
    for name, target in (("labels", y), ("soft", soft)):
        c, d = two(x)
        base = F.cross_entropy(c, target, label_smoothing=0.1 if name == "labels" else 0)
        hard = F.cross_entropy(d, teacher.argmax(1))
        total = (1 - ALPHA) * base + ALPHA * hard
        cases.append({"name": f"hard-{name}", "network": "twoheads", "total": total.item(), "distillation": hard.item(),
                      "grads": gradients(two, total)})
        c, d = two(x)
        base = F.cross_entropy(c, target, label_smoothing=0.1 if name == "labels" else 0)
        p, q = F.softmax(teacher / TAU, 1), F.log_softmax(d / TAU, 1)
        kl = TAU**2 * (p * (p.log() - q)).sum() / d.numel()
        total = (1 - ALPHA) * base + ALPHA * kl
        cases.append({"name": f"soft-{name}", "network": "twoheads", "total": total.item(), "distillation": kl.item(),
                      "grads": gradients(two, total)})

    out = {
        "header": {
            "tool": "eager PyTorch, timm.loss.BinaryCrossEntropy", "version": torch.__version__.split("+")[0],
            "script": "scripts/goldens/torch_training.py", "seed": torch_ops.SEED, "date": datetime.date.today().isoformat(),
            "tolerance": "relative L2 1e-5; averages 1e-6",
            "why": "kernels differ with the instruction set of the CPU in the last bits",
        },
        "alpha": ALPHA, "tau": TAU, "decay": DECAY, "soft": torch_ops.flat(soft), "multi": torch_ops.flat(multi),
        "teacher": torch_ops.flat(teacher), "cases": cases, "average": average(network("conv", torch_ops.ConvNet), 3),
    }
    (OUT / "training.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
