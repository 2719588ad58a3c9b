"""The sections of the evaluation report, in their order: each a function of what was measured."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlpvis_jax.files.weights import count_parameters
from mlpvis_jax.inference.predictions import percent
from mlpvis_jax.pictures import (
    cluster_order,
    draw_class_accuracy,
    draw_confusion,
    draw_corruptions,
    draw_errors,
    draw_reliability,
    group_order,
    reliability,
    wilson_interval,
)
from mlpvis_jax.pictures.errors import MOST_CLASSES
from mlpvis_jax.pictures.learned import IMAGES, Learned
from mlpvis_jax.report.measured import Measured, images_of
from mlpvis_jax.report.page import Picture, Section, Table

_PAIRS = 15  # of classes that are confused, in the table
_ERRORS = 24  # images on the sheet
_BLOCKS = 4  # whose weights across tokens are drawn


def interval(correct: int, count: int) -> str:
    """Writes the 95% Wilson interval of a share, such as "46.7 to 48.7%"."""
    low, high = wilson_interval(np.asarray(correct), np.asarray(count))
    return f"{low * 100:.1f} to {high:.1%}"


def facts(measured: Measured) -> dict[str, str]:
    """Lists what stands large at the top of the report."""
    results, right = measured.results, measured.predictions.are_right
    found = {"test accuracy": percent(results["test_accuracy"])}
    found["95% interval"] = interval(int(right.sum()), len(right))
    if "test_top5_accuracy" in results:
        found["top-5 accuracy"] = percent(results["test_top5_accuracy"])
    found["loss, nats"] = f"{results['test_loss']:.3f}"
    found["calibration error"] = percent(reliability(measured.predictions.confidences, right).error)
    found["test images"] = f"{len(right):,}"
    found["classes"] = f"{len(measured.class_names):,}"
    found["parameters"] = f"{count_parameters(measured.tested.params):,}"
    return found


def confusions(measured: Measured) -> Section:
    """Shows which classes the model takes for which."""
    matrix, names = measured.matrix, measured.class_names
    groups = measured.superclasses
    if groups is not None:
        numbers = np.unique(groups, return_inverse=True)[1]
        order, ordered = group_order(numbers), "Classes of one superclass stand together."
    elif len(names) > 20:
        order, ordered = cluster_order(matrix), "Classes that are often confused stand together."
    else:
        order, ordered = np.arange(len(names)), ""
    caption = (
        "A row is a label, a column what the model takes its images for; the diagonal is right. "
        f"The colour is the share of the label's images, on a scale of square roots. {ordered}"
    )
    picture = Picture(
        "confusion", lambda: draw_confusion(matrix, names, order, groups), caption.strip()
    )
    astray = matrix * (1 - np.eye(len(names), dtype=matrix.dtype))
    counts = matrix.sum(axis=1)
    pairs = np.argsort(-astray, axis=None, kind="stable")[:_PAIRS]
    rows = [
        (names[label], names[taken], f"{count:,}", percent(count / counts[label]))
        for label, taken in (divmod(int(pair), len(names)) for pair in pairs)
        if (count := astray[label, taken])
    ]
    columns = ("label", "taken for", "#images", "#share of the label")
    table = Table(columns, rows, "The errors that are made most often.")
    return Section("Confusions", [picture, *([table] if rows else [])])


def classes(measured: Measured) -> Section:
    """Shows the accuracy of each class."""
    matrix, names = measured.matrix, measured.class_names
    correct, counts = matrix.diagonal(), matrix.sum(axis=1)
    caption = (
        "Accuracy of each class, with its 95% Wilson interval; the dashed line is the accuracy of "
        "all images. The fewer test images a class has, the wider is its interval."
    )
    if (counts > 0).sum() > MOST_CLASSES:
        half = MOST_CLASSES // 2
        caption += f" Only the {half} classes of the highest and of the lowest accuracy are drawn."
    picture = Picture(
        "class_accuracy", lambda: draw_class_accuracy(names, correct, counts), caption
    )
    order = np.lexsort((np.arange(len(names)), -correct / np.maximum(counts, 1)))
    rows = [_class_row(measured, matrix, int(label)) for label in order if counts[label]]
    columns = (
        "class",
        "#images",
        "#accuracy",
        "#95% interval",
        "#precision",
        "most often taken for",
    )
    table = Table(columns, rows, f"All {len(rows):,} classes as a table", is_closed=True)
    return Section("Accuracy of each class", [picture, table])


def _class_row(measured: Measured, matrix: np.ndarray, label: int) -> Sequence[str]:
    names, right, count = measured.class_names, int(matrix[label, label]), int(matrix[label].sum())
    others = matrix[label].copy()
    others[label] = 0
    other = int(others.argmax())
    said = int(matrix[:, label].sum())
    return (
        names[label],
        f"{count:,}",
        percent(right / count),
        interval(right, count),
        percent(right / said) if said else "none said",
        f"{names[other]} ({others[other]:,})" if others[other] else "",
    )


def superclass_accuracy(measured: Measured) -> Section | None:
    """Shows the accuracy on the coarse labels, where the data set has any."""
    if measured.superclasses is None:
        return None
    counts, correct, names = superclass_counts(measured)
    right, errors = int(correct.sum()), int((~measured.predictions.are_right).sum())
    within = right - int(measured.predictions.are_right.sum())
    text = (
        f"Of all images, {percent(right / counts.sum())} are given a class of the right superclass "
        f"(95% interval: {interval(right, int(counts.sum()))}). "
    )
    if errors:
        text += f"Of the errors, {percent(within / errors)} stay within the superclass."
    picture = Picture(
        "superclass_accuracy",
        lambda: draw_class_accuracy(names, correct, counts, "superclass"),
        "Share of the images of each superclass that are given any class of it.",
    )
    return Section("Coarse labels", [text, picture])


def superclass_counts(measured: Measured) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Counts the images of each superclass, and the right ones, int [superclasses]; and names."""
    assert measured.superclasses is not None
    names, of_class = np.unique(measured.superclasses, return_inverse=True)
    labels = of_class[measured.predictions.labels]
    right = labels == of_class[measured.predictions.predictions]
    counts = np.bincount(labels, minlength=len(names))
    return counts, np.bincount(labels[right], minlength=len(names)), list(map(str, names))


