import os
from pathlib import Path

import pytest

from app.errors import SettingsError
from app.pixels.images import FILE_FORMATS
from app.settings import BUNDLED_MODELS, Settings, read_settings


def test_arguments_override_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PASTICHE_PORT", "9001")
    monkeypatch.setenv("PASTICHE_DEVICE", "cpu")
    settings = read_settings(device="openvino")
    assert (settings.port, settings.device) == (9001, "openvino")


def test_the_bundled_models_are_the_default() -> None:
    assert read_settings().models == (BUNDLED_MODELS,)
    assert BUNDLED_MODELS.is_dir()


def test_several_folders_of_models_are_separated_as_in_a_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PASTICHE_MODELS", os.pathsep.join(["models", "/srv/my models"]))
    folders = (Path("models"), Path("/srv/my models"))
    assert read_settings().models == folders
    assert read_settings(models=folders).models == folders
    assert read_settings(models=Path("a:b")).models == (Path("a:b"),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "tpu"),
        ("models", ""),
        ("models", f"models{os.pathsep}"),
        ("port", "70000"),
        ("max_pixels", "0"),
        ("log_format", "xml"),
        ("forwarded_allow", "gateway"),
        ("forwarded_allow", "10.0.0.1/8"),
        ("forwarded_allow", "*"),
        ("input_formats", "jpeg, png"),
        ("input_formats", ""),
        ("shutdown_delay", "-1"),
        ("shutdown_delay", "inf"),
        ("host", ""),
        ("host", " "),
        ("host", "127.0.0.1,::1"),
    ],
)
def test_the_error_names_an_invalid_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PASTICHE_{name.upper()}", value)
    with pytest.raises(SettingsError, match=f"PASTICHE_{name.upper()}"):
        read_settings()


def test_the_allowed_formats_are_listed() -> None:
    assert read_settings(input_formats="png,jpeg").allowed_formats == ("jpeg", "png")
    assert read_settings().allowed_formats == FILE_FORMATS
    with pytest.raises(SettingsError, match="'jpg' is not a format; they are jpeg, png, "):
        read_settings(input_formats="jpg")


NUMBERS = [
    name for name, field in Settings.model_fields.items() if field.annotation in (int, float)
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["99999999999999", "-1", "inf", "nan"])
def test_every_number_has_a_range(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PASTICHE_{name.upper()}", value)
    with pytest.raises(SettingsError, match=f"PASTICHE_{name.upper()}"):
        read_settings()


def test_the_error_for_an_empty_host_says_how_to_listen_on_all_addresses() -> None:
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0 to listen on all addresses"):
        read_settings(host="")


def test_gateways_may_be_addresses_and_networks() -> None:
    value = "192.0.2.1, 10.0.0.0/8,2001:db8::/32"
    assert read_settings(forwarded_allow=value).forwarded_allow == value
