"""The doctor's page: one HTML file with findings, plots and sample pictures that opens offline."""

from pathlib import Path
from typing import NamedTuple

from keras_frcnn.data.doctor.anchors.coverage import COVERAGE_IOUS
from keras_frcnn.data.doctor.checks.counts import SplitCounts, counts_table
from keras_frcnn.data.doctor.examine import AnchorCheck, Examination, anchor_options
from keras_frcnn.data.doctor.findings import Finding, named_files, summary_line
from keras_frcnn.data.doctor.page.plots import MOST_CLASSES, counts_plot, coverage_plot, sizes_plot
from keras_frcnn.data.doctor.page.samples import Sample, sample_pictures
from keras_frcnn.data.doctor.report import coverage_table
from keras_frcnn.facts.pages.rendering import MISSING, write_page
from keras_frcnn.facts.pages.tables import Table

_TEMPLATE = Path(__file__).parent / "page.html.j2"


class ShownFinding(NamedTuple):
    """A finding as the page shows it."""

    finding: Finding
    files: str  # the first few names


class Page(NamedTuple):
    """What the page shows."""

    data: str  # as the user named it
    summary: str
    splits: tuple[SplitCounts, ...]
    findings: tuple[ShownFinding, ...]
    counts: Table
    counts_plot: bytes  # SVG
    most_classes: int  # in the plot
    sizes_plot: bytes
    check: AnchorCheck
    coverage: Table
    coverage_plot: bytes
    coverage_ious: tuple[float, ...]
    options: str  # that set the suggested anchors; empty without a suggestion
    samples: tuple[Sample, ...]


def write_doctor_page(path: Path, data: str, examination: Examination) -> None:
    """Write the page of an examination.  Raises OSError if the file cannot be written."""
    check = examination.anchors
    page = Page(
        data=data,
        summary=summary_line(examination.findings),
        splits=examination.counts,
        findings=tuple(ShownFinding(finding, named_files(finding.files)) for finding in examination.findings),
        counts=counts_table(examination.counts),
        counts_plot=counts_plot(examination.counts),
        most_classes=MOST_CLASSES,
        sizes_plot=sizes_plot(examination.objects, check),
        check=check,
        coverage=coverage_table(check, MISSING),
        coverage_plot=coverage_plot(check),
        coverage_ious=COVERAGE_IOUS,
        options=anchor_options(check.suggested.anchors) if check.suggested else "",
        samples=tuple(sample_pictures(examination.objects, examination.findings)),
    )
    write_page(path, _TEMPLATE, page._asdict())
