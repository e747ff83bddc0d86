"""Markdown of a data card."""

from __future__ import annotations

from collections.abc import Iterable

from equissl.datasets.views.bias import Bias


def card_text(card: dict, gallery: str | None = None) -> str:
    """Return the Markdown text of a machine-readable card (:func:`equissl.datasets.views.card.data_card`).

    Args:
        card: its values.
        gallery: file name of a picture to show.
    """
    sections = [f"# {card['name']}", _contents(card["counts"])]
    if gallery:
        axes = "Axes on the views at the right: the object's own, x red, y green, z blue, from its centre."
        sections.append(f"![views, one object a row]({gallery})\n\n{axes}")
    sections += [
        "## Classes\n\n" + _classes(card["classes"]),
        "## Latents of a view\n\nIndependent and uniform; one seed per (data set, object, view)."
        + _bias(card["making"].get("bias"))
        + "\n\n"
        + _latents(card["variableMeasured"]),
        "## How it was made\n\n" + _making(card["making"]),
        "## Time\n\n" + _timing(card["timing"]),
        "## Sources and licences\n\n" + _sources(card["sources"]),
        "## Meshes left out\n\n" + _skipped(card["skipped"], card["notes"]),
        "## What was missing or repaired\n\n" + _warnings(card["warning_counts"], card["warnings"]),
        "## Views in which the object is small\n\n" + _coverage(card["coverage"]),
    ]
    return "\n\n".join(sections) + "\n"


def _contents(counts: dict) -> str:
    size, points = counts["image_size"], counts.get("points_per_object")
    cloud = (
        f" Each object has a point cloud of {points} points, area-weighted, with normals and colours without light, in "
        "its own reference frame."
    )
    return (
        f"{counts['objects']} objects of {counts['classes']} classes, {counts['views_per_object']} views each: "
        f"{counts['images']} RGB images of {size} x {size} pixels ({counts['encoding']}, "
        f"{counts['image_bytes'] / 1e6:.1f} MB). Split by object: {counts['train_objects']} train, "
        f"{counts['val_objects']} val; val holds unseen objects under transformations of the same distribution."
        + cloud
        * bool(points)
    )


def _classes(classes: list[dict]) -> str:
    rows = [(row["label"], row["name"], row["train_objects"], row["val_objects"]) for row in classes]
    return table(("label", "class", "train objects", "val objects"), rows)


def _bias(text: str | None) -> str:
    if text is None:
        return ""
    bias = Bias.parse(text)
    return (
        f" **Biased**: in {100 * bias.share:g} % of the views of training objects {bias.latent} lies in the band of "
        "their class, the c-th of as many equal bands as there are classes; in the others in another band, drawn at "
        "random. Views of val objects are unbiased."
    )


def _latents(latents: list[dict]) -> str:
    rows = []
    for latent in latents:
        bounds = f"{latent['minValue']:.4g} to {latent['maxValue']:.4g}" + (" (circular)" if latent["circular"] else "")
        if "never" in latent:
            bounds += ", not {:.4g} to {:.4g}".format(*latent["never"])
        rows.append((latent["name"], latent["unitText"], bounds, latent["description"]))
    return table(("latent", "unit", "range", "meaning"), rows)


def _making(making: dict) -> str:
    lines = []
    if renderer := making.get("renderer"):
        options = ", ".join(f"{k} = {v}" for k, v in sorted(renderer.get("options", {}).items())) or "none"
        lines.append(f"* Renderer: {renderer['name']}, version {renderer['version']}; options: {options}")
    lines += [f"* {name}: {value}" for name, value in making.items() if name != "renderer"]
    return "\n".join(lines) or "Not recorded."


def _timing(timing: dict | None) -> str:
    if timing is None:
        return "Not recorded."
    packages = ", ".join(f"{name} {version}" for name, version in timing["packages"].items())
    return (
        f"{timing['seconds']:g} s (wall clock) of the call that ended the build; earlier calls are not counted.\n\n"
        f"* Processor: {timing['processor']}, {timing['cores']} cores\n"
        f"* Accelerator: {timing['accelerator'] or 'none'}\n"
        f"* System: {timing['system']}\n"
        f"* Packages: {packages}"
    )


def _sources(sources: list[dict]) -> str:
    rows = [
        (row["source"], row["licence"], row["objects"], ", ".join(f"{k} ({n})" for k, n in row["creators"].items()))
        for row in sources
    ]
    return table(("source", "licence", "objects", "creators (objects)"), rows)


def _skipped(skipped: list[dict], notes: list[str]) -> str:
    rows = [(row["mesh"], row["reason"]) for row in skipped]
    parts = ["\n".join(f"* {note}" for note in notes)] * bool(notes)
    return "\n\n".join(parts + [table(("mesh", "reason"), rows)] * bool(rows)) or "None."


def _warnings(counts: list[dict], warnings: list[dict]) -> str:
    if not warnings:
        return "Nothing."
    kinds = table(
        ("warning", "meshes", "for example"), [(row["text"], row["meshes"], row["example"]) for row in counts]
    )
    return kinds + "\n\n" + table(("mesh", "warning"), [(row["mesh"], row["warning"]) for row in warnings])


def _coverage(coverage: dict | None) -> str:
    if coverage is None:
        return "Not counted."
    share = f"less than {100 * coverage['min_coverage']:g} % of the image"
    text = (
        f"The object covers {share} in {coverage['small_views']} of {coverage['views_counted']} views; "
        f"the median is {100 * coverage['median']:.3g} %."
    )
    rows = [
        (row["mesh"], ", ".join(f"{view} ({n})" for view, n in zip(row["views"], row["pixels"], strict=True)))
        for row in coverage["small"]
    ]
    return text + ("\n\n" + table(("mesh", "views (pixels that show the object)"), rows) if rows else "")


def table(header: tuple[str, ...], rows: Iterable[tuple]) -> str:
    """Format a Markdown table; line breaks in cells become spaces.

    Args:
        header: titles of the columns.
        rows: cells of each row; any values, written by ``str``.
    """
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
