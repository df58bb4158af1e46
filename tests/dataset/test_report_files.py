from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pytest
from fintunnel_training.dataset.reports.files import SKIPPED_ZH, ReportLibrary, read_reports
from fintunnel_training.errors import DataError, OptionError
from pypdf import PageObject, PdfReader, PdfWriter

REPORT = (
    "报告期内，测试样本公司实现营业收入1,250.00万元，同比增长8.50%。归属于上市公司股东的净利润为96.30万元。"
    "净利润100.00万元。年末总资产3,000.00万元；总负债1,200.00万元。经营活动产生的现金流量净额为-45.60万元。"
)
OUTLOOK = "管理层认为，明年的市场环境仍有不确定性，公司会继续控制成本。董事会感谢各位股东一直以来的支持。"


def pdf(path: Path, *pages: list[str]) -> None:
    """A PDF whose pages show these lines; its font has no encoding, only a ToUnicode map, as Chinese PDFs do."""
    characters = sorted({character for page in pages for line in page for character in line})
    codes = {character: index + 1 for index, character in enumerate(characters)}
    mapped = "\n".join(f"<{code:04X}> <{character.encode('utf-16-be').hex()}>" for character, code in codes.items())
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /T def /CMapType 2 def\n"
        f"1 begincodespacerange <0000> <FFFF> endcodespacerange\n{len(codes)} beginbfchar\n{mapped}\nendbfchar\n"
        "endcmap end end"
    )
    font = 4 + 2 * len(pages)
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        stream(cmap),
    ]
    for index, lines in enumerate(pages):
        shown = " ".join(f"<{''.join(f'{codes[c]:04X}' for c in line)}> Tj 0 -20 Td" for line in lines)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F {font} 0 R >> >> "
            f"/Contents {5 + 2 * index} 0 R >>"
        )
        objects.append(stream(f"BT /F 12 Tf 50 800 Td {shown} ET"))
    objects.append(
        f"<< /Type /Font /Subtype /Type0 /BaseFont /T /Encoding /Identity-H /ToUnicode 3 0 R "
        f"/DescendantFonts [{font + 1} 0 R] >>"
    )
    objects.append("<< /Type /Font /Subtype /CIDFontType2 /BaseFont /T /CIDSystemInfo "
                   "<< /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /DW 1000 >>")  # fmt: skip
    data, places = b"%PDF-1.7\n", []
    for index, content in enumerate(objects):
        places.append(len(data))
        data += f"{index + 1} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    data += (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
        f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    ).encode()
    path.write_bytes(data)


def stream(content: str) -> str:
    return f"<< /Length {len(content.encode())} >>\nstream\n{content}\nendstream"


def texts(library: ReportLibrary) -> list[str]:
    return [passage.text for passage in library.passages]


# --- reading ------------------------------------------------------------------------------------------


def test_chinese_pdf_pages_become_passages_with_page_numbers_and_whole_lines(tmp_path: Path) -> None:
    pdf(
        tmp_path / "样本公司年报.pdf",
        ["报告期内，样本公司实现营业收", "入1250.00万元，净利润为", "100.00万元，较上年有所增", "长。", "1"],
        ["年末总资产3000.00万元。"],
    )
    library = read_reports(tmp_path)
    assert texts(library) == [
        "报告期内，样本公司实现营业收入1250.00万元，净利润为100.00万元，较上年有所增长。",
        "年末总资产3000.00万元。",
    ]
    assert [(p.source, p.page) for p in library.passages] == [("样本公司年报", 1), ("样本公司年报", 2)]
    assert library.skipped == {} and library.files == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_text_files_are_read_in_the_encodings_of_chinese_systems(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "报告.TXT").write_bytes(REPORT.encode(encoding))
    assert texts(read_reports(tmp_path)) == [REPORT]


def test_files_are_read_below_subfolders_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b/二.md", "a/三.txt", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"文件{name}的内容不多，只有一句话。", encoding="utf-8")
    for name in ("说明.docx", ".hidden.txt", "~$打开着.txt"):
        (tmp_path / name).write_text("这里的内容不应被读到，因为不是报告。", encoding="utf-8")
    assert [p.source for p in read_reports(tmp_path).passages] == ["三", "二", "c"]


