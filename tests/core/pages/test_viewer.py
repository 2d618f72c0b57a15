"""The page of the viewer holds its scans as they are, fits in a browser, and runs no script but its own."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from tasks.core.config.intensity import HuConfig
from tasks.core.pages import viewer
from tasks.core.pages.viewer import MAX_SCANS, NIIVUE, ViewerScan, caption_of, presets_of, stored_window, viewer_page
from tests.core.samples import DONE

VENDOR = files("tasks.core.pages").joinpath("templates", *NIIVUE.split("/")[:-1])
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'&"


class _Page(HTMLParser):
    """Elements of a page: scripts by id or number, and every attribute that may load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.addresses: list[str] = []
        self.meta: dict[str, str] = {}
        self.tags: list[str] = []
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the tests ask for."""
        of = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.addresses += [value for name, value in of.items() if name in ("src", "href", "data", "action", "srcset")]
        if tag == "script":
            self._script = of.get("id", f"script {sum(name.startswith('script') for name in self.scripts)}")
            self.scripts[self._script] = ""
        if tag == "meta" and "http-equiv" in of:
            self.meta[of["http-equiv"]] = of["content"]

    def handle_endtag(self, tag: str) -> None:
        """End a script."""
        self._script = None if tag == "script" else self._script

    def handle_data(self, data: str) -> None:
        """Keep the text of a script."""
        if self._script is not None:
            self.scripts[self._script] += data


def _scans(n: int) -> list[ViewerScan]:
    return [ViewerScan(f"scan-{number}", "low quality", bytes([number]) * 5, b"mask") for number in range(n)]


def _text(page: str) -> str:
    """Return a page without its scripts."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_vendored_file_is_the_one_its_version_names() -> None:
    """The file has the digest that stands beside it, and its licence is there."""
    stated = dict(re.findall(r"^(\w+): (\S+)", VENDOR.joinpath("VERSION").read_text(), re.MULTILINE))
    content = VENDOR.joinpath("niivue.umd.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == stated["sha256"]
    assert f'"{stated["version"]}"' in content.decode()
    assert "Copyright (c) 2021, Niivue" in VENDOR.joinpath("LICENSE").read_text()


def test_page_holds_its_scans_and_needs_nothing_else() -> None:
    """Each scan's bytes come back from the page, and nothing in it points outside."""
    scans = _scans(3)
    page = _Page(viewer_page(scans))
    for number, scan in enumerate(scans):
        assert base64.b64decode(page.scripts[f"image-{number}"]) == scan.image
        assert base64.b64decode(page.scripts[f"mask-{number}"]) == scan.mask
    assert page.addresses == []


def test_no_script_but_the_pages_own_may_run() -> None:
    """The policy forbids everything but the scripts as they stand in the page, by digest, and embedded pictures."""
    page = _Page(viewer_page(_scans(1)))
    policy = {name: rest for name, _, rest in (part.strip().partition(" ") for part in _policy(page).split(";"))}
    scripts = [text for name, text in page.scripts.items() if name.startswith("script")]
    assert len(scripts) == len(viewer.SCRIPTS)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    assert policy["script-src"].split() == [f"'sha256-{digest}'" for digest in digests]
    assert policy["default-src"] == "'none'"
    assert set(policy["img-src"].split()) | set(policy["connect-src"].split()) <= {"data:", "blob:"}


def _policy(page: _Page) -> str:
    return page.meta["Content-Security-Policy"]


def test_captions_and_ids_are_text() -> None:
    """Markup in an id or a caption makes no element."""
    plain = _Page(viewer_page(_scans(1)))
    hostile = _Page(viewer_page([ViewerScan(HOSTILE, HOSTILE, b"image", b"mask")]))
    assert hostile.tags == plain.tags


@pytest.mark.parametrize(("n", "sentence"), [(MAX_SCANS, None), (MAX_SCANS + 3, "The first 20 of 23 scans;")])
def test_page_says_what_it_leaves_out(n: int, sentence: str | None) -> None:
    """The first scans up to the limit are in, and a sentence says so if there are more."""
    text = viewer_page(_scans(n))
    assert _Page(text).tags.count("li") == MAX_SCANS
    assert ('id="left-out"' in text) == (sentence is not None)
    assert sentence is None or sentence in _text(text)


def test_page_stays_small_enough_for_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans that would make the page larger than a browser holds are left out, and a sentence says so."""
    monkeypatch.setattr(viewer, "MAX_BYTES", 2 * (5 + 4))
    text = viewer_page(_scans(3))
    assert _Page(text).tags.count("li") == 2
    assert "The first 2 of 3 scans;" in _text(text)


def test_page_without_scans_says_so() -> None:
    """A page of no scans is a page that says that there is none."""
    assert "There is no scan to show." in viewer_page([])


def test_page_says_what_it_is_not_for() -> None:
    """Whoever looks at the page reads that it is not for diagnosis, and why."""
    text = _text(viewer_page(_scans(1)))
    assert "Not for diagnosis." in text
    assert "256 × 256 px" in text


def test_script_that_could_end_its_element_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of NiiVue, or a script of ours, that holds an end of script is not inlined."""
    monkeypatch.setattr(viewer, "_UNSAFE_IN_SCRIPT", ("use strict",))
    with pytest.raises(ValueError, match="ends a script element"):
        viewer_page(_scans(1))


def test_caption_says_why_a_scan_is_shown() -> None:
    """Expected Dice, drift, lesions and flags where they are known; expected Dice only of a mask with lesion."""
    known = {"quality": 0.414, "drift_score": 1.26, "n_lesions": 3, "lesion_ml": 12.34, "flags": ["low_quality"]}
    row = DONE.model_copy(update=known)
    assert caption_of(row) == "expected Dice 0.414 · drift 1.260 · 3 lesions, 12.3 ml · low quality"
    empty = row.model_copy(update={"n_lesions": 0, "lesion_ml": 0.0, "drift_score": None, "flags": ["no_lesion"]})
    assert caption_of(empty) == "0 lesions · no lesion"


def test_scans_that_were_not_even_opened_are_counted() -> None:
    """Whoever makes the page opens only as many scans as it holds."""
    assert "The first 1 of 25 scans;" in viewer_page(_scans(1), n_scans=25)


def test_page_says_what_ct_values_it_holds() -> None:
    """Range and step in HU stand at the top of a page with CT values, and in no page of grey levels."""
    grey = _text(viewer_page(_scans(1)))
    assert "HU" not in re.sub(r"<body.*?>|<fieldset.*?</fieldset>", "", grey, flags=re.DOTALL)
    assert "from -1,024 to 506 HU in steps of 6 HU" in _text(viewer_page([replace(_scans(1)[0], is_hu=True)]))


WIDE = HuConfig(window_level_hu=300, window_width_hu=3000)


@pytest.mark.parametrize(
    ("model_hu", "low", "high"), [(None, -1024, 506), (HuConfig(), -1024, 506), (WIDE, -1024, 1800)]
)
def test_values_are_kept_in_whole_steps_to_above_the_models_window(
    model_hu: HuConfig | None, low: int, high: int
) -> None:
    """From air to the bones' lower end, which has lung and mediastinum; further if the model saw more."""
    stored = stored_window(model_hu)
    step_hu = stored.window_width_hu / 255
    assert step_hu == int(step_hu)
    assert stored.window_level_hu - stored.window_width_hu / 2 == low
    assert high <= stored.window_level_hu + stored.window_width_hu / 2 < high + 255


def test_first_window_is_the_models() -> None:
    """Then lung and mediastinum, each under a key that stays; a model that stretches each slice has no window."""
    known = presets_of(HuConfig(window_level_hu=-500, window_width_hu=1400))
    assert [(preset.name, preset.key, preset.level_hu, preset.width_hu) for preset in known] == [
        ("Model", "5", -500, 1400),
        ("Lung", "6", -600, 1500),
        ("Mediastinum", "7", 40, 400),
    ]
    assert presets_of(None) == presets_of(HuConfig(mapping="slice_min_max")) == known[1:]
