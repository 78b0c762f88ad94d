"""Networks for self-supervised pre-training: the ViT that is to learn, called encoder, and what a method adds to it.

The result of a method is a network whose forward pass returns what is to be minimised, so that loss and gradient are one
call for whoever trains it:

  mae      forward(x, order) -> (loss)                  x [N,C,H,W] normalised images; order [N,L] int64, a permutation of the
                                                        patches of each image, of which the first L - int(mask * L) are seen
  mocov3   forward(x1, x2, k1, k2) -> (loss, spread)    two views of each image, and the keys that a slowly moving copy of the
  byol     the same                                     network has for them; keys(x) -> [N,D]

features(x) -> [N,W] is what a classifier would see of the encoder.

spread is the mean, over dimensions, of the standard deviation over the batch of the predictions, scaled to length 1 and
multiplied by the root of D: near 1 for predictions in all directions, 0 when all images have one and the same.

Losses and shapes are those of the methods' own programs: MAE (He et al., 2022, models_mae.py), MoCo v3 (Chen, Xie and He, 2021,
moco/builder.py), BYOL (Grill et al., 2020; projection as in byol-pytorch, each view normalised by its own batch).
"""
import math
from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from . import check, fill
from .build import JobError

METHODS = ("mae", "mocov3", "byol")
DEFAULTS = {"mask": 0.75, "norm_pixels": True, "decoder_depth": 8, "decoder_width": 512, "decoder_heads": 16,
            "hidden": 4096, "projection": 256, "temperature": 0.2, "position": "sincos"}


def sincos(rows, columns, width):
    """Fixed position embedding [1, 1 + rows*columns, width] of MAE and MoCo v3: sines and cosines of the column, then of the
    row, at width/4 frequencies from 1 to 1/10000; zero for the class token."""
    if width % 4:
        raise JobError(f"a sine-cosine position embedding needs a width that 4 divides, not {width}")
    omega = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64),
                                 indexing="ij")
    parts = []
    for place in (column.reshape(-1), row.reshape(-1)):
        angle = place[:, None] * omega
        parts += [angle.sin(), angle.cos()]
    table = torch.cat(parts, 1).float()
    return torch.cat([torch.zeros(1, width), table])[None]


