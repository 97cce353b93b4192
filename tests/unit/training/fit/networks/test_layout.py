from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from training.fit.networks.compact import CompactNetwork
from training.fit.networks.johnson import JohnsonNetwork
from training.fit.networks.layout import CompactLayout, JohnsonLayout, Layout

LAYOUT: TypeAdapter[JohnsonLayout | CompactLayout] = TypeAdapter(Layout)


@pytest.mark.parametrize(
    ("values", "kind", "dimension"),
    [
        ({"name": "johnson", "width": 4, "residual_blocks": 1}, JohnsonNetwork, 144),
        ({"name": "compact", "eighth_width": 8, "blocks": [1, 1, 1]}, CompactNetwork, 400),
    ],
)
def test_a_layout_is_data_that_builds_its_network(
    values: dict[str, Any], kind: type, dimension: int
) -> None:
    network = LAYOUT.validate_python(values).build()
    assert isinstance(network, kind)
    assert network.style_dimension == dimension


@pytest.mark.parametrize(
    "values",
    [
        {"name": "other"},
        {"name": "johnson", "eighth_width": 8},
        {"name": "compact", "quarter_width": 24},
        {"name": "compact", "blocks": [1, 1]},
    ],
)
def test_a_layout_that_does_not_exist_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LAYOUT.validate_python(values)
