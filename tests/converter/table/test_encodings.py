"""The message about a line that cannot be decoded names the encodings in which it reads as words, and how it reads."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.table import encodings
from multihot.errors import UserError

ReadCsv = Callable[..., Any]


@pytest.mark.parametrize(
    ("encoding", "labels", "word"),
    [
        pytest.param("cp1252", "grün,rot", "grün", id="umlauts"),
        pytest.param("cp1252", "Ärger,Öl,Fuß", "Ärger", id="umlauts that are Hangul with the next letter"),
        pytest.param("cp1252", "ÜBERGRÖSSE", "ÜBERGRÖSSE", id="umlauts in capitals"),
        pytest.param("cp1252", "été,forêt,à la mer", "été", id="accents"),
        pytest.param("cp1252", "España,niño", "España", id="tilde"),
        pytest.param("cp1252", "“sea” – façade", "façade", id="quotes"),
        pytest.param("mac_roman", "grün,Küste", "grün", id="Excel on macOS"),
        pytest.param("cp850", "grün,Küste", "grün", id="Excel for DOS"),
        pytest.param("cp949", "바다,사막", "바다", id="Hangul"),
        pytest.param("cp949", "산", "산", id="one Hangul"),
        pytest.param("shift_jis", "ネコ,空と海", "ネコ", id="Kana"),
        pytest.param("shift_jis", "海", "海", id="one Kanji"),
        pytest.param("euc_jp", "空と海", "空と海", id="Kana on Unix"),
        pytest.param("gb18030", "山,树木,日落,沙漠", "山", id="Chinese"),
        pytest.param("big5", "貓,樹木,日落,沙漠", "貓", id="Chinese in Taiwan"),
        pytest.param("cp1251", "море,Горы", "море", id="Cyrillic"),
        pytest.param("koi8_r", "море,горы", "море", id="Cyrillic on Unix"),
        pytest.param("cp1253", "θάλασσα,βουνό", "θάλασσα", id="Greek"),
        pytest.param("cp1250", "łąka,książka", "łąka", id="Polish"),
        pytest.param("cp1254", "ağaç,güneş", "ağaç", id="Turkish"),
    ],
)
@pytest.mark.parametrize("tried", ["utf-8", "ascii"])
def test_the_encoding_in_which_words_come_out_is_named_first(
    read: ReadCsv, encoding: str, labels: str, word: str, tried: str
) -> None:
    content = f'file,labels\n1.jpg,sand\n2.jpg,"{labels}"\n'.encode(encoding)
    with pytest.raises(UserError) as caught:
        read(content, encoding=tried)
    message = re.sub(r"^.*labels\.csv ", "", str(caught.value))
    assert re.match(rf"line 3 is not {tried}: .*\. Name its encoding: --encoding={encoding} reads '{word}'", message)
    # The file is read with the encoding that is named.
    assert {"sand", *labels.split(",")} == set(read(content, encoding=encoding, label_delimiter=",").table.classes)


def test_utf_8_is_named_where_another_encoding_was_given(read: ReadCsv) -> None:
    with pytest.raises(UserError, match=r"Name its encoding: --encoding=utf-8 reads 'été'$"):
        read("file,labels\n1.jpg,été\n", encoding="ascii")


def test_a_line_of_another_encoding_among_others_is_to_be_mended(read: ReadCsv) -> None:
    content = "file,labels\n1.jpg,été\n2.jpg,grün\n".encode() + "3.jpg,forêt\n".encode("cp1252")
    with pytest.raises(UserError, match=r"line 4 is not utf-8: .* Most other lines are: mend this one, which may be"):
        read(content)


def test_where_no_words_come_out_examples_are_named(read: ReadCsv) -> None:
    with pytest.raises(UserError, match=r"Name its encoding, e\.g\. --encoding=cp1252 or --encoding=cp949$"):
        read(b"file,labels\n1.jpg,\xff\xfe\x81\x00\xb2\n")


@given(st.lists(st.binary(max_size=30), max_size=5))
def test_any_bytes_have_at_most_two_readings(lines: list[bytes]) -> None:
    for reading in encodings.readings(lines):
        b"".join(lines).decode(reading.encoding)
    assert len(encodings.readings(lines)) <= 2
