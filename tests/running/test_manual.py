"""The manual of the settings is made from their declarations, and docs/settings.md is it."""

from pathlib import Path

from configs import fnet, gmlp, mixer
from mlpvis_jax.running import manual
from mlpvis_jax.running.choices import declarations
from mlpvis_jax.settings.config import RunConfig

ROOT = Path(__file__).parents[2]


def test_the_document_is_up_to_date():
    assert (ROOT / "docs/settings.md").read_text() == manual.markdown()


def test_every_setting_of_a_recipe_has_its_line():
    listed = {key.replace("LABEL", "flip_zoom") for key, _, _ in manual.rows()}
    for recipe in (mixer, fnet, gmlp):
        for variant in ("", "paper", "digits"):
            config = RunConfig.from_mapping(recipe.get_config(variant).to_dict())
            assert config.flat().keys() - {"model.name"} <= declarations(config).keys() <= listed


def test_every_setting_says_what_it_means_in_a_sentence():
    for key, _, setting in manual.rows():
        assert setting.meaning[:1].isupper() or not setting.meaning[:1].isalpha(), key
        assert setting.meaning.endswith(".") and len(setting.meaning.split()) > 2, key


def test_none_is_written_as_it_is_given():
    assert " or None." in manual.text() and " or none." not in manual.text()