def calibration(measured: Measured) -> Section:
    """Shows whether the model is as often right as it is sure."""
    found = reliability(measured.predictions.confidences, measured.predictions.are_right)
    mean, right = measured.predictions.confidences.mean(), measured.predictions.are_right.mean()
    kind = "surer than it is right" if mean > right else "right more often than it is sure"
    text = (
        f"The model is {percent(mean)} sure on average and right for {percent(right)} of the "
        f"images: it is {kind}. The expected calibration error, over {len(found.counts)} bins of "
        f"equal width, is {percent(found.error)}."
    )
    picture = Picture(
        "reliability",
        lambda: draw_reliability(found),
        "Above: the accuracy of the predictions that are so sure; on the dashed line both are the "
        "same. Below: how many predictions are so sure.",
    )
    return Section("Calibration", [text, picture])


def surest_errors(measured: Measured) -> Section:
    """Shows the errors that the model is surest of, as images."""
    found, names = measured.predictions, measured.class_names
    wrong = np.flatnonzero(~found.are_right)
    if not len(wrong):
        return Section("Most confident errors", ["There is no error."])
    places = wrong[np.argsort(-found.confidences[wrong], kind="stable")][:_ERRORS]
    picture = Picture(
        "confident_errors",
        lambda: draw_errors(
            images_of(measured.tested)[places],
            [names[label] for label in found.labels[places]],
            [names[label] for label in found.predictions[places]],
            found.confidences[places],
        ),
        "Above each image what it is taken for, and how sure the model is; below it its label. "
        "Some of the labels may be wrong.",
    )
    return Section("Most confident errors", [picture])


def corruptions(measured: Measured) -> Section | None:
    """Shows the accuracy on corrupted images, if that was measured."""
    accuracies, clean = measured.corrupted, float(measured.predictions.are_right.mean())
    if not accuracies:
        return None
    mean = float(np.mean(list(accuracies.values())))
    text = (
        f"On average over {len(accuracies)} corruptions of five strengths the accuracy is "
        f"{percent(mean)}, and {percent(clean)} on the images as they are. The corruptions are "
        "those of CIFAR-100-C (Hendrycks and Dietterich, 2019), made anew; lengths scale with the "
        "size of the images."
    )
    picture = Picture(
        "corruptions",
        lambda: draw_corruptions(clean, accuracies),
        "Accuracy by the strength of each corruption; the dashed line is that of clean images.",
    )
    rows = [
        (name.replace("_", " "), *map(percent, [*values, statistics.fmean(values)]))
        for name, values in sorted(accuracies.items(), key=lambda item: statistics.fmean(item[1]))
    ]
    columns = ("corruption", *(f"#strength {number}" for number in range(1, 6)), "#mean")
    table = Table(columns, rows, "The same as a table, the hardest first.")
    return Section("Corrupted images", [text, picture, table])


def mixing(measured: Measured) -> Section:
    """Shows what the mixing across tokens has learned: docs/mixing.md says what is measured."""
    learned = Learned.of(measured.classifier, images_of(measured.tested)[:IMAGES])
    titles, rows = learned.table()
    by_depth = (
        "How widely each token reads others, how far, and on how large a part of the image it "
        "depends, by the depth of the block. The dashed line is a mixing that weighs all tokens "
        "alike."
    )
    fields = "The pixels that the central token depends on after each block."
    of_weights = (
        "The weights across tokens, each unit an image of the token grid, scaled by its own "
        "largest weight."
    )
    captions = {"by_depth": by_depth, "receptive_field": fields}
    weights = learned.pictures_of_weights()
    picked = np.linspace(0, len(weights) - 1, min(len(weights), _BLOCKS)).round().astype(int)
    drawn = {name: weights[name] for name in (list(weights)[index] for index in picked)}
    said = [learned.unknown] if learned.unknown else []
    if len(drawn) < len(weights):
        said.append(
            f"The weights of {len(drawn)} of {len(weights)} blocks are drawn; --mode=mixing draws "
            "those of all."
        )
    pictures = [
        Picture(name, draw, captions.get(name, of_weights))
        for name, draw in {**learned.pictures_of_measures(), **drawn}.items()
    ]
    headers = (titles[0], *(f"#{title}" for title in titles[1:]))
    table = Table(headers, rows, "The same as a table; means over the tokens.", is_closed=True)
    return Section("What the mixing has learned", [*said, *pictures, table])


def settings(measured: Measured) -> Section:
    """Lists the settings of the run."""
    flat: dict[str, Any] = measured.tested.config.flat()
    rows = [(key, str(value)) for key, value in flat.items()]
    return Section(
        "Settings", [Table(("setting", "value"), rows, f"All {len(rows)} settings", True)]
    )


# Each gives a section, or None where there is nothing to say. More are added here.
SECTIONS: tuple[Callable[[Measured], Section | None], ...] = (
    confusions,
    classes,
    superclass_accuracy,
    calibration,
    surest_errors,
    corruptions,
    mixing,
    settings,
)