def test_spaces_inside_chinese_words_go_and_those_between_columns_stay(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("营 业 收 入 12.50 10.00\n净利润  3.10 2.90\n", encoding="utf-8")
    assert texts(read_reports(tmp_path)) == ["营业收入 12.50 10.00 净利润 3.10 2.90"]


def test_long_texts_are_cut_at_sentence_ends(tmp_path: Path) -> None:
    sentences = [f"这是用来测试切分的第{index}句话，它的长度与其他各句差不多。" for index in range(90)]
    (tmp_path / "长文.md").write_text("".join(sentences), encoding="utf-8")
    found = texts(read_reports(tmp_path))
    assert len(found) > 3 and all(len(text) <= 600 and text.endswith("。") for text in found)
    assert "".join(found) == "".join(sentences)


def test_a_sentence_without_an_end_is_cut_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("没有句号的长文" * 400, encoding="utf-8")
    found = texts(read_reports(tmp_path))
    assert "".join(found) == "没有句号的长文" * 400 and max(map(len, found)) <= 600


def test_unusable_files_are_named_by_reason_and_do_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "好.txt").write_text(REPORT, encoding="utf-8")
    (tmp_path / "空.pdf").write_bytes(b"")
    (tmp_path / "空.txt").write_bytes(b" \n")
    (tmp_path / "坏.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 20)
    (tmp_path / "二进制.txt").write_bytes(b"\x00\x01\x02\xff" * 50)
    pdf(tmp_path / "整.pdf", ["整页的文字在这里，足够长的一行。"])
    whole = (tmp_path / "整.pdf").read_bytes()
    (tmp_path / "断.pdf").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "整.pdf").unlink()
    blank = PdfWriter()
    blank.add_blank_page(200, 200)
    blank.write(tmp_path / "扫描.pdf")
    blank.encrypt("密码", algorithm="RC4-128")
    blank.write(tmp_path / "加密.pdf")
    with (tmp_path / "大.txt").open("wb") as large:
        large.truncate(50_000_001)  # sparse
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "管道.txt")

    library = read_reports(tmp_path)

    assert texts(library) == [REPORT] and library.files == 1
    skipped = {name: reason for reason, names in library.skipped.items() for name in names}
    damaged = {name: skipped.pop(name) for name in ("坏.pdf", "断.pdf")}
    assert set(damaged.values()) <= {"damaged", "scanned"} and damaged["坏.pdf"] == "damaged"
    pipe = {"管道.txt": "unreadable"} if hasattr(os, "mkfifo") else {}
    assert skipped == {
        "空.pdf": "empty", "空.txt": "empty", "二进制.txt": "not text", "扫描.pdf": "scanned", "加密.pdf": "encrypted",
        "大.txt": "too large", **pipe,
    }  # fmt: skip
    assert set(library.skipped) <= set(SKIPPED_ZH) and library.skipped_counts["empty"] == 2
    assert not caplog.records and capfd.readouterr() == ("", "")
    assert logging.getLogger("pypdf").level == logging.NOTSET


def test_a_pdf_whose_password_is_empty_is_read(tmp_path: Path) -> None:
    pdf(tmp_path / "原.pdf", ["年末总资产3000.00万元，别无其他。"])
    locked = PdfWriter(clone_from=PdfReader(tmp_path / "原.pdf"))
    locked.encrypt("", "owner", algorithm="RC4-128")
    locked.write(tmp_path / "只限打印.pdf")
    assert len(set(texts(read_reports(tmp_path)))) == 1 and read_reports(tmp_path).files == 2


def test_whatever_pypdf_raises_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "好.txt").write_text(REPORT, encoding="utf-8")
    pdf(tmp_path / "两页.pdf", ["第一页上写着一些字，可以读到。"], ["第二页读不出来，会抛出异常。"])

    def second_page_fails(page: PageObject) -> str:
        if page.page_number == 1:
            raise RecursionError
        return "第一页上写着一些字，可以读到。"

    monkeypatch.setattr(PageObject, "extract_text", second_page_fails)
    assert read_reports(tmp_path).skipped == {"damaged page": ["两页.pdf 第 2 页"]}
    monkeypatch.setattr("pypdf.PdfReader.__init__", lambda *_: 1 / 0)
    assert read_reports(tmp_path).skipped == {"damaged": ["两页.pdf"]}


@pytest.mark.parametrize("name", ["没有", "文件.txt"])
def test_a_folder_that_is_none_is_wrong_use(tmp_path: Path, name: str) -> None:
    (tmp_path / "文件.txt").write_text(REPORT, encoding="utf-8")
    with pytest.raises(OptionError, match="--reports .*请给出") as caught:
        read_reports(tmp_path / name)
    assert caught.value.exit_status == 2


def test_a_folder_without_anything_usable_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="没有可用的报告.*没有这类文件"):
        read_reports(tmp_path)
    (tmp_path / "空.pdf").write_bytes(b"")
    with pytest.raises(DataError, match="空文件：空.pdf"):
        read_reports(tmp_path)


@pytest.mark.parametrize("filler", ["没有句号的长文", "营业成本 40.12 35.66 ", "合计12,345.67", "1250亿元"])
def test_no_cut_falls_inside_a_number_or_before_its_unit(tmp_path: Path, filler: str) -> None:
    whole = "共" + filler * 200 + "完"
    (tmp_path / "a.txt").write_text(whole, encoding="utf-8")
    found = texts(read_reports(tmp_path))
    assert len(found) > 1 and max(map(len, found)) <= 600
    number = r"\d[\d.,]*(?:亿元)?"
    assert {each for text in found for each in re.findall(number, text)} == set(re.findall(number, filler))


def test_the_library_knows_the_file_of_each_passage(tmp_path: Path) -> None:
    (tmp_path / "子").mkdir()
    (tmp_path / "子" / "年报.md").write_text(OUTLOOK, encoding="utf-8")
    (tmp_path / "年报.txt").write_text(REPORT * 20, encoding="utf-8")
    library = read_reports(tmp_path)
    assert len(library.names) == len(library.passages) > 2 and library.files == 2
    assert library.names[-1] == "年报.txt" and library.names.count("子/年报.md") == 1
