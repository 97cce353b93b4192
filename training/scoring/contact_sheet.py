"""A contact sheet: photographs down; the photographs and the pictures of them across."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

LABEL = 20  # pixels, the height of the row of labels


def contact_sheet(columns: Mapping[str, Sequence[Image.Image]], side: int) -> Image.Image:
    """RGB columns of pictures, each reduced to fit a square of `side` pixels, with their labels.

    columns: by label, all of one length; their pictures may have any size.
    """
    rows = max(len(pictures) for pictures in columns.values())
    sheet = Image.new("RGB", (side * len(columns), LABEL + side * rows), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(LABEL * 0.6)
    for x, (label, pictures) in enumerate(columns.items()):
        draw.text((x * side + side // 2, LABEL // 2), label, "black", font, anchor="mm")
        for y, picture in enumerate(pictures):
            small = ImageOps.contain(picture.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
            left, top = (side - small.width) // 2, (side - small.height) // 2
            sheet.paste(small, (x * side + left, LABEL + y * side + top))
    return sheet
