"""The multipart frame around an instance, however the line cuts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.pacs.multipart import MAX_HEAD_BYTES, NotMultipartError, pass_on_part

HEAD = b"--mark\r\nContent-Type: application/dicom\r\n\r\n"


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def read(chunks: list[bytes]) -> bytes:
    content = bytearray()
    pass_on_part(chunks, "mark", content.extend)
    return bytes(content)


# Content full of what the frame is made of.
contents = st.lists(
    st.sampled_from([b"\r\n", b"--", b"mark", b"\r\n--mar", b"\r\n--", b"\0", b"abc"]), max_size=30
).map(b"".join)


@given(content=contents.filter(lambda text: b"\r\n--mark" not in b"\r\n" + text), size=st.integers(1, 40))
def test_the_content_comes_out_whatever_the_chunks(content: bytes, size: int) -> None:
    body = HEAD + content + b"\r\n--mark--\r\n"
    assert read(cut(body, size)) == content


@pytest.mark.parametrize("lost", [1, 2, 9, 40])
def test_a_body_that_is_cut_off_is_not_whole(lost: int) -> None:
    body = HEAD + b"content of the instance" + b"\r\n--mark--"
    with pytest.raises(NotMultipartError):
        read(cut(body[:-lost], 7))


def test_a_second_part_is_refused() -> None:
    with pytest.raises(NotMultipartError, match="more than one"):
        read([HEAD + b"one\r\n" + HEAD + b"two\r\n--mark--\r\n"])


def test_a_body_without_a_frame_is_not_read_for_ever() -> None:
    endless = (b"x" * 1000 for _ in range(10_000))
    with pytest.raises(NotMultipartError, match="no part"):
        pass_on_part(endless, "mark", lambda _: None)
    assert sum(1 for _ in endless) > 10_000 - 2 * MAX_HEAD_BYTES // 1000
