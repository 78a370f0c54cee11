"""Tables are read as text; what is wrong is one sentence with file and line."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.tables import Table, TableError, read_table


def read(folder: Path, content: bytes, *required: str) -> Table:
    path = folder / "table.csv"
    path.write_bytes(content)
    return read_table(path, required or ("path", "label"))


@pytest.mark.parametrize(
    "content",
    [
        "path,label\na.wav,Tür\n".encode(),
        "path,label\r\na.wav,Tür\r\n".encode("utf-8-sig"),
        "path,label\na.wav,Tür\n".encode("utf-16"),
        " Path ; LABEL \n a.wav ; Tür \n\n".encode(),
        'path\tlabel\n"a.wav"\t"Tür"'.encode(),
        "path,label,,\na.wav,Tür,,\n,,,\n".encode(),
        "path,label\na.wav,Tür,,\n".encode(),
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path: Path, content: bytes) -> None:
    table = read(tmp_path, content)
    assert [(row.text("path"), row.name("label")) for row in table.rows] == [
        ("a.wav", "Tür")
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column 'path'"),
        (b"a.wav,dog\n", "must name path, label, with commas between them, and names"),
        (b"path,label\nb.wav,x\na.w", "line 3: has 1 cells, not 2; was the file cut?"),
        (b"path,label\na.wav,dog,cat\n", "line 2: has 3 cells, not 2"),
        (b'path,label\na.wav,"dog\nb.wav,cat\n', "quotation mark"),
        (b'path,label\n"a"b,dog\n', "line 2: "),
        (b"path,label\na.wav,T\xfcr\n", "line 2: is not UTF-8"),
        ("path,label\na,b\n".encode("utf-16-le"), "NUL"),
        (b"path,label\nb.wav,x\na\0.wav,dog\n", "line 3: holds a NUL"),
        (b"path,label,path\na,b,c\n", "two columns 'path'"),
        (b"RIFF\x24\x08\x00\x00WAVEfmt ", "NUL"),
        (b"path,label\na," + b"x" * 200_000, "line 2: field larger"),
    ],
)
def test_what_is_no_table_is_one_sentence(
    tmp_path: Path, content: bytes, said: str
) -> None:
    with pytest.raises(TableError) as caught:
        read(tmp_path, content)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"), [("3", 3), ("3.0", 3), ("0", 0), ("fold3", 3), ("Fold_03", 3)]
)
def test_a_fold_is_a_number_or_has_one(tmp_path: Path, text: str, number: int) -> None:
    (row,) = read(tmp_path, f"fold\n{text}\n".encode(), "fold").rows
    assert row.fold("fold") == number


@pytest.mark.parametrize("text", ["3.5", "one", "-1", "1e3", "99999", "nan", "fold"])
def test_nothing_else_is_a_fold(tmp_path: Path, text: str) -> None:
    (row,) = read(tmp_path, f"fold\n{text}\n".encode(), "fold").rows
    with pytest.raises(TableError, match=r"line 2: fold"):
        row.fold("fold")


@pytest.mark.parametrize("text", ["nan", "inf", "1_0", "-1", "0x1", "1,5", "None"])
def test_seconds_are_plain_numbers(tmp_path: Path, text: str) -> None:
    (row,) = read(tmp_path, f'onset\n"{text}"\n'.encode(), "onset").rows
    with pytest.raises(TableError, match=r"line 2: onset"):
        row.seconds("onset")


CELLS = st.lists(st.sampled_from(["path", "label", "a.wav", "", '"', "é", "3.0", "\r"]))


@given(
    st.binary(max_size=60)
    | st.lists(CELLS).map(lambda rows: "\n".join(map(",".join, rows)).encode())
)
def test_any_bytes_are_a_table_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    with contextlib.suppress(TableError):
        table = read(folder, b"path,label\n" + content)
        assert all(set(row.cells) == {"path", "label"} for row in table.rows)
