"""A page of sections in one HTML file: text, tables and pictures, light and dark, no script."""

import base64
import html
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mlpvis_jax.pictures.theme import DARK, LIGHT, Theme, png
from mlpvis_jax.show.drawing import letters_without_font

_PIXELS_PER_PIXEL = 1.5  # of a picture, for each of the page: small letters stay sharp


class Picture(NamedTuple):
    """A picture with its caption.

    Attributes:
      name: of its PNG file, without the ending.
      draw: returns the Matplotlib Figure; called once for the light and once for the dark page.
      caption: says what is seen.
    """

    name: str
    draw: Callable[[], Any]
    caption: str


class Table(NamedTuple):
    """A table, which scrolls within itself where it is too wide.

    Attributes:
      columns: headers.
      rows: texts; those of a column whose header begins with "#" are numbers, to the right.
      caption: says what is listed.
      is_closed: only the caption is seen until a reader opens it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    is_closed: bool = False


class Section(NamedTuple):
    """A part of the page.

    Attributes:
      title: its heading.
      parts: paragraphs (texts), pictures and tables in their order.
    """

    title: str
    parts: Sequence[str | Picture | Table]


class Page(NamedTuple):
    """All of it.

    Attributes:
      title: heading of the page.
      subtitle: a line below it.
      facts: short values by their names, shown large.
      sections: in their order.
      footer: last lines.
    """

    title: str
    subtitle: str
    facts: Mapping[str, str]
    sections: Sequence[Section]
    footer: str


def render(page: Page) -> dict[str, bytes]:
    """Makes the files of a page, by name: report.html, and a PNG of each picture.

    A picture that cannot be drawn costs a line of warning, and is named on the page.
    """
    files: dict[str, bytes] = {}
    body = []
    for section in page.sections:
        parts = "".join(_part(part, files) for part in section.parts)
        anchor = _anchor(section.title)
        body.append(f'<section id="{anchor}"><h2>{_text(section.title)}</h2>{parts}</section>')
    rows = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>"
        for name, value in page.facts.items()
    )
    facts = f'<dl class="facts">{rows}</dl>' if rows else ""
    links = "".join(
        f'<li><a href="#{_anchor(one.title)}">{_text(one.title)}</a></li>' for one in page.sections
    )
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{_text(page.title)}</title><style>{_style()}</style></head>\n<body><main>"
        f"<header><h1>{_text(page.title)}</h1><p>{_text(page.subtitle)}</p></header>"
        f"{facts}<nav><ul>{links}</ul></nav>\n"
        + "\n".join(body)
        + f"\n<footer>{_text(page.footer)}</footer></main></body></html>\n"
    )
    # Names of folders, and so of classes, need not be UTF-8.
    return {"report.html": text.encode(errors="replace"), **files}


def _part(part: str | Picture | Table, files: dict[str, bytes]) -> str:
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Picture):
        return _picture(part, files)
    return f"<p>{_text(part)}</p>"


def _picture(picture: Picture, files: dict[str, bytes]) -> str:
    name = f"{picture.name}.png"
    try:
        with letters_without_font(name):
            light, dark = png(picture.draw, LIGHT), png(picture.draw, DARK)
    except Exception as error:  # matplotlib, its settings, its fonts, ...
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"The picture {name} is left out ({reason}).", file=sys.stderr)
        return f"<p>The picture {_text(name)} could not be drawn.</p>"
    files[name] = light
    width, height = struct.unpack(">II", light[16:24])  # of a PNG's header
    sizes = f'width="{width / _PIXELS_PER_PIXEL:.0f}" height="{height / _PIXELS_PER_PIXEL:.0f}"'
    caption = _text(picture.caption)
    return (
        '<figure><div class="scroll"><picture>'
        f'<source media="(prefers-color-scheme: dark)" srcset="{_data(dark)}" {sizes}>'
        f'<img src="{_data(light)}" alt="{caption}" {sizes}></picture></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    kinds = [' class="number"' if column.startswith("#") else "" for column in table.columns]
    head = "".join(
        f'<th scope="col"{kind}>{_text(column.removeprefix("#"))}</th>'
        for column, kind in zip(table.columns, kinds, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_text(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in table.rows
    )
    caption = _text(table.caption)
    content = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    if table.is_closed:
        return f"<details><summary>{caption}</summary>{content}</details>"
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def _data(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _colours(theme: Theme) -> str:
    values = {"paper": theme.paper, "ink": theme.ink, "soft": theme.soft, "faint": theme.faint}
    named = {**values, "link": theme.cycle[0]}
    return "".join(f"--{name}:{value};" for name, value in named.items())


def _style() -> str:
    return (
        f":root{{{_colours(LIGHT)}color-scheme:light dark}}"
        f"@media(prefers-color-scheme:dark){{:root{{{_colours(DARK)}}}}}" + _RULES
    )


_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
 font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif}
main{max-width:49rem;margin:0 auto;padding:3.5rem 1.25rem 5rem}
h1{font-size:1.9rem;line-height:1.2;letter-spacing:-.015em;margin:0;overflow-wrap:anywhere}
h2{font-size:1.25rem;line-height:1.3;margin:0 0 .6rem}
header p,figcaption,footer,dt,nav{color:var(--soft)}
header p{margin:.4rem 0 0;overflow-wrap:anywhere}
p{margin:0 0 1rem;max-width:42rem}
section{margin-top:3.2rem;padding-top:1.6rem;border-top:1px solid var(--faint)}
a{color:var(--link);text-decoration-thickness:1px;text-underline-offset:.18em}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.75rem,1fr));gap:1.3rem 1.5rem;
 margin:2.2rem 0 0}
dt{font-size:.85rem}
dd{margin:0;font-size:1.3rem;white-space:nowrap;font-weight:600;letter-spacing:-.01em;
 font-variant-numeric:tabular-nums}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;margin:1.6rem 0 0;padding:0;
 font-size:.92rem}
figure{margin:1.4rem 0 1.8rem}
figcaption,footer{font-size:.88rem;line-height:1.45}
figcaption{margin-top:.5rem;max-width:42rem}
.scroll{overflow-x:auto}
.scroll:focus-visible{outline:2px solid var(--link);outline-offset:2px}
img{display:block;height:auto;max-width:max(100%,34rem)}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;min-width:50%}
th,td{padding:.32rem .9rem .32rem 0;text-align:left;border-bottom:1px solid var(--faint);
 white-space:nowrap;vertical-align:top}
th{color:var(--soft);font-weight:500}
.number{text-align:right}
td:last-child,th:last-child{padding-right:0}
details{margin:1rem 0}
summary{cursor:pointer;color:var(--link);font-size:.92rem}
details .scroll{margin-top:.6rem;max-height:32rem;overflow-y:auto}
footer{margin-top:3.5rem;padding-top:1rem;border-top:1px solid var(--faint);
 overflow-wrap:anywhere}
@media(max-width:30rem){main{padding-top:2rem}h1{font-size:1.5rem}dd{font-size:1.2rem}}
@media print{section{break-inside:avoid-page}nav{display:none}}
"""
