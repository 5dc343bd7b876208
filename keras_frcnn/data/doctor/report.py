"""The doctor's findings as text and as JSON."""

from keras_frcnn.data.doctor.anchors.coverage import COVERAGE_IOUS, Coverage
from keras_frcnn.data.doctor.checks.counts import counts_table
from keras_frcnn.data.doctor.examine import AnchorCheck, Examination, anchor_options
from keras_frcnn.data.doctor.findings import finding_line, summary_line, to_json
from keras_frcnn.facts.files import nan_to_none
from keras_frcnn.facts.pages.tables import Table, format_table, number


def coverage_table(check: AnchorCheck, missing: str = "-") -> Table:
    """The share of covered objects of each class, with the configured anchors and with the suggested ones."""
    parts = check.parts()
    header = (f"class, {check.split}", "objects", *(f"{name}, IoU {iou}" for iou in COVERAGE_IOUS for name in parts))
    rows = tuple(
        (
            entry.class_name,
            str(entry.objects),
            *(
                number(part.classes[index].shares[place], digits=2, missing=missing)
                for place in range(len(COVERAGE_IOUS))
                for part in parts.values()
            ),
        )
        for index, entry in enumerate(check.coverage.classes)
    )
    total = (
        "all",
        str(len(check.coverage.best_ious)),
        *(number(part.shares[place], 2, missing) for place in range(len(COVERAGE_IOUS)) for part in parts.values()),
    )
    return Table(header, rows, (total,))


def as_text(examination: Examination) -> str:
    """What the command prints: counts, anchor coverage, and one line for each finding."""
    check = examination.anchors
    lines = [format_table(counts_table(examination.counts)), "", format_table(coverage_table(check))]
    if check.suggested:
        lines.append(f"Suggested anchors: {anchor_options(check.suggested.anchors)}")
    lines += ["", *map(finding_line, examination.findings), summary_line(examination.findings)]
    return "\n".join(lines)


def as_json(data: str, examination: Examination) -> dict:
    """Plain values for `json.dump`."""
    check = examination.anchors
    return {
        "data": data,
        "splits": [split._asdict() for split in examination.counts],
        "anchors": {
            "split": check.split,
            "configured": _coverage_to_json(check.coverage),
            "suggested": _coverage_to_json(check.suggested) if check.suggested else None,
        },
        "findings": [to_json(finding) for finding in examination.findings],
    }


def _coverage_to_json(coverage: Coverage) -> dict:
    """Scales, ratios and shares; None for NaN."""

    def shares(values: tuple[float, ...]) -> dict[str, float | None]:
        named = zip(COVERAGE_IOUS, values, strict=True)
        return {str(iou): nan_to_none(share) for iou, share in named}

    return {
        "scales": list(coverage.anchors.scales),
        "ratios": list(coverage.anchors.ratios),
        "coverage": shares(coverage.shares),
        "classes": {entry.class_name: shares(entry.shares) for entry in coverage.classes},
    }
