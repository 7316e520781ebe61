"""Files of rows and columns: what is read, and the one sentence for each way a file can be wrong."""

from __future__ import annotations

import gzip
import io
import os
import re

import numpy as np
import pytest

from fastnn import table


def csv(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def npz(tmp_path, **arrays):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return path


def test_numbers_text_and_missing_cells(tmp_path):
    read = table.read(csv(tmp_path, 'a,b,c\n1, x ,"p,q"\n?,NaN,2\n\n-3e2,y z,NA\n'))
    assert read.rows == 3
    np.testing.assert_array_equal(read.numbers("a"), [1, np.nan, -300])
    assert read.numbers("b") is None
    assert read.text("b") == ["x", "", "y z"]
    assert read.text("c") == ["p,q", "2", ""]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_byte_order_mark_and_windows_line_ends(tmp_path, delimiter):
    text = "\ufeffname,size,y\r\nu,1,0.5\r\nv,2,1.5\r\n".replace(",", delimiter)
    read = table.read(csv(tmp_path, text))
    assert list(read.columns) == ["name", "size", "y"]
    np.testing.assert_array_equal(read.numbers("y"), [0.5, 1.5])


def test_gzip_reads_the_same_table(tmp_path):
    text = b"a,b\n1,x\n2,y\n"
    assert table.read(csv(tmp_path, gzip.compress(text), "z.csv.gz")) == table.read(csv(tmp_path, text))


def test_an_unnamed_column_gets_a_name_and_digit_groups_are_text(tmp_path):
    read = table.read(csv(tmp_path, ",a\n0,1_000\n1,2_000\n"))
    assert list(read.columns) == ["column 1", "a"]
    assert read.numbers("a") is None


def test_npz_images_stay_bytes_and_keep_their_test_set(tmp_path):
    x = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2)
    read = table.read(npz(tmp_path, x_train=x[:3], y_train=np.arange(3), x_test=x[3:], y_test=np.arange(3, 5)))
    assert read.pixels.dtype == np.uint8
    np.testing.assert_array_equal(read.pixels, x.reshape(5, 4))
    assert read.test_from == 3
    np.testing.assert_array_equal(read.numbers("y"), range(5))


def test_npz_numbers_become_columns(tmp_path):
    read = table.read(npz(tmp_path, x=np.array([[1.5, np.nan], [2.5, 3.0]], np.float32), y=np.array([["u"], ["v"]])))
    assert list(read.columns) == ["x[0]", "x[1]", "y"]
    np.testing.assert_array_equal(read.numbers("x[1]"), [np.nan, 3])
    assert read.text("y") == ["u", "v"]


def junk_zip() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones((2, 2)))
    return buffer.getvalue()[:-30]


@pytest.mark.parametrize(("name", "content", "sentence"), [
    ("a.csv", b"", "is empty"),
    ("a.csv", b" \n\n", "is empty"),
    ("a.csv", b"a,b\n", "has a header but no rows"),
    ("a.csv", b"a,b\n1,2\n3\n", "line 3 must have 2 cells like the header (got 1)"),
    ("a.csv", b"a,a\n1,2\n", "the header must name each column once (got 'a' twice)"),
    ("a.csv", b"a,b\n1,\"2\n", "line 2 is not valid CSV"),
    ("a.csv", b"\x89PNG\xff\xfe", "is not text in UTF-8"),
    ("a.csv", b"a,b\n1,\0\n", "is not text (it contains NUL bytes)"),
    ("a.csv.gz", b"a,b\n1,2\n", "is not a complete gzip file"),
    ("a.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-9], "is not a complete gzip file"),
    ("a.npz", b"a,b\n1,2\n", "is not a .npz archive"),
    ("a.npz", b"", "is not a .npz archive"),
    ("a.npz", junk_zip(), "is not a .npz archive"),
    ("a.xlsx", b"PK", "must end in .csv, .csv.gz, .npz"),
])
def test_each_wrong_file_gets_its_sentence(tmp_path, name, content, sentence):
    path = csv(tmp_path, content, name)
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        table.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("arrays", "sentence"), [
    ({"a": np.ones(3)}, "must hold arrays x and y"),
    ({"x_train": np.ones((3, 2)), "y_train": np.ones(3)}, "must hold x_test, y_test too"),
    ({"x_train": np.ones((3, 2)), "y_train": np.ones(3), "x_test": np.ones((3, 4)), "y_test": np.ones(3)}, "must agree"),
    ({"x": np.ones(3), "y": np.ones(3)}, "x must be a non-empty array of numbers"),
    ({"x": np.ones((0, 3)), "y": np.ones(0)}, "x must be a non-empty array of numbers"),
    ({"x": np.ones((3, 2)), "y": np.ones(4)}, "y must be one number or text a row"),
    ({"x": np.ones((3, 2)), "y": np.eye(3)}, "y must be one number or text a row"),
])
def test_each_wrong_archive_gets_its_sentence(tmp_path, arrays, sentence):
    with pytest.raises(ValueError, match=sentence):
        table.read(npz(tmp_path, **arrays))


def test_an_archive_of_objects_is_never_unpickled(tmp_path):
    path = tmp_path / "o.npz"
    np.savez(path, x=np.array([{}, None], dtype=object))
    with pytest.raises(ValueError, match=r"is not a \.npz archive of plain arrays"):
        table.read(path)


def test_missing_file_directory_column_and_infinite_number(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv: no such file"):
        table.read(tmp_path / "absent.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(IsADirectoryError, match="is a directory"):
        table.read(tmp_path / "d.csv")
    read = table.read(csv(tmp_path, "a,b\n1,2\n3,inf\n"))
    with pytest.raises(ValueError, match=r"there is no column 'c' \(columns: a, b\)"):
        read.numbers("c")
    with pytest.raises(ValueError, match=r"column 'b' must hold numbers up to 1e\+100 \(got inf in row 2\)"):
        read.numbers("b")


def test_write_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "out.csv"
    table.write(path, {"a": np.array([0.1, 2.0]), "b": ["x", "y,z"]})
    assert path.read_text() == 'a,b\n0.1,x\n2.0,"y,z"\n'

    def broken():
        yield "x"
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        table.write(path, {"a": broken()})
    assert path.read_text() == 'a,b\n0.1,x\n2.0,"y,z"\n'
    assert os.listdir(tmp_path) == ["out.csv"]


def test_check_writable_leaves_no_trace(tmp_path):
    table.check_writable(str(tmp_path / "n.npz"), (".npz",))
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match=r"must end in \.npz or \.safetensors"):
        table.check_writable(str(tmp_path / "n.pkl"), (".npz", ".safetensors"))
    with pytest.raises(OSError, match=r"cannot be written \(No such file or directory\)"):
        table.check_writable(str(tmp_path / "absent" / "n.npz"), (".npz",))
    (tmp_path / "d.npz").mkdir()
    with pytest.raises(IsADirectoryError, match="is a directory"):
        table.check_writable(str(tmp_path / "d.npz"), (".npz",))
