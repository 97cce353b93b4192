"""The page in a real browser, with a real server."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect
from pydantic import SecretStr
from skimage import data

from app.settings import Settings
from tests.tools.browsers import chromium
from tests.tools.servers import serve_in_thread, wait_for_status

TIMEOUT = 90_000  # milliseconds, on a busy machine
KEY = "open-sesame"
PHONE = {"width": 360, "height": 740}
NewPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=TIMEOUT)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[str]:
    with serve_in_thread(settings) as port:
        wait_for_status(port, "ready")
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def strict_server(settings: Settings) -> Iterator[str]:
    """A server that needs a key and takes small pictures only."""
    changes = {"api_keys": SecretStr(KEY), "max_pixels": 400_000}
    with serve_in_thread(settings.model_copy(update=changes)) as port:
        wait_for_status(port, "ready")
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def new_page(browser: Browser) -> Iterator[NewPage]:
    """Open a page in a new window. Fails if a script does, or if the policy blocks anything."""
    faults: list[str] = []
    contexts = []

    def open(url: str, **options: Any) -> Page:
        context = browser.new_context(reduced_motion="reduce", **options)
        context.set_default_timeout(TIMEOUT)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if "Policy" in m.text else None)
        page.goto(url)
        expect(page.locator("#styles [data-id]").first).to_be_visible(timeout=TIMEOUT)
        return page

    yield open
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="module")
def cat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of 900 x 600, larger than a preview."""
    path = tmp_path_factory.mktemp("photos") / "my cat.jpg"
    Image.fromarray(data.chelsea()).resize((900, 600)).save(path)
    return path


def expect_painted(page: Page, style: str) -> None:
    expect(page.locator("#status")).to_contain_text(f"{style}, painted in")
    expect(page.locator("#download")).to_be_enabled()
    expect(page.locator("#badge")).to_be_hidden()


def style(page: Page, name: str) -> Locator:
    return page.locator(f"#styles [data-id={name}]")


def set_range(page: Page, selector: str, value: str) -> None:
    page.locator(selector).fill(value)


def notice(page: Page) -> Locator:
    return page.get_by_role("alert")


