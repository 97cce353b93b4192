"""Measure how fast the page is for a person: its first paint, and a click until the preview shows.

python -m tests.tools.page_speed [--rounds 5]

The bundled gallery is served on the CPU of this machine and opened in Chromium.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page
from skimage import data

from app.settings import read_settings
from tests.tools.browsers import chromium
from tests.tools.servers import serve_in_thread, wait_for_status

STYLES = ("starry_night", "great_wave", "udnie", "night_cafe")
PHOTO = (2048, 2048)  # pixels
TIMEOUT = 120_000  # milliseconds
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
# Resolves with the milliseconds from a click on a style until its first picture is shown.
CLICK = """id => new Promise(resolve => {
  const picture = document.querySelector('#after'), start = performance.now();
  picture.addEventListener(
    'load', () => requestAnimationFrame(() => resolve(performance.now() - start)), {once: true});
  document.querySelector(`#styles [data-id=${id}]`).click();
})"""


def main() -> int:
    """Print the medians, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with (
        tempfile.TemporaryDirectory() as folder,
        chromium() as browser,
        serve_in_thread(read_settings(device="cpu")) as port,
    ):
        photo = Path(folder) / "photo.jpg"
        Image.fromarray(data.astronaut()).resize(PHOTO).save(photo)
        wait_for_status(port, "ready")
        address = f"http://127.0.0.1:{port}/"
        first = [first_paint(browser, address) for _ in range(rounds)]
        page = browser.new_page()
        page.goto(address)
        page.locator("#file").set_input_files(photo)
        clicks = [click(page, style) for _ in range(rounds) for style in STYLES]
    width, height = PHOTO
    print(f"first paint: {statistics.median(first):.0f} ms, slowest {max(first):.0f} ms")
    print(
        f"click to preview of a {width}x{height} photo: {statistics.median(clicks):.0f} ms, "
        f"slowest {max(clicks):.0f} ms"
    )
    return 0


def first_paint(browser: Browser, address: str) -> float:
    """Open the address in a browser with an empty cache; return when it first shows anything."""
    page = browser.new_context().new_page()
    page.goto(address)
    page.locator("#styles [data-id]").first.wait_for(timeout=TIMEOUT)
    milliseconds = float(page.evaluate(FIRST_PAINT))
    page.context.close()
    return milliseconds


def click(page: Page, style: str) -> float:
    """Wait until nothing is being painted, and click a style."""
    page.locator("#download:enabled").wait_for(timeout=TIMEOUT)
    return float(page.evaluate(CLICK, style))


if __name__ == "__main__":
    sys.exit(main())
