# mypy: ignore-errors
"""Networks of today's mobile models in PyTorch, random weights, exported to ONNX by both of PyTorch's exporters.

Usage: torch_networks.py FOLDER. Runs in the environment that `scripts/side-environment torch` makes; knows nothing of
edgekit. For each network it writes <name>-torchscript.onnx and <name>-dynamo.onnx, each with an .npz of inputs
("input:<place>") and PyTorch's own answers ("output:<place>").
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(
    inputs: int, outputs: int, kernel: int, activation: nn.Module, *, stride: int = 1, groups: int = 1
) -> nn.Module:
    """Convolution, BatchNorm, activation."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), activation)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int, inner: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.inner, self.gate = inner, gate

    def forward(self, x: Tensor) -> Tensor:
        mean = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.expand(self.inner(self.reduce(mean))))


class InvertedResidual(nn.Module):
    def __init__(
        self, sizes: tuple[int, int, int], kernel: int, stride: int, *, act: nn.Module, se: nn.Module | None
    ) -> None:
        super().__init__()
        inputs, hidden, outputs = sizes
        layers = [conv(inputs, hidden, 1, act)] if hidden != inputs else []
        layers.append(conv(hidden, hidden, kernel, act, stride=stride, groups=hidden))
        layers += [se] if se else []
        layers.append(conv(hidden, outputs, 1, nn.Identity()))
        self.body, self.is_residual = nn.Sequential(*layers), stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.is_residual else self.body(x)


