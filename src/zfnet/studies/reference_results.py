"""The results of Zeiler & Fergus (2013, arXiv:1311.2901v3) that ours are compared with.

    CORRESPONDENCE["nose"]["layer 7"]           # (0.069, 0.011)
    ABLATIONS["zfnet", "wide_3_4_5"].val_top1   # 37.5

Errors, accuracies and average precisions are in per cent. A pair is a mean and its standard
deviation, None where the paper gives none. The keys of rows are the config's choices, for example
(model, ablation).
"""

from typing import NamedTuple

Pair = tuple[float, float | None]

# Table 1: sign change of the features by masked part, mean and deviation over five dog images
CORRESPONDENCE = {
    "right_eye": {"layer 5": (0.067, 0.007), "layer 7": (0.069, 0.015)},
    "left_eye": {"layer 5": (0.069, 0.007), "layer 7": (0.068, 0.013)},
    "nose": {"layer 5": (0.079, 0.017), "layer 7": (0.069, 0.011)},
    "random": {"layer 5": (0.107, 0.017), "layer 7": (0.073, 0.014)},
}


class Errors(NamedTuple):
    """A row of Table 2: errors on ImageNet 2012."""

    name: str
    val_top1: float
    val_top5: float
    test_top5: float | None


# Table 2; the first four rows are of Krizhevsky et al. (2012), * trained on the ImageNet 2011 too
OTHERS_ON_IMAGENET = (
    Errors("Krizhevsky et al., 1 convnet", 40.7, 18.2, None),
    Errors("Krizhevsky et al., 5 convnets", 38.1, 16.4, 16.4),
    Errors("Krizhevsky et al.*, 1 convnet", 39.0, 16.6, None),
    Errors("Krizhevsky et al.*, 7 convnets", 36.7, 15.4, 15.3),
)
IMAGENET = {
    "alexnet": Errors("our replication of Krizhevsky et al., 1 convnet", 40.5, 18.1, None),
    "zfnet": Errors("1 convnet as per Fig. 3", 38.4, 16.5, None),
    "zfnets": Errors("5 convnets as per Fig. 3 (a)", 36.7, 15.3, 15.3),
    "wide": Errors(
        "1 convnet as per Fig. 3 but with layers 3,4,5: 512,1024,512 maps (b)", 37.5, 16.0, 16.1
    ),
    "zfnets and wide": Errors("6 convnets, (a) & (b) combined", 36.0, 14.7, 14.8),
}


class Ablation(NamedTuple):
    """A row of Table 3: errors on ImageNet 2012."""

    name: str
    train_top1: float
    val_top1: float
    val_top5: float


# Table 3: the upper half edits the net of Krizhevsky et al., the lower that of Figure 3
ABLATIONS = {
    ("alexnet", "none"): Ablation(
        "our replication of Krizhevsky et al., 1 convnet", 35.1, 40.5, 18.1
    ),
    ("alexnet", "remove_3_4"): Ablation("removed layers 3,4", 41.8, 45.4, 22.1),
    ("alexnet", "remove_7"): Ablation("removed layer 7", 27.4, 40.0, 18.4),
    ("alexnet", "remove_6_7"): Ablation("removed layers 6,7", 27.4, 44.8, 22.4),
    ("alexnet", "remove_3_4_6_7"): Ablation("removed layers 3,4,6,7", 71.1, 71.3, 50.1),
    ("alexnet", "fc_2048"): Ablation("adjust layers 6,7: 2048 units", 40.3, 41.7, 18.8),
    ("alexnet", "fc_8192"): Ablation("adjust layers 6,7: 8192 units", 26.8, 40.0, 18.1),
    ("zfnet", "none"): Ablation("our model (as per Fig. 3)", 33.1, 38.4, 16.5),
    ("zfnet", "fc_2048"): Ablation("adjust layers 6,7: 2048 units", 38.2, 40.2, 17.6),
    ("zfnet", "fc_8192"): Ablation("adjust layers 6,7: 8192 units", 22.0, 38.8, 17.0),
    ("zfnet", "wide_3_4_5"): Ablation("adjust layers 3,4,5: 512,1024,512 maps", 18.8, 37.5, 16.0),
    ("zfnet", "wide_3_4_5_fc_8192"): Ablation(
        "adjust layers 6,7: 8192 units and layers 3,4,5: 512,1024,512 maps", 10.0, 38.3, 16.9
    ),
}

# Tables 4 and 5: mean accuracy per class by training images per class; scratch and frozen as
# transfer=
CALTECH_101: dict[str, dict[int, Pair]] = {
    "Bo et al. (2013)": {30: (81.4, 0.33)},
    "Yang et al. (2009)": {15: (73.2, None), 30: (84.3, None)},
    "scratch": {15: (22.8, 1.5), 30: (46.5, 1.7)},
    "frozen": {15: (83.8, 0.5), 30: (86.5, 0.5)},
}
CALTECH_256: dict[str, dict[int, Pair]] = {
    "Sohn et al. (2011)": {15: (35.1, None), 30: (42.1, None), 45: (45.7, None), 60: (47.9, None)},
    "Bo et al. (2013)": {15: (40.5, 0.4), 30: (48.0, 0.2), 45: (51.9, 0.2), 60: (55.2, 0.3)},
    "scratch": {15: (9.0, 1.4), 30: (22.5, 0.7), 45: (31.2, 0.5), 60: (38.8, 1.4)},
    "frozen": {15: (65.7, 0.2), 30: (70.6, 0.2), 45: (72.7, 0.4), 60: (74.2, 0.3)},
}


# Table 6, by the class names of VOC's files: the paper's class name and average precision. Of the
# two other methods, the means only.
VOC_2012 = {
    "aeroplane": ("airplane", 96.0),
    "bicycle": ("bicycle", 77.1),
    "bird": ("bird", 88.4),
    "boat": ("boat", 85.5),
    "bottle": ("bottle", 55.8),
    "bus": ("bus", 85.8),
    "car": ("car", 78.6),
    "cat": ("cat", 91.2),
    "chair": ("chair", 65.0),
    "cow": ("cow", 74.4),
    "diningtable": ("dining table", 67.7),
    "dog": ("dog", 87.8),
    "horse": ("horse", 86.0),
    "motorbike": ("motorbike", 85.1),
    "person": ("person", 90.9),
    "pottedplant": ("potted plant", 52.2),
    "sheep": ("sheep", 83.6),
    "sofa": ("sofa", 61.1),
    "train": ("train", 91.8),
    "tvmonitor": ("tv", 76.1),
}
VOC_2012_MEANS = {"Sande et al.": 74.3, "Yan et al.": 82.2, "mean": 79.0}

# Table 7, by head and number of layers: accuracy on Caltech-101 at 30 images per class, and on
# Caltech-256 at 60
LAYERS: dict[tuple[str, int], tuple[Pair, Pair]] = {
    ("svm", 1): ((44.8, 0.7), (24.6, 0.4)),
    ("svm", 2): ((66.2, 0.5), (39.6, 0.3)),
    ("svm", 3): ((72.3, 0.4), (46.0, 0.3)),
    ("svm", 4): ((76.6, 0.4), (51.3, 0.1)),
    ("svm", 5): ((86.2, 0.8), (65.6, 0.3)),
    ("svm", 7): ((85.5, 0.4), (71.7, 0.2)),
    ("softmax", 5): ((82.9, 0.4), (65.7, 0.5)),
    ("softmax", 7): ((85.4, 0.4), (72.6, 0.1)),
}
