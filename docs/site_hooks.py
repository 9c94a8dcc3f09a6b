"""MkDocs hooks: links from a page to files of the repository that are not part of the site; options without a default.

In the repository a link to another file leads to it. On the site it leads to the file in the repository's web view if
`repo_url` is set in mkdocs.yml, and otherwise becomes the name of the file. A link to a missing file is a warning, and
so an error of the strict build.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

EXTERNAL = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"https?://[^\"]+", re.IGNORECASE)
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>\.\./[^)#\s]+)\)")
ROOT = Path(__file__).resolve().parents[1]
LOG = logging.getLogger("mkdocs.hooks.site_hooks")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Replace the links of a page that leave the folder of the documentation."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def replace(match: re.Match[str]) -> str:
        target = (folder / match["target"]).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return match[0]
        name = target.relative_to(ROOT).as_posix()
        if not target.exists():
            LOG.warning("%s: the link to %s leads nowhere", page.file.src_uri, name)
        if config.repo_url:
            return f"[{match['text']}]({config.repo_url.rstrip('/')}/blob/main/{name})"
        return match["text"] if name in match["text"] else f"{match['text']} (`{name}`)"

    return LINK.sub(replace, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Leave the default of an option empty where it has none; mkdocs-click prints the name of click's marker."""
    return html.replace("<code>Sentinel.UNSET</code>", "")


def on_post_page(output: str, *, page: Any, config: Any, **_: Any) -> str:
    """Warn, and so fail the strict build, if a page would load something from a network."""
    for tag in EXTERNAL.findall(output):
        if not config.site_url or config.site_url not in tag:
            LOG.warning("%s loads %s", page.file.src_uri, tag)
    return output
