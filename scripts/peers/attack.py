#!/usr/bin/env python3
"""The peer of `sat bench attack` and `sat bench transfer`: an eager timm network in float32.

    python scripts/peers/attack.py --model resnet18 --work attack --size 224 --batch 8 --threads 1

Reads lines with a number of steps from standard input. For each it runs torchattacks' PGD with so many steps (work
attack), or so many forward passes without gradients, with predictions (work transfer), and answers with the seconds that
took, the processor time of this process, and its peak resident memory in KiB. So the caller can interleave its own
measurements with these.
"""
import argparse
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--work", choices=["attack", "transfer"], required=True)
    p.add_argument("--size", type=int, required=True)
    p.add_argument("--batch", type=int, required=True)
    p.add_argument("--threads", type=int, required=True)
    p.add_argument("--epsilon", type=float, default=8 / 255)
    p.add_argument("--step-size", type=float, default=0.1)
    args = p.parse_args()

    import timm
    import torch
    import torchattacks
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    net = timm.create_model(args.model, pretrained=False).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)  # as a careful user does; it halves the backward pass
    mean, std = (torch.tensor(net.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    attack = torchattacks.PGD(net, eps=args.epsilon, alpha=args.step_size, random_start=False)
    attack.set_normalization_used(mean=net.pretrained_cfg["mean"], std=net.pretrained_cfg["std"])
    attack.set_model_training_mode(False, False, False)
    x = torch.rand(args.batch, 3, args.size, args.size)
    labels = torch.randint(0, 1000, (args.batch,))
    inputs = (x - mean) / std

    def work(steps):
        if args.work == "attack":
            attack.steps = steps
            attack(inputs, labels)
            return
        with torch.no_grad():
            for _ in range(steps):
                net((x - mean) / std).argmax(1)

    print("ready", torchattacks.__version__, torch.__version__, flush=True)
    for line in sys.stdin:
        started, cpu = time.perf_counter(), time.process_time()
        work(int(line))
        print(time.perf_counter() - started, time.process_time() - cpu,
              resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)


if __name__ == "__main__":
    main()
