"""SVG figures made fit to stand inside a page."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_PROLOGUE = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->\s*", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_REFERENCE = re.compile(r'(\bid="|\bhref="#|url\(#)')


def inline(svg: bytes, name: str, alt: str) -> Markup:
    """The figure without prologue, comments and metadata, ids prefixed, with its alt text.

    Two figures on a page would otherwise share ids, and one would be drawn with the other's
    clipping. `svg` must come from this package: it is not escaped.
    """
    text = _PROLOGUE.sub("", svg.decode(), count=1)
    text = _METADATA.sub("", _COMMENT.sub("", text))
    text = _REFERENCE.sub(rf"\g<1>{name}-", text)
    label = escape(alt)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))
