"""Golden of internal/train/selfsup: eight updates of MAE, MoCo v3 and BYOL in eager PyTorch, written with timm's ViT and plain
operations after the methods' own programs (models_mae.py of MAE, moco/builder.py and main_moco.py of MoCo v3, byol_pytorch.py),
not with the exporter's code. It starts from the weights in the files that scripts/goldens/selfsup_modules.py has made, the
matrices in the encoder's blocks scaled up.

Needs torch and timm. Run from the top folder of the project:

    OMP_NUM_THREADS=1 python scripts/goldens/selfsup_steps.py

Writes internal/train/selfsup/testdata: steps.json (header; per method rates, losses, masks and a digest of the final tensors:
sum, sum of squares and eight elements of each) and steps_images.u8 (64 x 16 x 16 x 3, NHWC; the second view of image i is
image i+32).
"""

import copy
import datetime
import json
import math
import pathlib
import sys

import timm
import torch
import torch.nn.functional as F

OUT = pathlib.Path("internal/train/selfsup/testdata")
SEED, BATCH, UPDATES = 0, 16, 8
NETWORK = {"img_size": 16, "patch_size": 4, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 0}
PATCH, KEEP, HEADS = 4, 4, 4
SCALE = 6.0  # of the matrices in the encoder's blocks, to begin with


def encoder(tensors):
    net = timm.create_model("vit_tiny_patch16_224", **NETWORK)
    net.load_state_dict({k.removeprefix("encoder."): v for k, v in tensors.items() if k.startswith("encoder.")})
    return net.train()


def blocks_of(tensors, prefix, count, width):
    out = torch.nn.ModuleList(timm.models.vision_transformer.Block(width, HEADS, qkv_bias=True) for _ in range(count))
    out.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return out


class Eager(torch.nn.Module):
    """The encoder and the further tensors of a file, under the file's names."""

    def __init__(self, tensors):
        super().__init__()
        self.encoder = encoder(tensors)
        if "decoder_pred.weight" in tensors:
            self.decoder_blocks = blocks_of(tensors, "decoder_blocks.", 1, 48)
        self.names = {}
        for name, value in tensors.items():
            if not name.startswith(("encoder.", "decoder_blocks.")):
                self.names[name] = name.replace(".", "/")
                if value.is_floating_point() and not name.endswith(("running_mean", "running_var", "decoder_pos_embed")):
                    self.register_parameter(self.names[name], torch.nn.Parameter(value.clone()))
                else:
                    self.register_buffer(self.names[name], value.clone())

    def tensor(self, name):
        return getattr(self, self.names[name]) if name in self.names else None

    def tensors(self):
        return {k.replace("/", "."): v for k, v in self.state_dict().items()}

    def layer(self, x, name):
        return F.linear(x, self.tensor(name + ".weight"), self.tensor(name + ".bias"))

    def batch_norm(self, x, name):
        self.tensor(name + ".num_batches_tracked").add_(1)
        return F.batch_norm(x, self.tensor(name + ".running_mean"), self.tensor(name + ".running_var"),
                            self.tensor(name + ".weight"), self.tensor(name + ".bias"), training=True)

    def sequence(self, x, name):
        """Linear, batch norm, ReLU, ... as the numbers in the names have it."""
        i = 0
        while self.tensor(f"{name}.{i}.weight") is not None or self.tensor(f"{name}.{i}.running_mean") is not None:
            if self.tensor(f"{name}.{i}.running_mean") is None:
                x = self.layer(x, f"{name}.{i}")
                i += 1
            else:
                x = self.batch_norm(x, f"{name}.{i}")
                i += 1
                if self.tensor(f"{name}.{i + 1}.weight") is not None:
                    x = F.relu(x)
                    i += 1
        return x

    def project(self, x):
        return self.sequence(self.encoder(x), "projector")

    def predict(self, x):
        return self.sequence(self.project(x), "predictor")


def mae_loss(net, x, shuffle):
    e = net.encoder
    tokens = e.patch_embed(x) + e.pos_embed[:, 1:, :]
    n, length, width = tokens.shape
    restore = torch.argsort(shuffle, dim=1)
    kept = torch.stack([tokens[i, shuffle[i, :KEEP]] for i in range(n)])
    mask = torch.ones(n, length)
    mask[:, :KEEP] = 0
    mask = torch.gather(mask, 1, restore)
    z = torch.cat([(e.cls_token + e.pos_embed[:, :1, :]).expand(n, -1, -1), kept], 1)
    z = net.layer(e.norm(e.blocks(z)), "decoder_embed")
    filled = torch.cat([z[:, 1:], net.tensor("mask_token").repeat(n, length - KEEP, 1)], 1)
    filled = torch.stack([filled[i, restore[i]] for i in range(n)])
    z = torch.cat([z[:, :1], filled], 1) + net.tensor("decoder_pos_embed")
    for block in net.decoder_blocks:
        z = block(z)
    z = F.layer_norm(z, z.shape[-1:], net.tensor("decoder_norm.weight"), net.tensor("decoder_norm.bias"), 1e-5)
    pred = net.layer(z, "decoder_pred")[:, 1:, :]
    side = x.shape[2] // PATCH
    target = torch.einsum("nchpwq->nhwpqc", x.reshape(n, 3, side, PATCH, side, PATCH)).reshape(n, side * side, -1)
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
    return (((pred - target) ** 2).mean(-1) * mask).sum() / mask.sum()


