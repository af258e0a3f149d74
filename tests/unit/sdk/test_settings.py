"""The layers of a lambda's settings."""

import pytest

from sdk_python import SettingsError
from sdk_python._settings import from_environment, layered, parse_assignment


def test_layers_from_low_to_high() -> None:
    settings = layered(
        '{"mongo": {"url": "from config", "name": "admin"}, "depth": 1, "keep": true}',
        from_environment(
            {
                "KAFKA_SIDECAR_SET_MONGO__URL": "from environment",
                "KAFKA_SIDECAR_SET_depth": "2",
                "KAFKA_SIDECAR_SET_newKey__deep": "x",
                "mongo": "not ours",
                "KAFKA_SIDECAR_ADDRESS": "not a setting",
            }
        ),
        [parse_assignment("depth=3"), parse_assignment("mongo.name=db")],
    )
    assert settings == {
        "mongo": {"url": "from environment", "name": "db"},
        "depth": 3,
        "keep": True,
        "newKey": {"deep": "x"},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=5", 5),
        ('k="5"', "5"),
        ("k=true", True),
        ("k=[1, 2]", (1, 2)),
        ("k=mongodb://a=b", "mongodb://a=b"),
        ("k=NaN", "NaN"),
        ("k=", ""),
        ("k=null", None),
    ],
)
def test_values_are_json_where_they_parse(text: str, value: object) -> None:
    assert layered("{}", (), [parse_assignment(text)]) == {"k": value}


def test_a_plain_value_is_replaced_by_a_mapping() -> None:
    assert layered('{"a": 1}', (), [parse_assignment("a.b=2")]) == {"a": {"b": 2}}


def test_the_result_is_read_only_in_depth() -> None:
    settings = layered('{"a": {"b": [1]}}')
    with pytest.raises(TypeError):
        settings["x"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        settings["a"]["b"] = 1
    assert settings["a"]["b"] == (1,)


@pytest.mark.parametrize("text", ["novalue", "=1", "a..b=1", ".a=1"])
def test_an_assignment_without_key_and_value_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="expected key=value"):
        parse_assignment(text)


@pytest.mark.parametrize("text", ["[1]", "{", "5"])
def test_settings_that_are_no_json_object_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="JSON"):
        layered(text)
