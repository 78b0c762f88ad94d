"""Distilled students that return the logits of both of their classifiers.

timm's distilled transformers return a pair in eager mode while they train, but their average once they are scripted, so the
distillation head could not be trained. Here the network's own forward is replaced by one that always returns (class head,
distillation head), both [N,K]; tensors, names and initialisation rules stay what they are. The average of the two is what
timm returns in eval mode.
"""
from typing import Tuple

import torch

from .build import JobError


def both_heads(net, size):
    """The network with a pair of logits as output; refused for networks without a class and a distillation token."""
    from timm.models.deit import VisionTransformerDistilled
    if type(net) is not VisionTransformerDistilled:
        raise JobError("heads = 2 is for timm's distilled vision transformers (deit_*_distilled_*), "
                       f"not for {type(net).__name__}")

    class TwoHeads(VisionTransformerDistilled):
        def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
            f = self.forward_features(x)
            return self.head(self.head_drop(f[:, 0])), self.head_dist(self.head_drop(f[:, 1]))

    with torch.no_grad():
        x = torch.rand(2, *size)
        want = net(x)
        net.__class__ = TwoHeads
        ours, theirs = net(x)
    if not torch.equal((ours + theirs) / 2, want):
        raise JobError("heads = 2: the average of the two classifiers is not what the network returns")
    return net
