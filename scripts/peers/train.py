#!/usr/bin/env python3
"""The peer of `sat bench train`: a training loop on an eager timm network, as timm's own script runs it on one device.

    python scripts/peers/train.py --model resnet18 --weights initial.pt --batches DIR --opt sgd --lr 1e-3 \
        --weight-decay 0.05 --smoothing 0.1 --precision float32 --threads 2 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5

Reads lines with a number of updates from standard input. For each it makes so many updates and answers with the seconds
that took, the processor time of this process, its peak resident memory in KiB, and the loss of the last update. So the
caller can interleave its own measurements with these, and see that both train alike.

Both start from the weights of a TorchScript file and see the same batches (DIR/images.npy, uint8 [B,N,H,W,3], and
DIR/labels.npy, int64 [B,N]), over and over. An update is what the native loop does: bytes to float, normalisation, forward
pass, label-smoothing cross-entropy, backward pass, a fused step of the optimiser, and the loss read back to be logged. In
bfloat16 the forward pass runs under autocast. With a teacher (its eager network and weights) the network returns two
heads, and half of the loss is the cross-entropy of the second one with the teacher's class, as DeiT distils.
"""
import argparse
import contextlib
import pathlib
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")


def load(name, weights):
    """The eager network of that name with the weights of a TorchScript file."""
    import timm
    import torch
    net = timm.create_model(name, pretrained=False)
    state = torch.jit.load(weights).state_dict()
    names = set(net.state_dict())
    if not names <= set(state):  # the exporter may have put the network into another one
        state = {key.split(".", 1)[1]: value for key, value in state.items() if "." in key}
    net.load_state_dict({key: value for key, value in state.items() if key in names}, strict=True)
    return net


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--weights", required=True)
    p.add_argument("--batches", type=pathlib.Path, required=True)
    p.add_argument("--opt", choices=["sgd", "adamw"], required=True)
    p.add_argument("--lr", type=float, required=True)
    p.add_argument("--weight-decay", type=float, required=True)
    p.add_argument("--smoothing", type=float, required=True)
    p.add_argument("--precision", choices=["float32", "bfloat16"], required=True)
    p.add_argument("--threads", type=int, required=True)
    p.add_argument("--mean", required=True)
    p.add_argument("--std", required=True)
    p.add_argument("--teacher", default="")
    p.add_argument("--teacher-weights", default="")
    args = p.parse_args()

    import numpy as np
    import torch
    from timm.optim import param_groups_weight_decay
    from torch.nn import functional
    torch.set_num_threads(args.threads)
    images, labels = (torch.from_numpy(np.load(args.batches / f"{part}.npy")) for part in ("images", "labels"))
    net = load(args.model, args.weights).train()
    teacher = None
    if args.teacher:
        net.set_distilled_training(True)
        teacher = load(args.teacher, args.teacher_weights).eval()
    groups = param_groups_weight_decay(net, args.weight_decay, no_weight_decay_list=("pos_embed", "cls_token"))
    if args.opt == "sgd":
        optimizer = torch.optim.SGD(groups, lr=args.lr, momentum=0.9, fused=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=args.lr, fused=True)
    mean, std = (torch.tensor([float(v) for v in text.split(",")])[:, None, None] for text in (args.mean, args.std))
    autocast = contextlib.nullcontext
    if args.precision == "bfloat16":
        autocast = lambda: torch.autocast("cpu", torch.bfloat16)

    done = 0

    def update():
        nonlocal done
        batch, target = images[done % len(images)], labels[done % len(labels)]
        done += 1
        x = (batch.permute(0, 3, 1, 2).float().div(255) - mean) / std
        with autocast():
            output = net(x)
            if teacher is None:
                loss = functional.cross_entropy(output.float(), target, label_smoothing=args.smoothing)
            else:
                with torch.no_grad(), torch.autocast("cpu", enabled=False):
                    chosen = teacher(x).argmax(1)
                task = functional.cross_entropy(output[0].float(), target, label_smoothing=args.smoothing)
                loss = 0.5 * task + 0.5 * functional.cross_entropy(output[1].float(), chosen)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    print("ready", torch.__version__, flush=True)
    for line in sys.stdin:
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            loss = update()
        print(time.perf_counter() - started, time.process_time() - cpu,
              resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, loss, flush=True)


if __name__ == "__main__":
    main()