def sent_options(page: Page, act: Callable[[], object]) -> dict[str, str]:
    """Act, wait for the full picture that follows, and return the options that were sent."""
    fields: list[dict[str, str]] = []

    def record(route: Route) -> None:
        body = (route.request.post_data_buffer or b"").decode("latin-1")
        fields.append(dict(re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n', body)))
        route.continue_()

    page.route("**/stylize", record)
    with page.expect_response("**/stylize", timeout=TIMEOUT):
        act()
    expect(page.locator("#download")).to_be_enabled(timeout=TIMEOUT)
    page.unroute("**/stylize")
    return fields[-1]


def test_one_click_paints_the_sample_and_the_address_reopens_it(
    new_page: NewPage, server: str
) -> None:
    page = new_page(server)
    expect(page.get_by_role("heading", name="Turn a photo into a painting")).to_be_visible()
    page.get_by_role("button", name="Try the sample").click()
    expect_painted(page, "Cold")
    expect(page.locator("#status")).to_contain_text("on the CPU (float32)")
    style(page, "warm").click()
    expect_painted(page, "Warm")
    expect(style(page, "warm")).to_have_attribute("aria-pressed", "true")
    assert page.url == f"{server}#style=warm&photo=sample"
    again = new_page(page.url)
    expect_painted(again, "Warm")


def test_a_photo_is_previewed_and_then_painted_in_full_with_every_option(
    new_page: NewPage, server: str, cat: Path
) -> None:
    page = new_page(f"{server}#style=warm")
    sizes: list[str] = []
    page.on("response", lambda r: sizes.append(r.url) if r.url.endswith("/stylize") else None)
    page.locator("#file").set_input_files(cat)
    expect_painted(page, "Warm")
    assert len(sizes) == 2  # the preview and the full picture
    assert page.locator("#after").evaluate("image => image.naturalWidth") == 900
    set_range(page, "#strokes", "8")
    set_range(page, "#strength", "0.5")
    page.locator("#colors").check()
    expect_painted(page, "Warm")
    options = sent_options(page, style(page, "cold").click)
    assert options == {
        "style": "cold", "strength": "0.5", "size": "512", "preserve_colors": "true",
        "format": "jpeg",
    }  # fmt: skip
    assert page.url == f"{server}#style=cold&strength=0.5&strokes=8&colors=photo"


def test_a_photo_that_a_phone_has_turned_is_shown_upright(
    new_page: NewPage, server: str, cat: Path, tmp_path: Path
) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(cat).save(turned, exif=exif)
    page = new_page(f"{server}#style=warm")
    size = "image => [image.naturalWidth, image.naturalHeight]"
    page.locator("#file").set_input_files(turned)
    expect_painted(page, "Warm")
    shown = [page.locator(name).evaluate(size) for name in ("#before", "#after")]
    assert shown == [[600, 900], [600, 900]]
    width, height = page.locator("#frame").evaluate("f => [f.clientWidth, f.clientHeight]")
    assert height / width == pytest.approx(1.5, abs=0.02)


def test_styles_blend_by_weight(new_page: NewPage, server: str, cat: Path) -> None:
    page = new_page(f"{server}#style=warm")
    page.locator("#file").set_input_files(cat)
    expect_painted(page, "Warm")
    page.get_by_role("button", name="Add Cold to the blend").click()
    expect_painted(page, "Warm with Cold")
    options = sent_options(page, lambda: page.get_by_label("Cold", exact=True).fill("25"))
    assert options["style"] == "warm:100,cold:25"
    page.get_by_role("button", name="Remove Warm from the blend").click()
    expect_painted(page, "Cold")
    assert page.url == f"{server}#style=cold"


def test_the_painting_is_downloaded_in_the_chosen_format(
    new_page: NewPage, server: str, cat: Path
) -> None:
    page = new_page(f"{server}#style=warm")
    page.locator("#file").set_input_files(cat)
    expect_painted(page, "Warm")
    for format, name in (("jpeg", "my cat-warm.jpg"), ("png", "my cat-warm.png")):
        page.locator("#format").select_option(format)
        with page.expect_download(timeout=TIMEOUT) as download:
            page.locator("#download").click()
        assert download.value.suggested_filename == name
        with Image.open(download.value.path()) as image:
            assert (image.format, image.size) == (format.upper(), (900, 600))


def test_an_animation_can_be_downloaded_as_one(
    new_page: NewPage, server: str, cat: Path, tmp_path: Path
) -> None:
    page = new_page(f"{server}#style=warm")
    animation = page.locator("#format option[value=animation]")
    page.locator("#file").set_input_files(cat)
    expect_painted(page, "Warm")
    expect(animation).to_be_disabled()
    with Image.open(cat) as photo:
        frames = [photo.crop((200 + 60 * i, 100, 290 + 60 * i, 160)) for i in range(3)]
    moving = tmp_path / "moving.gif"
    frames[0].save(moving, save_all=True, append_images=frames[1:], duration=100)
    page.locator("#file").set_input_files(moving)
    expect(animation).to_be_enabled()
    expect_painted(page, "Warm")
    page.locator("#format").select_option("animation")
    with page.expect_download(timeout=TIMEOUT) as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "moving-warm.gif"
    with Image.open(download.value.path()) as image:
        assert (image.format, image.size, getattr(image, "n_frames", 1)) == ("GIF", (90, 60), 3)
    expect(page.locator("#status")).to_contain_text("Warm, painted in")
    page.locator("#file").set_input_files(cat)
    expect_painted(page, "Warm")
    expect(page.locator("#format")).to_have_value("jpeg")


def test_photos_are_dropped_and_pasted(new_page: NewPage, server: str, jpeg: bytes) -> None:
    page = new_page(f"{server}#style=warm")
    give = """([kind, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], `${kind}.jpg`, {type: "image/jpeg"}));
        const event = kind === "drop"
            ? new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true})
            : new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true});
        document.body.dispatchEvent(event);
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(give, [kind, list(jpeg)])
        expect_painted(page, "Warm")
        with page.expect_download() as download:
            page.locator("#download").click()
        assert download.value.suggested_filename == f"{kind}-warm.jpg"


def test_all_styles_are_compared_on_the_same_photo(
    new_page: NewPage, server: str, cat: Path
) -> None:
    page = new_page(f"{server}#style=warm")
    page.locator("#file").set_input_files(cat)
    page.get_by_role("tab", name="Compare").click()
    expect(page.locator("#compare-status")).to_contain_text("3 paintings")
    pictures = page.locator("#comparison img")
    assert {pictures.nth(i).evaluate("image => image.naturalWidth") for i in range(3)} == {448}
    page.locator("#comparison").get_by_role("button", name="Plain").click()
    expect_painted(page, "Plain")
    expect(page.get_by_role("tab", name="Paint")).to_have_attribute("aria-selected", "true")


def test_everything_works_by_keyboard(new_page: NewPage, server: str) -> None:
    page = new_page(server)
    style(page, "warm").focus()
    page.keyboard.press("Enter")
    expect_painted(page, "Warm")
    split = page.get_by_label("Photo shown")
    split.focus()
    expect(split).to_have_attribute("aria-valuetext", "Only the painting")
    page.keyboard.press("ArrowRight")
    expect(split).to_have_attribute("aria-valuetext", "Photo on the left 1 %")
    page.keyboard.press("End")
    expect(split).to_have_attribute("aria-valuetext", "Only the photo")
    page.get_by_role("tab", name="Paint").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Compare")).to_be_focused()
    expect(page.locator("#panel-compare")).to_be_visible()


def test_a_file_that_is_no_picture_is_explained(
    new_page: NewPage, server: str, tmp_path: Path, jpeg: bytes
) -> None:
    page = new_page(f"{server}#style=warm")
    text, broken = tmp_path / "letter.jpg", tmp_path / "broken.jpg"
    text.write_text("Dear reader")
    broken.write_bytes(jpeg[: len(jpeg) // 2])
    page.locator("#file").set_input_files(text)
    expect(notice(page)).to_contain_text("This file cannot be painted")
    expect(notice(page).get_by_role("button", name="Choose another photo")).to_be_visible()
    page.locator("#file").set_input_files(broken)
    expect(notice(page)).to_contain_text("This picture is damaged")
    notice(page).get_by_role("button", name="Dismiss").click()
    expect(notice(page)).to_be_hidden()


def test_a_busy_server_is_waited_for_and_asked_again(new_page: NewPage, server: str) -> None:
    page = new_page(server)
    problem = {"code": "overloaded", "title": "Overloaded", "detail": "full", "status": 503}
    attempts: list[int] = []

    def busy(route: Route) -> None:
        attempts.append(len(attempts))
        if len(attempts) > 1:
            route.continue_()
            return
        headers = {"Retry-After": "2", "Content-Type": "application/problem+json"}
        route.fulfill(status=503, headers=headers, body=json.dumps(problem))

    page.route("**/stylize", busy)
    page.get_by_role("button", name="Try the sample").click()
    expect(notice(page)).to_contain_text("The server is busy")
    expect(notice(page)).to_contain_text("Trying again in 2 seconds")
    expect_painted(page, "Cold")
    expect(notice(page)).to_be_hidden()
    assert len(attempts) == 3


def test_a_server_that_is_gone_is_asked_again_until_the_user_stops(
    new_page: NewPage, server: str
) -> None:
    page = new_page(server)
    page.route("**/stylize", lambda route: route.abort())
    page.get_by_role("button", name="Try the sample").click()
    expect(notice(page)).to_contain_text("The server cannot be reached")
    notice(page).get_by_role("button", name="Stop waiting").click()
    expect(notice(page)).to_be_hidden()
    page.unroute("**/stylize")
    style(page, "plain").click()
    expect_painted(page, "Plain")


def test_the_key_is_asked_for_and_a_large_photo_can_be_sent_smaller(
    new_page: NewPage, strict_server: str, cat: Path
) -> None:
    page = new_page(f"{strict_server}#style=warm")
    page.locator("#file").set_input_files(cat)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This server needs an API key")
    dialog.get_by_label("API key").fill("wrong")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("does not accept this key")
    dialog.get_by_label("API key").fill(KEY)
    dialog.get_by_label("API key").press("Enter")
    expect(notice(page)).to_contain_text("too large")
    expect(notice(page)).to_contain_text("400,000")
    notice(page).get_by_role("button", name="Use a smaller copy").click()
    expect_painted(page, "Warm")
    assert page.locator("#after").evaluate("image => image.naturalWidth") == 630


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, {"width": 1440, "height": 900}], ids=["phone", "desk"])
def test_axe_finds_no_violation(
    new_page: NewPage, server: str, scheme: str, viewport: dict[str, int]
) -> None:
    page = new_page(server, color_scheme=scheme, viewport=viewport)
    axe = Axe()
    welcome = axe.run(page)
    assert welcome.violations_count == 0, welcome.generate_report()
    page.get_by_role("button", name="Try the sample").click()
    expect_painted(page, "Cold")
    page.get_by_role("button", name="Add Warm to the blend").click()
    expect_painted(page, "Cold with Warm")
    painted = axe.run(page)
    assert painted.violations_count == 0, painted.generate_report()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= viewport["width"]


def with_generators(page: Page) -> list[dict[str, str]]:
    """Let the page see a server that generates textures; return the options of each request."""
    requests: list[dict[str, str]] = []

    def styles(route: Route) -> None:
        listed = route.fetch().json()
        listed["styles"][0]["capabilities"] = ["stylize", "generate"]
        route.fulfill(json=listed)

    def generate(route: Route) -> None:
        body = (route.request.post_data_buffer or b"").decode("latin-1")
        requests.append(dict(re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n', body)))
        texture = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(texture, "PNG")
        headers = {"Content-Type": "image/png", "X-Device": "cpu", "X-Seed": "1"}
        route.fulfill(body=texture.getvalue(), headers=headers)

    page.route("**/styles", styles)
    page.route("**/generate", generate)
    return requests


def test_textures_are_offered_where_a_style_can_generate_them(
    new_page: NewPage, server: str
) -> None:
    page = new_page(server)
    expect(page.get_by_role("tab", name="Textures")).to_be_hidden()
    requests = with_generators(page)
    page.reload()
    page.get_by_role("tab", name="Textures").click()
    expect(page.locator("#texture-status")).to_contain_text("Cold, painted in")
    expect(page.locator("#texture-styles [data-id]")).to_have_count(1)
    page.locator("#texture-size").select_option("1024x1024")
    page.locator("#texture-seed").fill("7")
    page.locator("#texture-seed").press("Tab")
    page.locator("#texture-variation").fill("2.5")
    page.locator("#texture-tileable").check()
    page.get_by_role("button", name="Show repeated").click()
    expect(page.get_by_role("img", name="The texture, repeated")).to_be_visible()
    expect(page.locator("#texture-download")).to_be_enabled(timeout=TIMEOUT)
    with page.expect_download() as download:
        page.locator("#texture-download").click()
    assert download.value.suggested_filename == "texture-cold-7.png"
    assert requests[-1] == {
        "style": "cold", "width": "1024", "height": "1024", "seed": "7", "variation": "2.5",
        "tileable": "true", "format": "png",
    }  # fmt: skip
    assert page.url.endswith(
        "#tab=textures&texture=cold&width=1024&height=1024&variation=2.5&seed=7&tileable=true"
    )


def test_the_api_page_lets_a_reader_try_a_request_without_another_host(
    browser: Browser, server: str, cat: Path
) -> None:
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT)
    blocked: list[str] = []
    page.on("console", lambda m: blocked.append(m.text) if "Policy" in m.text else None)
    page.on("request", lambda r: None if r.url.startswith(server) else blocked.append(r.url))
    page.goto(f"{server}docs")
    operation = page.locator("#operations-pictures-stylize")
    operation.locator(".opblock-summary").click(timeout=TIMEOUT)
    operation.locator("input[type=file]").set_input_files(cat)
    style_input = operation.locator("[data-property-name=style] input")
    expect(style_input).to_have_value("starry_night")
    style_input.fill("warm")  # the test's network has other styles
    operation.get_by_role("button", name="Execute").click()
    status = operation.locator(".live-responses-table .response-col_status").last
    expect(status).to_contain_text("200")
    page.close()
    assert [text for text in blocked if not text.startswith(("data:", "blob:"))] == []
