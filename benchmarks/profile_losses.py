"""Where the time of one ranking loss goes on a CPU: each operation's own time, mean of five calls.

    python benchmarks/profile_losses.py

Legend: B rows, D embedding.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize
from torch.profiler import ProfilerActivity, profile

from shelfmark.losses import PNP

NUM_ROWS, DIM, IMAGES_PER_CLASS = 4096, 512, 4
NUM_CALLS = 5


def main() -> None:
    torch.set_num_threads(2)
    embedding = normalize(torch.randn(NUM_ROWS, DIM)).requires_grad_()
    labels = torch.arange(NUM_ROWS // IMAGES_PER_CLASS).repeat_interleave(IMAGES_PER_CLASS)
    loss = PNP()
    for _ in range(3):
        loss(embedding, labels).backward()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(NUM_CALLS):
            loss(embedding, labels).backward()
    operations = sorted(profiler.key_averages(), key=lambda one: -one.self_cpu_time_total)
    total = sum(one.self_cpu_time_total for one in operations)
    for one in operations[:15]:
        own_ms = one.self_cpu_time_total / NUM_CALLS / 1000
        print(f"{one.key:28} {own_ms:8.1f} ms {one.self_cpu_time_total / total:6.1%} {one.count // NUM_CALLS:6} times")
    print(f"{'all':28} {total / NUM_CALLS / 1000:8.1f} ms")


if __name__ == "__main__":
    main()
