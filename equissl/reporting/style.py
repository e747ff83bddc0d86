"""Skeleton, colours and style sheet of the report: readable in light and dark, on a phone and on paper."""

from __future__ import annotations

from collections.abc import Iterable

# One colour per method wherever it appears; both sets keep at least 3:1 contrast against their background.
KNOWN = {"VICReg": 0, "SIE": 1, "EquiCaps": 2, "Supervised": 3, "SimCLR": 4}
LIGHT = ("#2f6fde", "#d9730d", "#0f8a5f", "#8b46c9", "#c2334d", "#0b8ca6", "#8a6a00", "#5b6472")
DARK = ("#7aa9ff", "#ff9d4d", "#41c795", "#c08cf5", "#ff7d92", "#4cc9e0", "#dcb738", "#a3adbb")


def assign_colours(methods: Iterable[str]) -> dict[str, str]:
    """CSS colour of every method or run: known methods keep theirs in every report, others take the free ones."""
    names = list(dict.fromkeys(methods))
    chosen = {name: KNOWN[name] for name in names if name in KNOWN}
    free = [i for i in range(len(LIGHT)) if i not in chosen.values()] or list(range(len(LIGHT)))
    others = (name for name in names if name not in chosen)
    return {
        **{name: f"var(--c{index})" for name, index in chosen.items()},
        **{name: f"var(--c{free[i % len(free)]})" for i, name in enumerate(others)},
    }


def _palette(colours: tuple[str, ...]) -> str:
    return "".join(f"--c{i}:{colour};" for i, colour in enumerate(colours))


STYLE = f"""
:root{{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c2024;--soft:#5f6772;--line:#e3e5e8;--grid:#eceef0;
--mark:#f2f6ff;{_palette(LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{--bg:#14171a;--card:#1b1f23;--ink:#e8eaed;--soft:#9aa4af;--line:#2d3339;
--grid:#272c32;--mark:#202a3a;{_palette(DARK)}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,"Segoe UI",Roboto,sans-serif}}
main{{max-width:1080px;margin:0 auto;padding:2.5rem 1.25rem 4rem}}
h1{{font-size:1.9rem;line-height:1.2;margin:0 0 .5rem;letter-spacing:-.015em}}
h2{{font-size:1.2rem;margin:2.6rem 0 .35rem;letter-spacing:-.01em}}
p{{max-width:46rem;margin:.35rem 0 .9rem}}p.note,figcaption,.soft{{color:var(--soft);font-size:.875rem}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:.9rem;margin:1.4rem 0}}
.tile,.card{{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem 1.1rem}}
.tile b{{display:block;font-size:1.7rem;line-height:1.25;letter-spacing:-.02em;font-variant-numeric:tabular-nums}}
.charts{{margin-top:1rem}}
.grid{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,29rem),1fr));gap:1rem}}
.gallery{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,18rem),1fr));gap:.9rem;margin:.8rem 0}}
.gallery figure{{margin:0}}.gallery img{{width:100%;display:block;border-radius:8px;border:1px solid var(--line)}}
.gallery figcaption{{margin-top:.25rem;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}}
.scroll{{overflow-x:auto;padding:.25rem 0}}
table{{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.925rem}}
th,td{{padding:.5rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}}
th{{font-weight:600;vertical-align:bottom;color:var(--soft);font-size:.82rem}}
th:first-child,td:first-child{{text-align:left}}tr:last-child td{{border-bottom:0}}
tr.baseline td{{color:var(--soft)}}td.best{{font-weight:700}}
.se{{color:var(--soft);font-size:.8em;font-weight:400}}
.dot{{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.5em}}
.legend{{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;font-size:.875rem;margin:.2rem 0 .7rem}}
.card h3{{font-size:.95rem;margin:0 0 .4rem}}svg{{width:100%;height:auto;display:block}}
svg text{{fill:var(--soft);font-size:12px;font-family:inherit}}
svg .axis{{stroke:var(--line)}}svg .gridline{{stroke:var(--grid)}}
svg .value{{fill:var(--ink);font-variant-numeric:tabular-nums}}
details{{margin:.5rem 0}}summary{{cursor:pointer}}
pre{{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;overflow:auto;
font:12.5px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}}
@media print{{details{{display:none}}main{{padding:0}}}}
"""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>$title</title><style>$style</style></head><body><main>
<h1>$title</h1>
<p>$setup</p>
<div class="tiles">$tiles</div>
<h2>Rendered views</h2>
<p class="note">Each strip is one object in random poses, on random floors, under random light.</p>
<div class="gallery">$gallery</div>
<h2>Results</h2>
<p class="note">The rotation error is the angle between the predicted and the true relative rotation of two views of an
object; $spread No claim rests on R² global: a predictor that always answers the
same scores well there, which is why it stands in the table.</p>
$table
<div class="grid charts">$bars</div>
<h2>Curves</h2>
$legend
<div class="grid">$curves</div>
<h2>Is anything collapsed?</h2>
<p class="note">RankMe is the number of directions that the features really use. A predictor that has learned to use the
action loses more with another sample's action than with the right one; a ratio of 1 means that it ignores it.</p>
$diagnostics
<h2>Configuration</h2>
$configs
</main></body></html>
"""
