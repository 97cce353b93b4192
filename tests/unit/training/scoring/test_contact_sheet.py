import numpy as np
from PIL import Image

from training.scoring.contact_sheet import LABEL, contact_sheet


def test_every_picture_stands_in_its_row_and_column() -> None:
    colours = {"photo": ["red", "lime"], "ours": ["blue", "black"]}
    columns = {
        label: [Image.new("RGB", (80, 40), colour) for colour in names]
        for label, names in colours.items()
    }
    sheet = contact_sheet(columns, 32)
    assert sheet.size == (64, LABEL + 64)
    for x, names in enumerate(colours.values()):
        for y, colour in enumerate(names):
            found = sheet.getpixel((x * 32 + 16, LABEL + y * 32 + 16))
            assert found == Image.new("RGB", (1, 1), colour).getpixel((0, 0))


def test_the_columns_are_labelled() -> None:
    picture = Image.new("RGB", (80, 80))
    labelled, bare = (
        np.asarray(contact_sheet({label: [picture]}, 80))[:LABEL] for label in ("udnie", " ")
    )
    assert (bare == 255).all()
    assert (labelled < 128).any()
