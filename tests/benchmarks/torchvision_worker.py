"""torchvision's Faster R-CNN with VGG16 as a process that runs what it is told; `torchvision_peer.py` starts it.

It runs in an environment of its own and imports nothing of the packages of this project.
"""

import json
import os
import sys
from collections import OrderedDict
from collections.abc import Callable

import torch
import torchvision
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from workers import random_blocks, serve


def detector(settings: dict) -> FasterRCNN:
    """VGG16 up to conv5_3, one feature map, the paper's anchors and counts, as this project has them."""
    backbone = torchvision.models.vgg16(weights=None).features[:-1]
    backbone.out_channels = 512
    for index, layer in enumerate(backbone):
        if index < 10:  # the first two blocks are fixed (Girshick 2015, section 4.5)
            layer.requires_grad_(False)
    height, width = settings["size"]
    model = FasterRCNN(
        backbone,
        min_size=min(height, width),
        max_size=max(height, width),
        rpn_anchor_generator=AnchorGenerator(((128, 256, 512),), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=12000,
        rpn_pre_nms_top_n_test=6000,
        rpn_post_nms_top_n_train=2000,
        rpn_post_nms_top_n_test=300,
        rpn_batch_size_per_image=256,
        box_roi_pool=torchvision.ops.MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(512 * 7 * 7, settings["fc_units"]),
        box_predictor=FastRCNNPredictor(settings["fc_units"], settings["classes"] + 1),
        box_score_thresh=0.05,
        box_nms_thresh=0.3,
        box_batch_size_per_image=128,
        box_fg_iou_thresh=0.5,
        box_bg_iou_thresh=0.5,
        box_positive_fraction=0.25,
    )
    if settings["channels_last"]:
        model = model.to(memory_format=torch.channels_last)
    return model


def spread(model: FasterRCNN, images: list[torch.Tensor]) -> None:
    """Scale the two layers of scores so that their logits have a standard deviation of 2, as the other side does."""
    logits = {}

    def keep(name: str) -> Callable:
        return lambda _module, _inputs, output: logits.update({name: output})

    for name, layer in (("rpn", model.rpn.head.cls_logits), ("head", model.roi_heads.box_predictor.cls_score)):
        hook = layer.register_forward_hook(keep(name))
        with torch.inference_mode():
            model(images)
        hook.remove()
        layer.weight.data.mul_(2.0 / logits[name].std())


def functions(settings: dict) -> dict[str, Callable[[], object]]:
    """What this process can run, by name."""
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    height, width = settings["size"]
    model = detector(settings)
    image = torch.from_numpy(random_blocks(height, width)).permute(2, 0, 1).contiguous() / 255
    boxes = torch.tensor(settings["boxes"])
    target = {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64)}
    if settings["what"] == "infer":
        model.eval()
        spread(model, [image])
    solver = torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=1e-12, momentum=0.9, weight_decay=0.0005,
    )  # fmt: skip
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=settings["precision"] == "bfloat16")

    def infer() -> None:
        model.eval()
        with torch.inference_mode(), autocast:
            model([image])

    def train() -> None:
        model.train()
        with autocast:
            losses: OrderedDict = model([image], [target])
            total = sum(losses.values())
        solver.zero_grad()
        total.backward()
        solver.step()

    return {"infer": infer, "train": train}


def main() -> None:
    settings = json.loads(sys.argv[1])
    runs = functions(settings)
    serve({"torch": torch.__version__, "torchvision": torchvision.__version__}, lambda name: runs[name]())


if __name__ == "__main__":
    main()
