import base64
import io
import json
from html.parser import HTMLParser

import pytest
from PIL import Image

from napari_dipr.batch import summary
from napari_dipr.batch.inputs import Pattern
from napari_dipr.batch.summary import write_summary
from napari_dipr.batch.work import solve_patterns


class Page(HTMLParser):
    """What a page shows: rows of cells, links and pictures; and whether every element is closed in its turn."""

    EMPTY = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.rows, self.links, self.pictures, self.open = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "a":
            self.links.append(known["href"])
        elif tag == "img":
            self.pictures.append(known["src"])
        assert tag != "link"
        assert "src" not in known or known["src"].startswith("data:")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "script" and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def row(job, number, name, **more):
    return job.row(Pattern(number, name, f"{name}.npy"), **{"state": "done", "chi2": 0.1 * number, **more})


def test_a_page_stands_alone(make_job, scans):
    job, patterns = make_job(), scans(3)
    paths = write_summary(job, solve_patterns(job, patterns), patterns)
    text = paths["html"].read_text(encoding="utf-8")
    page = Page(text)
    assert [cells[1] for cells in page.rows] == ["name", "scan0", "scan1", "scan2"]
    assert len({len(cells) for cells in page.rows}) == 1
    assert page.links == ["summary.csv", "scan0.tif", "scan1.tif", "scan2.tif"]
    assert all((job.folder / link).is_file() for link in page.links)
    assert len(page.pictures) == 6
    for picture in page.pictures:
        image = Image.open(io.BytesIO(base64.b64decode(picture.removeprefix("data:image/png;base64,"))))
        assert max(image.size) == 72
    assert "http" not in text
    assert "hio*20" in text


def test_a_page_takes_any_name_and_error(make_job, tmp_path):
    job = make_job()
    patterns = [Pattern(0, "a<b>&c", "a<b>&c.npy")]
    rows = [row(job, 0, "a<b>&c", state="failed", error='no "<script>alert(1)</script>"', chi2=None)]
    page = Page(write_summary(job, rows, patterns)["html"].read_text(encoding="utf-8"))
    assert page.rows[1][1] == 'a<b>&cno "<script>alert(1)</script>"'


def test_of_very_many_the_worst_are_shown(make_job, monkeypatch):
    monkeypatch.setattr(summary, "MOST", 3)
    job, names = make_job(), [f"p{k}" for k in range(6)]
    rows = [row(job, k, name) for k, name in enumerate(names)]
    rows[1] |= {"state": "failed", "error": "none"}
    patterns = [Pattern(k, name, f"{name}.npy") for k, name in enumerate(names)]
    paths = write_summary(job, rows, patterns)
    text = paths["html"].read_text(encoding="utf-8")
    assert [cells[1] for cells in Page(text).rows] == ["name", "p1none", "p4", "p5"]
    assert "The table shows 3" in text
    assert len(paths["csv"].read_text().splitlines()) == 7


def test_figures_that_nobody_knows_have_no_column(make_job, scans):
    job, patterns = make_job(), scans(1)
    head = Page(write_summary(job, solve_patterns(job, patterns), patterns)["html"].read_text(encoding="utf-8")).rows[0]
    assert "χ²" in head
    assert "nmse" not in head
    assert "verdict" not in head


def test_a_lost_picture_is_no_reason_to_have_no_summary(make_job, scans):
    job, patterns = make_job(), scans(1)
    rows = solve_patterns(job, patterns)
    job.row_file(patterns[0]).write_text(json.dumps({}))
    assert Page(write_summary(job, rows, patterns)["html"].read_text(encoding="utf-8")).pictures == []


@pytest.mark.parametrize("known", [{"verdict": "agree", "words": "They agree.", "cause": ""}])
def test_a_verdict_has_its_sentence(make_job, known):
    job = make_job(starts=4)
    text = write_summary(job, [row(job, 0, "p", **known)], [Pattern(0, "p", "p.npy")])["html"].read_text("utf-8")
    assert 'title="They agree."' in text
    assert "4 starts each" in text
