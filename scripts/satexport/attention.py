"""Vision transformers that return what they attend to, for attacks on attention.

Fused attention never forms softmax(q k^T / sqrt(d)), so a hook has nothing to read. Here the blocks of a ViT or DeiT are
rebuilt around the network's own layers, under the network's own names, so that tensors, initialisation rules and trained
weights stay what they are. The result returns (logits [N,K], [A_1, ..., A_L]), A_l of shape [N, heads, T, T] after the
soft-max, row i for query i. One tensor per layer, not one for all: backpropagation from one layer then stops there.
"""
from typing import List, Tuple

import torch
from torch import nn

from .build import JobError


class Attention(nn.Module):
    """Self-attention whose map is an output."""

    def __init__(self, plain: nn.Module):
        super().__init__()
        self.num_heads, self.scale = int(plain.num_heads), float(plain.scale)
        self.qkv, self.proj = plain.qkv, plain.proj

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        n, tokens, width = x.shape
        parts = self.qkv(x).reshape(n, tokens, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        paid = torch.softmax(torch.matmul(q * self.scale, k.transpose(-2, -1)), dim=-1)
        mixed = torch.matmul(paid, v).transpose(1, 2).reshape(n, tokens, width)
        return self.proj(mixed), paid


class Block(nn.Module):
    """A pre-norm block without layer scale."""

    def __init__(self, plain: nn.Module):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = plain.norm1, Attention(plain.attn), plain.norm2, plain.mlp

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        change, paid = self.attn(self.norm1(x))
        x = x + change
        return x + self.mlp(self.norm2(x)), paid


class AttentionViT(nn.Module):
    """A class-token ViT: patches, position embedding, blocks, the head on the normalised class token."""

    def __init__(self, plain: nn.Module):
        super().__init__()
        self.cls_token, self.pos_embed = plain.cls_token, plain.pos_embed
        self.patch_embed = plain.patch_embed
        self.blocks = nn.ModuleList([Block(b) for b in plain.blocks])
        self.norm, self.head = plain.norm, plain.head

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, List[torch.Tensor]]:
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        maps: List[torch.Tensor] = []
        for block in self.blocks:
            x, paid = block(x)
            maps.append(paid)
        return self.head(self.norm(x)[:, 0]), maps


def _identity(module):
    return isinstance(module, nn.Identity) or isinstance(module, nn.Dropout) and module.p == 0 or \
        getattr(module, "drop_prob", None) == 0.0


def expose(net, size):
    """The same network with its maps as a second output, and their shape. A network with parts that AttentionViT does not
    have is refused, part by part; so is one whose logits then differ."""
    from timm.models.vision_transformer import Block as TimmBlock, VisionTransformer
    if type(net) is not VisionTransformer:
        raise JobError(f"attention can be exported of timm's VisionTransformer (ViT, DeiT), not of {type(net).__name__}")
    parts = [("a class token and nothing else in front of the patches", net.cls_token is not None
              and net.num_prefix_tokens == 1 and getattr(net, "reg_token", None) is None),
             ("the class token as the feature", net.global_pool == "token"),
             ("a position embedding of all tokens", net.pos_embed is not None and not net.no_embed_class),
             ("no norm in front of the blocks", _identity(net.norm_pre)),
             ("no norm of the feature", _identity(net.fc_norm) and not isinstance(net.norm, nn.Identity)),
             ("no dropout", all(_identity(m) for m in (net.pos_drop, net.patch_drop, net.head_drop)))]
    for i, block in enumerate(net.blocks):
        if type(block) is not TimmBlock:
            raise JobError(f"attention: block {i} is a {type(block).__name__}")
        a = block.attn
        parts += [(f"no layer scale in block {i}", _identity(block.ls1) and _identity(block.ls2)),
                  (f"no drop path in block {i}", _identity(block.drop_path1) and _identity(block.drop_path2)),
                  (f"plain attention in block {i}", _identity(a.q_norm) and _identity(a.k_norm) and
                   _identity(getattr(a, "norm", nn.Identity())) and _identity(a.attn_drop) and _identity(a.proj_drop))]
    if missing := [what for what, there in parts if not there]:
        raise JobError("attention can only be exported of a network with " + ", ".join(missing))
    exposed = AttentionViT(net).eval()
    exposed.num_classes, exposed.get_classifier = net.num_classes, net.get_classifier
    with torch.no_grad():
        x = torch.rand(2, *size)
        want, (got, _) = net(x), exposed(x)
    if not torch.allclose(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max())):
        raise JobError(f"attention: the logits with maps differ by {float((got - want).abs().max()):.2g} from the network's")
    rows, columns = net.patch_embed.patch_size
    if rows != columns:
        raise JobError(f"attention: patches of {rows}x{columns} pixels are not square")
    return exposed, {"layers": len(net.blocks), "heads": exposed.blocks[0].attn.num_heads,
                     "prefix": net.num_prefix_tokens, "patch": rows}
