"""The workloads of `python -m ssl_jax.bench cpu` as a user of PyTorch would write them.

MAE is that of transformers and ResNet-50 that of timm, with memory in `channels_last`, fused
optimizers and PyTorch's own attention; views are kornia's. Images are on the device and normalised
already: unlike ours, these training steps include no augmentation. `torch.compile` brings MAE less
than a hundredth on a CPU, and is not used. The protocol is that of `ssl_jax.benchmarks.worker`.
"""

import importlib.metadata
import json
import resource
import sys
import time

import torch


def prepare_mae():
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(image_size=120, patch_size=8, num_channels=4, norm_pix_loss=True)
    config._attn_implementation = "sdpa"
    model = ViTMAEForPreTraining(config).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    )
    images = torch.randn(16, 4, 120, 120)

    def step():
        optimizer.zero_grad(set_to_none=True)
        model(images).loss.backward()
        optimizer.step()

    return step, 16


def make_resnet():
    import timm

    model = timm.create_model("resnet50", in_chans=4, num_classes=0)
    return model.to(memory_format=torch.channels_last)


def prepare_simclr():
    backbone = make_resnet().train()
    projection = torch.nn.Sequential(
        torch.nn.Linear(2048, 2048, bias=False),
        torch.nn.BatchNorm1d(2048),
        torch.nn.ReLU(),
        torch.nn.Linear(2048, 128, bias=False),
        torch.nn.BatchNorm1d(128),
    )
    # PyTorch has no LARS; SGD does less.
    optimizer = torch.optim.SGD(
        [*backbone.parameters(), *projection.parameters()], lr=0.3, momentum=0.9, fused=True
    )
    images = torch.randn(32, 4, 120, 120).to(memory_format=torch.channels_last)
    targets = torch.arange(32).roll(16)

    def step():
        optimizer.zero_grad(set_to_none=True)
        embedding = torch.nn.functional.normalize(projection(backbone(images)))
        logits = embedding @ embedding.T / 0.1
        logits = logits - 1e9 * torch.eye(32)
        torch.nn.functional.cross_entropy(logits, targets).backward()
        optimizer.step()

    return step, 16


def prepare_features():
    model = make_resnet().eval()
    images = torch.rand(64, 4, 64, 64).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def extract():
        model(images)

    return extract, 64


def prepare_views():
    from kornia import augmentation

    views = augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((120, 120), (0.08, 1.0), resample="bicubic"),
        augmentation.RandomHorizontalFlip(),
        augmentation.RandomVerticalFlip(),
        augmentation.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        augmentation.RandomGrayscale(p=0.2),
        augmentation.RandomGaussianBlur((13, 13), (0.1, 2.0), p=0.5),
    )
    images = torch.rand(64, 3, 120, 120)

    @torch.inference_mode()
    def augment():
        views(images)

    return augment, 64


WORKLOADS = {
    "mae": prepare_mae,
    "simclr": prepare_simclr,
    "features": prepare_features,
    "views": prepare_views,
}


def define_missing_operators():
    """Let torchvision be imported where its compiled operators don't fit this PyTorch."""
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")


def main(name):
    define_missing_operators()
    torch.manual_seed(0)
    repeat, images = WORKLOADS[name]()
    for _ in range(2):
        repeat()
    packages = ("torch", "transformers", "timm", "kornia")
    versions = {package: importlib.metadata.version(package) for package in packages}
    print(json.dumps({"images": images, "versions": versions}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        repeat()
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_rss_bytes": peak}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
