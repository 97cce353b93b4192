import json

from training.scoring.textures.bounds import Bounded
from training.scoring.textures.evaluation import table
from training.scoring.textures.judge import TextureScores


def test_the_table_has_a_line_for_each_texture_and_marks_copies() -> None:
    levels = {0: Bounded(0.25, 0.125, 1.0), 1: Bounded(0.75, 0.125, 1.0)}
    scores = {
        "wave": TextureScores(levels, Bounded(2.0, -0.01, 9.0), 0.98),
        "copy": TextureScores(levels, Bounded(0.0, -0.01, 9.0), 0.12),
    }
    head, wave, copy = table(scores).splitlines()
    assert head.split() == [
        "wasserstein", "floor", "ceiling", "kernel", "floor", "ceiling", "copy", "ratio",
    ]  # fmt: skip
    assert wave.split() == [
        "wave",
        "0.5000",
        "0.1250",
        "1.0000",
        "2.0000",
        "-0.0100",
        "9.0000",
        "0.98",
    ]
    assert copy.endswith("0.12 *")
    dumped = json.loads(json.dumps({name: found.dump() for name, found in scores.items()}))
    assert dumped["copy"]["copies"] is True
    assert dumped["wave"]["wasserstein"]["1"]["value"] == 0.75
