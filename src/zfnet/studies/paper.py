"""The numbers of Zeiler & Fergus (2013) that studies print beside their own: each once, with table and row.

CORRESPONDENCE["nose"]["layer 7"]  # (0.069, 0.011)
"""

# Table 1, rows by occlusion location: mean and standard deviation of the feature sign change, five dog images
CORRESPONDENCE = {
    "right_eye": {"layer 5": (0.067, 0.007), "layer 7": (0.069, 0.015)},
    "left_eye": {"layer 5": (0.069, 0.007), "layer 7": (0.068, 0.013)},
    "nose": {"layer 5": (0.079, 0.017), "layer 7": (0.069, 0.011)},
    "random": {"layer 5": (0.107, 0.017), "layer 7": (0.073, 0.014)},
}
