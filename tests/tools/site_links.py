"""Links of the site to files outside docs/, such as the Dockerfile: MkDocs calls this as a hook.

Pages link to such files by their path in the repository, as readers of the repository expect. The
site gets a copy of each, and the link leads to it.
"""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"\]\((\.\./[^)#\s]+)\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the text of a page with links to copies of the files, which are added to the site."""
    docs = Path(config.docs_dir)
    folder = docs / PurePosixPath(page.file.src_uri).parent

    def link(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / match[1]))
        if target.is_relative_to(docs) or not target.is_file():
            return match[0]
        name = f"files/{target.relative_to(docs.parent).as_posix()}.txt"
        if name not in files.src_uris:
            files.append(File.generated(config, name, abs_src_path=str(target)))
        return f"]({os.path.relpath(docs / name, folder)})"

    return _LINK.sub(link, markdown)
