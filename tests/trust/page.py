"""The tables of docs/trust.md, and what "fails" means there.

    verdict(numbers)                # [] or reasons, from the numbers of one layer
    write_tables(page, rows)        # between the two marks of the page

A projection fails at a layer where its energy on the object is not above that of random weights, or
is below that of the gradient, by more than the noise of the difference; or where its mean cosine
with the unit's projection from another image is above SAME. The noise is two standard errors.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

MARKS = "<!-- tables of make trust -->", "<!-- end of the tables -->"
SAME = 0.9
METHODS = {
    "deconvnet": "deconvnet",
    "guided": "guided",
    "gradient": "gradient",
    "gradient x input": "gradient x input",
    "occlusion": "occlusion",
}
NONE = "–"  # a projection is 0 everywhere
CHANGES = ("shuffled weights", "other unit", "other image")


def mean(values: Sequence[Any]) -> float:
    """The mean of all numbers of a list, or of lists of one length, without NaN."""
    return torch.tensor(values, dtype=torch.float64).nanmean().item()


def random_weights(numbers: dict[str, Any], measure: str = "energy") -> list[list[float]]:
    """What the networks with random weights reach: a list for each of them."""
    return [each for name, each in numbers[measure].items() if name.startswith("random")]


def above_random(numbers: dict[str, Any]) -> tuple[float, float]:
    """How much more energy is on the object than with random weights, and its noise."""
    own = torch.tensor(numbers["energy"]["deconvnet"], dtype=torch.float64)
    random = torch.tensor(random_weights(numbers), dtype=torch.float64)
    difference, noise = _paired(own, random.nanmean(0))
    between = random.nanmean(1).std().item() / math.sqrt(len(random))
    return difference, math.hypot(noise, 2 * between)


def above_gradient(numbers: dict[str, Any]) -> tuple[float, float]:
    """How much more energy is on the object than the gradient has there, and its noise."""
    own, gradient = (
        torch.tensor(numbers["energy"][name], dtype=torch.float64)
        for name in ("deconvnet", "gradient")
    )
    return _paired(own, gradient)


def _paired(a: torch.Tensor, b: torch.Tensor) -> tuple[float, float]:
    """The mean difference, and two standard errors; NaN if all values of one are NaN."""
    difference = (a - b)[(a - b).isfinite()]
    if not len(difference):
        return math.nan, math.nan
    return difference.mean().item(), 2 * difference.std().item() / math.sqrt(len(difference))


def verdict(numbers: dict[str, Any]) -> list[str]:
    """Why projections of a layer fail; [] where they do not."""
    reasons = []
    more, noise = above_random(numbers)
    if more <= noise:
        reasons.append("random weights do as well")
    more, noise = above_gradient(numbers)
    if -more > noise:
        reasons.append("the gradient does better")
    if mean(numbers["similarity"]["deconvnet"]["other image"]["cosine"]) > SAME:
        reasons.append("the same for every image")
    return reasons


def _percent(value: float) -> str:
    return f"{100 * value:.0f}" if math.isfinite(value) else NONE


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else NONE


def _signed(difference: tuple[float, float]) -> str:
    if not math.isfinite(difference[0]):
        return NONE
    return f"{100 * difference[0]:+.0f} ± {100 * difference[1]:.0f}".replace("-", "−")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), f"|{'---|' * len(cells)}"]


def localization_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Energy and pointing game, a line for each layer of each network."""
    lines = _head(["network", "layer", *METHODS.values(), "random weights", "area"])
    for row in rows:
        for numbers in row["layers"]:
            pairs = [(numbers["energy"][name], numbers["pointing"][name]) for name in METHODS]
            pairs.append((random_weights(numbers), random_weights(numbers, "pointing")))
            cells = [f"{_percent(mean(e))} / {_percent(mean(p))}" for e, p in pairs]
            names = row["name"], f"`{numbers['layer']}`"
            lines.append(_row([*names, *cells, _percent(mean(numbers["area"]))]))
    return lines


def verdict_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Why projections fail, a line for each layer of each network."""
    lines = _head(["network", "layer", "− random weights", "− gradient", "fails"])
    for row in rows:
        for numbers in row["layers"]:
            more = _signed(above_random(numbers)), _signed(above_gradient(numbers))
            names = row["name"], f"`{numbers['layer']}`"
            lines.append(_row([*names, *more, ", ".join(verdict(numbers))]))
    return lines


def network_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The networks and their validation errors."""
    lines = _head(["network", "family", "error"])
    for row in rows:
        wrong = "" if row["error"] is None else _percent(row["error"])
        lines.append(_row([row["name"], row["family"], wrong]))
    return lines


def similarity_table(rows: Sequence[dict[str, Any]], change: str) -> list[str]:
    """Cosine and rank correlation with the original, a line for each layer of each network."""
    methods = list(METHODS)[:-1]  # occlusion has no sign
    lines = _head(["network", "layer", *methods])
    for row in rows:
        for numbers in row["layers"]:
            found = [numbers["similarity"][name][change] for name in methods]
            pairs = [(mean(each["cosine"]), mean(each["rank"])) for each in found]
            cells = [f"{_number(cosine)} / {_number(rank)}" for cosine, rank in pairs]
            lines.append(_row([row["name"], f"`{numbers['layer']}`", *cells]))
    return lines


def path_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What is on the path from each layer to the pixels."""
    lines = _head(["network", "layer", "extended rules", "switches", "sees all of the image"])
    for row in rows:
        for numbers in row["layers"]:
            rules = ", ".join(f"{name} x {n}" for name, n in sorted(numbers["rules"].items()))
            answers = ("yes" if numbers[key] else "no" for key in ("switched", "sees_all"))
            lines.append(_row([row["name"], f"`{numbers['layer']}`", rules, *answers]))
    return lines


def write_tables(page: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Replaces what stands between MARKS.

    Args:
        page: docs/trust.md.
        rows: the measured networks, in order.
    """
    before, _, rest = page.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    parts = ["### Networks", "", *network_table(rows), ""]
    parts += ["### Energy on the object / pointing game, in %", "", *localization_table(rows), ""]
    parts += ["### Energy of the projection beyond its rivals', in %", "", *verdict_table(rows), ""]
    for change in CHANGES:
        title = f"### Cosine / rank correlation with the original: {change}"
        parts += [title, "", *similarity_table(rows, change), ""]
    parts += ["### On the path from the layer to the pixels", "", *path_table(rows), ""]
    body = "\n".join(parts)
    page.write_text(f"{before}{MARKS[0]}\n\n{body}\n{MARKS[1]}{after}")