class MAE(nn.Module):
    """Masked autoencoder: the encoder sees a quarter of the patches, a small decoder draws the others."""

    def __init__(self, encoder: nn.Module, mask: float, norm_pixels: bool, depth: int, width: int, heads: int):
        super().__init__()
        from timm.models.vision_transformer import Block
        self.encoder = encoder
        rows, columns = encoder.patch_embed.grid_size
        self.side, channels = int(encoder.patch_embed.patch_size[0]), encoder.patch_embed.proj.in_channels
        self.patches = rows * columns
        self.keep = int(self.patches * (1 - mask))
        self.norm_pixels = norm_pixels
        self.decoder_embed = nn.Linear(encoder.embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("decoder_pos_embed", sincos(rows, columns, width))
        self.decoder_blocks = nn.ModuleList([Block(width, heads, mlp_ratio=4.0, qkv_bias=True) for _ in range(depth)])
        self.decoder_norm = nn.LayerNorm(width)
        self.decoder_pred = nn.Linear(width, self.side ** 2 * channels)
        for part in (self.decoder_embed, self.decoder_blocks, self.decoder_pred):
            for layer in part.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_uniform_(layer.weight)
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.mask_token, std=0.02)

    def targets(self, x: torch.Tensor) -> torch.Tensor:
        """The pixels of each patch, [N,L,P*P*C]."""
        n, c, h, w = x.shape
        p = self.side
        x = x.reshape(n, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1).reshape(n, -1, p * p * c)
        if self.norm_pixels:
            x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()
        return x

    def forward(self, x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        tokens = self.encoder.patch_embed(x) + self.encoder.pos_embed[:, 1:]
        seen = order[:, :self.keep].unsqueeze(-1).expand(-1, -1, tokens.shape[2])
        first = (self.encoder.cls_token + self.encoder.pos_embed[:, :1]).expand(n, -1, -1)
        tokens = torch.cat([first, tokens.gather(1, seen)], 1)
        for block in self.encoder.blocks:
            tokens = block(tokens)
        tokens = self.decoder_embed(self.encoder.norm(tokens))

        hidden = self.mask_token.to(tokens.dtype).expand(n, self.patches - self.keep, -1)
        places = order.argsort(1).unsqueeze(-1).expand(-1, -1, tokens.shape[2])
        drawn = torch.cat([tokens[:, 1:], hidden], 1).gather(1, places)
        drawn = torch.cat([tokens[:, :1], drawn], 1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            drawn = block(drawn)
        drawn = self.decoder_pred(self.decoder_norm(drawn))[:, 1:]
        error = (drawn - self.targets(x)).pow(2).mean(-1)
        return error.gather(1, order[:, self.keep:]).mean()

    @torch.jit.export
    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)


def _spread(q: torch.Tensor) -> torch.Tensor:
    unit = F.normalize(q.detach().float(), dim=1)
    return unit.std(0).mean() * math.sqrt(q.shape[1])


class MoCoV3(nn.Module):
    """Momentum contrast without a queue: a view's prediction is to be nearer to the key of the other view of its image than
    to those of the other images of the batch."""

    def __init__(self, encoder: nn.Module, hidden: int, projection: int, temperature: float):
        super().__init__()
        self.encoder, self.temperature = encoder, temperature
        self.projector = self.mlp([encoder.num_features, hidden, hidden, projection])
        self.predictor = self.mlp([projection, hidden, projection])

    @staticmethod
    def mlp(widths: List[int]) -> nn.Sequential:
        layers = []
        for i in range(len(widths) - 1):
            last = i == len(widths) - 2
            layers += [nn.Linear(widths[i], widths[i + 1], bias=False), nn.BatchNorm1d(widths[i + 1], affine=not last)]
            if not last:
                layers.append(nn.ReLU())
        return nn.Sequential(*layers)

    def contrast(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
        logits = torch.matmul(q, k.t()) / self.temperature
        own = torch.arange(q.shape[0], device=q.device)
        return F.cross_entropy(logits, own) * (2 * self.temperature)

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, k1: torch.Tensor,
                k2: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        q1 = self.predictor(self.projector(self.encoder(x1)))
        q2 = self.predictor(self.projector(self.encoder(x2)))
        return self.contrast(q1, k2) + self.contrast(q2, k1), _spread(q1)

    @torch.jit.export
    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)

    @torch.jit.export
    def keys(self, x: torch.Tensor) -> torch.Tensor:
        return self.projector(self.encoder(x))


class BYOL(nn.Module):
    """A view's prediction is to be the projection that the slowly moving copy has for the other view; no negative pairs."""

    def __init__(self, encoder: nn.Module, hidden: int, projection: int):
        super().__init__()
        self.encoder = encoder
        self.projector = self.mlp(encoder.num_features, hidden, projection)
        self.predictor = self.mlp(projection, hidden, projection)

    @staticmethod
    def mlp(width: int, hidden: int, out: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def distance(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return (2 - 2 * (F.normalize(q, dim=1) * F.normalize(k, dim=1)).sum(1)).mean()

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, k1: torch.Tensor,
                k2: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        q1 = self.predictor(self.projector(self.encoder(x1)))
        q2 = self.predictor(self.projector(self.encoder(x2)))
        return self.distance(q1, k2) + self.distance(q2, k1), _spread(q1)

    @torch.jit.export
    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)

    @torch.jit.export
    def keys(self, x: torch.Tensor) -> torch.Tensor:
        return self.projector(self.encoder(x))


def _check_encoder(net):
    from timm.models.vision_transformer import VisionTransformer
    if type(net) is not VisionTransformer:
        raise JobError(f"pre-training is for timm's VisionTransformer (ViT, DeiT), not {type(net).__name__}")
    parts = [("one class token and nothing else in front of the patches", net.cls_token is not None
              and net.num_prefix_tokens == 1 and getattr(net, "reg_token", None) is None),
             ("a position embedding of all tokens", net.pos_embed is not None and not net.no_embed_class),
             ("no norm in front of the blocks", isinstance(net.norm_pre, nn.Identity)),
             ("square patches", net.patch_embed.patch_size[0] == net.patch_embed.patch_size[1]),
             ("patches of a fixed grid", not net.dynamic_img_size)]
    if missing := [what for what, there in parts if not there]:
        raise JobError("a network can only be pre-trained with " + ", ".join(missing))


def arguments(given):
    """The method's settings with defaults filled in."""
    if not isinstance(given, dict) or given.get("method") not in METHODS:
        raise JobError(f"pretrain needs a method, one of {', '.join(METHODS)}")
    if unknown := sorted(given.keys() - DEFAULTS.keys() - {"method"}):
        raise JobError(f"unknown settings of pretrain: {', '.join(unknown)}")
    return DEFAULTS | given


def wrap(net, given):
    """The network of a method around the encoder net, which was built without a classifier."""
    _check_encoder(net)
    a = arguments(given)
    if a["position"] == "sincos":
        with torch.no_grad():
            net.pos_embed.copy_(sincos(*net.patch_embed.grid_size, net.embed_dim))
    if a["method"] == "mae":
        out = MAE(net, a["mask"], a["norm_pixels"], a["decoder_depth"], a["decoder_width"], a["decoder_heads"])
        if not 0 < out.keep < out.patches:
            raise JobError(f"a mask of {a['mask']} leaves {out.keep} of {out.patches} patches to see")
        return out
    if a["method"] == "mocov3":
        return MoCoV3(net, a["hidden"], a["projection"], a["temperature"])
    return BYOL(net, a["hidden"], a["projection"])


BATCH = 4  # images of the check


def inputs(method, patches, mean, std, size):
    """What the forward pass takes in the check, but for the keys: seeded images, and for MAE an order of patches."""
    x1, x2 = (check.normalised(torch.from_numpy(fill.images(check.SEED + i, BATCH, *size)), mean, std) for i in (0, 1))
    if method != "mae":
        return x1, x2
    draws = fill.uniform(check.SEED, "order", BATCH * patches).reshape(BATCH, patches)
    return x1, torch.from_numpy(draws.argsort(1, kind="stable").astype("int64"))


def objective(net, method, given):
    """Values of the forward pass in train mode, keys by the network itself, and the norm of the gradient of the first."""
    net.train()
    net.zero_grad()
    if method != "mae":
        with torch.no_grad():
            given = (*given, *(net.keys(x) for x in given))
    values = net(*given)
    values = values if isinstance(values, tuple) else (values,)
    values[0].backward()
    norm = torch.sqrt(sum(p.grad.double().square().sum() for p in net.parameters() if p.grad is not None))
    return [float(v) for v in values], float(norm)


def record(net, script, rules, method, mean, std, size):
    """The check of the file: intervals that fill the parameters, and what eager PyTorch then computes. script, the TorchScript
    form, must compute the same at each of three calls."""
    by_name = {r["tensor"]: r for r in rules}
    filler = check.Filler(net)
    for name, p in net.named_parameters():
        filler.put(name, *check.interval(name, p, by_name[name]))
        p.requires_grad_(True)
    script.load_state_dict(net.state_dict())
    for p in script.parameters():
        p.requires_grad_(True)
    patches = math.prod(net.encoder.patch_embed.grid_size)
    given = inputs(method, patches, mean, std, size)
    values, norm = objective(net, method, given)
    if not all(map(math.isfinite, (*values, norm))) or norm == 0:
        raise check.CheckError(f"the check of the objective gives {values} with a gradient of norm {norm}")
    for call in range(3):
        got, got_norm = objective(script, method, given)
        for a, b in zip((*got, got_norm), (*values, norm)):
            if abs(a - b) > 1e-5 * abs(b):
                raise check.CheckError(f"as TorchScript, call {call + 1}, the network computes {got} with a gradient of norm "
                                       f"{got_norm}, in Python {values} and {norm}")
    return {"generator": fill.GENERATOR, "seed": check.SEED, "batch": BATCH,
            "fill": [{"tensor": n, "low": low, "high": high} for n, (low, high) in filler.intervals.items()],
            "values": values, "grad_norm": norm}
