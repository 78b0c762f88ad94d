"""Makes torch/testdata/losses.json: the losses of attacks and their gradients by eager PyTorch.

    third_party/env/bin/python3 scripts/goldens/torch_losses.py

Weights and images are those that torch_ops.py wrote; networks are the eager ones, losses are written out below from
their definitions, with torch.topk where the binding sorts.
"""

import datetime
import json
import pathlib

import torch

import torch_ops

OUT = pathlib.Path(__file__).resolve().parents[2] / "torch" / "testdata"


def loss_of(kind, z, y, t):
    """Loss per image of logits z [N,K], labels y [N] and targets t [N]."""
    rows = range(len(z))
    z_y = torch.stack([z[i, y[i]] for i in rows])
    z_t = torch.stack([z[i, t[i]] for i in rows])
    other = torch.stack([torch.cat([z[i, : y[i]], z[i, y[i] + 1 :]]).max() for i in rows])
    top = z.topk(4, dim=1).values
    if kind == "cross-entropy":
        return -torch.log_softmax(z, 1)[torch.arange(len(z)), y]
    if kind == "margin":
        return other - z_y
    if kind == "dlr":
        return (other - z_y) / (top[:, 0] - top[:, 2] + 1e-12)
    if kind == "targeted-dlr":
        return (z_t - z_y) / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + 1e-12)
    return z_t - z_y


def main():
    torch.set_num_threads(1)
    golden = json.loads((OUT / "golden.json").read_text())
    x = torch.tensor(golden["x"], dtype=torch.float32).reshape(golden["x_shape"])
    out = {
        "header": {
            "tool": "eager PyTorch",
            "version": torch.__version__.split("+")[0],
            "script": "scripts/goldens/torch_losses.py",
            "seed": "none: weights and images of torch_ops.py",
            "date": datetime.date.today().isoformat(),
            "tolerance": "relative L2 1e-5",
            "why": "kernels differ with the instruction set of the CPU in the last bits",
        },
        "cases": [],
    }
    for name, make in (("conv", torch_ops.ConvNet), ("vit", torch_ops.ViT)):
        net = make()
        net.load_state_dict(torch.jit.load(str(OUT / f"{name}.pt")).state_dict())
        net.eval()
        with torch.no_grad():
            order = net(torch_ops.normalise(x)).argsort(dim=1, descending=True)
        # Labels that win, that come second and that come last, so that every branch of "the largest other" is taken.
        y = torch.stack([order[0, 0], order[1, 1], order[2, -1]])
        t = torch.stack([order[0, 1], order[1, 3], order[2, 2]])
        for kind in ("cross-entropy", "dlr", "margin", "targeted-dlr", "logit-difference"):
            leaf = x.clone().requires_grad_(True)
            loss = loss_of(kind, net(torch_ops.normalise(leaf)), y, t)
            (grad,) = torch.autograd.grad(loss.sum(), leaf)
            out["cases"].append({"network": name, "loss": kind, "y": y.tolist(), "targets": t.tolist(),
                                 "value": torch_ops.flat(loss), "grad": torch_ops.flat(grad)})
    (OUT / "losses.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
