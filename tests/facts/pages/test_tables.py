"""Tables of texts and numbers."""

import math

from keras_frcnn.facts.pages.tables import Table, format_table, number


def test_columns_are_aligned_and_rules_stand_between_the_parts():
    table = Table(("class", "AP"), (("cow", "0.5"), ("motorbike", "12.25")), (("mean", "6"),))
    assert format_table(table) == (
        "class         AP\n"
        "----------------\n"
        "cow          0.5\n"
        "motorbike  12.25\n"
        "----------------\n"
        "mean           6"
    )  # fmt: skip


def test_a_table_without_rows_is_its_header():
    assert format_table(Table(("class", "AP"), ())) == "class  AP"


def test_numbers():
    assert [number(0.12345), number(2.5, digits=1), number(math.nan), number(math.nan, missing="?")] == [
        "0.123", "2.5", "-", "?"
    ]  # fmt: skip
