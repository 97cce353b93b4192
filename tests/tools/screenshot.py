"""Take the picture of the page that the README shows.

python -m tests.tools.screenshot
"""

import io
import sys

from PIL import Image

from app.settings import read_settings
from tests.tools.browsers import chromium
from tests.tools.repository import ROOT
from tests.tools.servers import serve_in_thread, wait_for_status

PATH = ROOT / "docs" / "images" / "page.jpg"
ADDRESS = "#style=edtaonisl&strength=1&strokes=6&photo=sample"
SPLIT = 38  # percent of the width that shows the photograph
TIMEOUT = 120_000  # milliseconds


def main() -> int:
    """Paint the sample with the bundled gallery, and save what the browser shows."""
    with chromium() as browser, serve_in_thread(read_settings(device="cpu")) as port:
        wait_for_status(port, "ready")
        page = browser.new_page(viewport={"width": 1360, "height": 850})
        page.goto(f"http://127.0.0.1:{port}/{ADDRESS}")
        page.locator("#download:enabled").wait_for(timeout=TIMEOUT)
        page.locator("#split").fill(str(SPLIT))
        page.locator("#split").blur()
        page.wait_for_load_state("networkidle")
        screenshot = page.screenshot()
    with Image.open(io.BytesIO(screenshot)) as image:
        image.convert("RGB").save(PATH, quality=88, optimize=True)
    print(f"wrote {PATH.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
