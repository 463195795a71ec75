"""The report of an export: its model card as one page that any browser shows, with pictures."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from string import Template

_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { max-width: 72rem; margin: auto; padding: 1rem }
  .wide { overflow-x: auto }
  pre { white-space: pre-wrap }
  table { border-collapse: collapse; font-size: .9rem }
  th, td { padding: .25rem .75rem; border-bottom: 1px solid #8884; text-align: left }
  img { max-width: 100%; background: white; border-radius: .5rem; margin-block: .5rem }
</style>
$card
$pictures
</html>
""")


def page(card: str, pictures: Sequence[Path]) -> str:
    """The page, all of it in one file.

    Args:
        card: The model card, in Markdown; its first line is the title.
        pictures: PNG files.

    Returns:
        HTML.
    """
    from markdown_it import MarkdownIt

    shown = MarkdownIt("commonmark", {"html": False}).enable("table").render(card)
    # A phone scrolls wide tables, not the page.
    shown = shown.replace("<table>", '<div class="wide"><table>')
    shown = shown.replace("</table>", "</table></div>")
    title = html.escape(card.partition("\n")[0].removeprefix("# "))
    return _PAGE.substitute(title=title, card=shown, pictures="\n".join(map(_image, pictures)))


def _image(picture: Path) -> str:
    name = html.escape(picture.stem.replace("_", " "))
    content = base64.b64encode(picture.read_bytes()).decode()
    return f'<h2>{name}</h2>\n<img alt="{name}" src="data:image/png;base64,{content}">'
