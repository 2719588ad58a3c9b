"""A report's page as the standard library's parser reads it."""

from html.parser import HTMLParser
from typing import Any

VOID = {"br", "img", "meta", "source"}


class ParsedPage(HTMLParser):
    """What tests ask of a page: its tags, its texts, and that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def of(self, tag: str) -> list[dict[str, Any]]:
        """The attributes of all tags of this name."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def check_self_contained(self) -> None:
        """Nothing is fetched from elsewhere, no script runs, and every picture has its text."""
        named = {attributes["id"] for _, attributes in self.tags if "id" in attributes}
        for tag, attributes in self.tags:
            assert tag not in ("script", "link", "iframe", "object", "embed", "base"), tag
            for name, value in attributes.items():
                assert not name.startswith("on"), f"{tag} {name}"
                if name in ("src", "srcset"):
                    assert value.startswith("data:image/png;base64,"), f"{tag} {name}={value[:50]}"
                if name == "href":
                    assert value[0] == "#" and value[1:] in named, value
                assert name != "style"
        for image in self.of("img"):
            assert len(image["alt"]) > 20 and int(image["width"]) and int(image["height"])
        assert self.of("html") == [{"lang": "en"}]