class MobileNetV3(nn.Module):
    """MobileNetV3-Small (Howard et al. 2019, table 2)."""

    ROWS = (
        (3, 16, 16, True, "relu", 2), (3, 72, 24, False, "relu", 2), (3, 88, 24, False, "relu", 1),
        (5, 96, 40, True, "swish", 2), (5, 240, 40, True, "swish", 1), (5, 240, 40, True, "swish", 1),
        (5, 120, 48, True, "swish", 1), (5, 144, 48, True, "swish", 1), (5, 288, 96, True, "swish", 2),
        (5, 576, 96, True, "swish", 1), (5, 576, 96, True, "swish", 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        blocks, inputs = [conv(3, 16, 3, nn.Hardswish(), stride=2)], 16
        for kernel, hidden, outputs, excites, act, stride in self.ROWS:
            se = SqueezeExcite(hidden, hidden // 4, nn.ReLU(), nn.Hardsigmoid()) if excites else None
            activation = nn.ReLU() if act == "relu" else nn.Hardswish()
            blocks.append(InvertedResidual((inputs, hidden, outputs), kernel, stride, act=activation, se=se))
            inputs = outputs
        blocks.append(conv(96, 576, 1, nn.Hardswish()))
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Linear(576, 128), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class EfficientNet(nn.Module):
    """EfficientNet-B0 (Tan and Le 2019, table 1)."""

    STAGES = (
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        blocks, inputs = [conv(3, 32, 3, nn.SiLU(), stride=2)], 32
        for expansion, kernel, first_stride, outputs, repeats in self.STAGES:
            for repeat in range(repeats):
                hidden = inputs * expansion
                se = SqueezeExcite(hidden, max(1, inputs // 4), nn.SiLU(), nn.Sigmoid())
                stride = first_stride if repeat == 0 else 1
                blocks.append(InvertedResidual((inputs, hidden, outputs), kernel, stride, act=nn.SiLU(), se=se))
                inputs = outputs
        blocks.append(conv(320, 1280, 1, nn.SiLU()))
        self.features, self.classifier = nn.Sequential(*blocks), nn.Linear(1280, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class CrossStage(nn.Module):
    """Split, a bottleneck on one half, concatenation: the block of the newer YOLOs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter, self.leave = conv(channels, channels, 1, nn.SiLU()), conv(channels + half, channels, 1, nn.SiLU())
        self.bottleneck = nn.Sequential(conv(half, half, 3, nn.SiLU()), conv(half, half, 3, nn.SiLU()))

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = self.enter(x).chunk(2, 1)
        return self.leave(torch.cat((kept, worked, worked + self.bottleneck(worked)), 1))


class Yolo(nn.Module):
    """A detector with a feature pyramid: pooled context, Resize and Concat on the way up, two scales of boxes."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, nn.SiLU(), stride=2), conv(16, 32, 3, nn.SiLU(), stride=2))
        self.fine, self.down = CrossStage(32), conv(32, 64, 3, nn.SiLU(), stride=2)
        self.context = conv(128, 64, 1, nn.SiLU())
        self.merge = conv(96, 32, 1, nn.SiLU())
        self.heads = nn.ModuleList([nn.Conv2d(32, 5 + classes, 1), nn.Conv2d(64, 5 + classes, 1)])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(self.stem(image))
        coarse = self.down(fine)
        coarse = self.context(torch.cat((coarse, functional.max_pool2d(coarse, 5, 1, 2)), 1))
        fine = self.merge(torch.cat((functional.interpolate(coarse, scale_factor=2.0, mode="nearest"), fine), 1))
        maps = [head(x).flatten(2) for head, x in zip(self.heads, (fine, coarse), strict=True)]
        predictions = torch.cat(maps, 2).transpose(1, 2)
        return predictions[..., :4], predictions[..., 4:].sigmoid()


class UNet(nn.Module):
    """Down twice, up once by ConvTranspose and once by bilinear interpolation, with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv(3, 16, 3, nn.ReLU()), conv(16, 32, 3, nn.ReLU())
        self.bottom = conv(32, 64, 3, nn.LeakyReLU(0.1))
        self.up = nn.ConvTranspose2d(64, 32, 2, stride=2)
        self.after = conv(64, 32, 3, nn.PReLU(32))
        self.last = nn.Sequential(conv(48, 16, 3, nn.ReLU()), nn.InstanceNorm2d(16, affine=True), nn.Conv2d(16, 4, 1))

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image)
        second = self.second(functional.max_pool2d(first, 2))
        up = self.after(torch.cat((self.up(self.bottom(functional.max_pool2d(second, 2))), second), 1))
        wide = functional.interpolate(up, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.last(torch.cat((wide, first), 1)).softmax(1)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        weights = (query @ key.transpose(-2, -1) * self.scale).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).reshape(batch, tokens, width))


class Encoder(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class ViT(nn.Module):
    """A small vision transformer with a class token (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*[Encoder(width, 3) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.token.expand(len(patches), -1, -1), patches), 1) + self.positions
        return self.head(self.norm(self.blocks(tokens))[:, 0])


class Recurrent(nn.Module):
    """Two layers over audio frames, the first in both directions."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.first = kind(12, 16, batch_first=True, bidirectional=True)
        self.second = kind(32, 24, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.second(self.first(frames)[0])[0][:, -1]).softmax(-1)


class TwoInThreeOut(nn.Module):
    """An image and token ids in; classes, a box and an embedding out."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 16, 3, nn.ReLU6(), stride=2), conv(16, 24, 3, nn.ReLU6(), stride=2))
        self.words = nn.Embedding(50, 24)
        self.classes, self.box, self.embedding = nn.Linear(48, 7), nn.Linear(48, 4), nn.Linear(48, 8)

    def forward(self, image: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joined = torch.cat((self.features(image).mean((2, 3)), self.words(tokens).mean(1)), 1)
        return self.classes(joined).softmax(-1), self.box(joined), functional.normalize(self.embedding(joined), dim=1)


IMAGE = {"image": (3, 64, 64)}
FRAMES = {"frames": (20, 12)}
NETWORKS = {
    "mobilenet_v3": (MobileNetV3, IMAGE, ("scores",)),
    "efficientnet_b0": (EfficientNet, IMAGE, ("scores",)),
    "yolo": (Yolo, IMAGE, ("boxes", "scores")),
    "unet": (UNet, {"image": (3, 32, 32)}, ("classes",)),
    "vit": (ViT, {"image": (3, 32, 32)}, ("scores",)),
    "lstm": (lambda: Recurrent(nn.LSTM), FRAMES, ("scores",)),
    "gru": (lambda: Recurrent(nn.GRU), FRAMES, ("scores",)),
    "two_in_three_out": (TwoInThreeOut, {"image": (3, 32, 32), "tokens": (6,)}, ("classes", "box", "features")),
}
SAMPLES = 2


def randomise(network: nn.Module) -> None:
    """Statistics as training leaves them: a BatchNorm that does nothing would hide a mistake."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.3, 0.3)


def inputs_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Samples for each input; token ids for an input of that name."""
    return {
        name: torch.randint(0, 50, (SAMPLES, *shape)) if name == "tokens" else torch.randn(SAMPLES, *shape)
        for name, shape in shapes.items()
    }


def export(name: str, folder: Path) -> None:
    """Write one network by both exporters, with its answers."""
    make, shapes, outputs = NETWORKS[name]
    torch.manual_seed(0)
    network = make().eval()
    randomise(network)
    samples = inputs_of(shapes)
    with torch.no_grad():
        answers = network(*samples.values())
    answers = answers if isinstance(answers, tuple) else (answers,)
    given = {f"input:{i}": value.numpy() for i, value in enumerate(samples.values())}
    wanted = {f"output:{i}": value.numpy() for i, value in enumerate(answers)}
    one = tuple(value[:1] for value in samples.values())
    for exporter in ("torchscript", "dynamo"):
        np.savez(folder / f"{name}-{exporter}.npz", **given, **wanted)
        torch.onnx.export(
            network,
            one,
            str(folder / f"{name}-{exporter}.onnx"),
            input_names=list(shapes),
            output_names=list(outputs),
            dynamo=exporter == "dynamo",
            verbose=False,
        )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for each in NETWORKS:
        export(each, Path(sys.argv[1]))
