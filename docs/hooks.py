"""For the site: files of the repository that a page links to are copied beside it, so that the links work there as well."""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "results" / "report" / "index.html"
LINK = re.compile(r'(href|src)="\.\./((?!\.\.)[^"#]+)(#[^"]*)?"')


def on_page_content(html, page, config, files):
    """Links out of docs/ become links to copies; those to folders become plain words."""
    up = "../" * page.url.count("/")

    def copied(link):
        source = ROOT / link[2]
        if source.is_dir():
            return ""
        if not source.is_file():
            return link[0]
        target = Path(config.site_dir) / "repository" / link[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        if source == REPORT:  # with the files that it shows and links to
            shutil.copytree(source.parent, target.parent, dirs_exist_ok=True)
        shutil.copy(source, target)
        return f'{link[1]}="{up}repository/{link[2]}{link[3] or ""}"'

    return LINK.sub(copied, html)