def moco_term(q, k, temperature=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    logits = torch.einsum("nc,mc->nm", q, k) / temperature
    return F.cross_entropy(logits, torch.arange(len(q))) * (2 * temperature)


def byol_term(x, y):
    return (2 - 2 * (F.normalize(x, dim=-1) * F.normalize(y, dim=-1)).sum(-1)).mean()


@torch.no_grad()
def follow(target, net, m):
    for p, q in zip(target.parameters(), net.parameters()):
        p.mul_(m).add_(q, alpha=1 - m)


def run(name, images):
    tensors = torch.jit.load(OUT / f"{name}.pt").state_dict()
    for n, t in tensors.items():
        # As drawn, all images have nearly the same feature, and batch norm would blow up what kernels round.
        if n.startswith("encoder.blocks.") and t.ndim == 2:
            t.mul_(SCALE)
    net = Eager(tensors)
    target = copy.deepcopy(net)
    frozen = {"encoder.pos_embed"}
    if name == "mocov3":
        frozen |= {"encoder.patch_embed.proj.weight", "encoder.patch_embed.proj.bias"}
    named = [(n.replace("/", "."), p) for n, p in net.named_parameters()]
    for n, p in named:
        p.requires_grad_(n not in frozen)
    flat = [p for n, p in named if n not in frozen and (p.ndim <= 1 or n.endswith((".bias", "cls_token")))]
    rest = [p for n, p in named if n not in frozen and not (p.ndim <= 1 or n.endswith((".bias", "cls_token")))]
    # Not AdamW: the gradient of a bias in front of a batch norm is rounding alone, and AdamW would make full steps of it.
    optimizer = torch.optim.SGD([{"params": flat, "weight_decay": 0.0}, {"params": rest, "weight_decay": 0.01}],
                                lr=1, momentum=0.9, nesterov=True)
    generator = torch.Generator().manual_seed(SEED + 1)
    rates, losses, masks = [], [], []
    for i in range(UPDATES):
        rows = [(BATCH * i + j) % 32 for j in range(BATCH)]
        x1 = (images[rows] - 0.5) / 0.5
        x2 = (images[[r + 32 for r in rows]] - 0.5) / 0.5
        rates.append(0.5 * 0.01 * (1 + math.cos(math.pi * (i / 4) / 2)))
        for group in optimizer.param_groups:
            group["lr"] = rates[-1]
        end, base = (1.0, 0.9) if name == "mocov3" else (0.95, 0.95)
        m = 1 - 0.5 * (1 + math.cos(math.pi * i / UPDATES)) * (1 - base) if name == "mocov3" else base
        optimizer.zero_grad(set_to_none=True)
        if name == "mae":
            shuffle = torch.argsort(torch.rand(BATCH, 16, generator=generator), dim=1)
            masks.append(shuffle.flatten().tolist())
            loss = mae_loss(net, x1, shuffle)
        else:
            if name == "mocov3":
                follow(target, net, m)
            q1, q2 = net.predict(x1), net.predict(x2)
            with torch.no_grad():
                k1, k2 = target.project(x1), target.project(x2)
            term = moco_term if name == "mocov3" else byol_term
            loss = term(q1, k2) + term(q2, k1)
        loss.backward()
        optimizer.step()
        if name == "byol":
            follow(target, net, m)
        losses.append(loss.item())
    print(name, losses)
    digest = {}
    for what, of in (("", net), ("target:", target)):
        if of is target and name == "mae":
            continue
        for n, t in of.tensors().items():
            if of is target and n.endswith(("running_mean", "running_var")) or not t.is_floating_point():
                continue  # the target's running statistics have no effect
            flat = t.detach().double().flatten()
            step = max(1, len(flat) // 8)
            digest[what + n] = {"sum": flat.sum().item(), "squares": flat.square().sum().item(), "every": step,
                                "elements": flat[::step][:8].tolist()}
    return {"name": name, "rates": rates, "losses": losses, "masks": masks, "tensors": digest}


def main():
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    coarse = torch.randint(0, 200, (64, 4, 4, 3)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    raw = (coarse + torch.randint(0, 56, (64, 16, 16, 3))).to(torch.uint8)
    (OUT / "steps_images.u8").write_bytes(raw.numpy().tobytes())
    images = raw.permute(0, 3, 1, 2).float() / 255
    golden = {
        "header": {
            "tool": f"torch {torch.__version__}, timm {timm.__version__}, Python {sys.version.split()[0]}",
            "script": "scripts/goldens/selfsup_steps.py", "seed": SEED, "date": datetime.date.today().isoformat(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(), "threads": 1,
            "tolerance": "first loss 1e-6 relative; later losses and tensors 1e-4: updates amplify what kernels round",
        },
        "batch": BATCH, "cases": [run(name, images) for name in ("mae", "mocov3", "byol")],
    }
    (OUT / "steps.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
