# Reads a page on standard input, fails unless it is whole and needs nothing else, and prints its tables as JSON.
import json
import re
import sys
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input", "line", "rect"}
KNOWN = VOID - {"img", "link", "input"} | set(
    "html head title style body main h1 h2 p ul li b span i section div svg desc g table caption thead tbody tr th td "
    "details summary footer".split()
)


class Page(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.tables, self.table = [], set(), {}, None
        self.charts, self.named = 0, []

    def handle_starttag(self, tag, attributes):
        assert tag in KNOWN, tag
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), names
        for name, value in attributes:
            assert name not in ("src", "href", "action", "data", "srcset", "background"), name
            assert not name.startswith("on"), name
            assert "url(" not in value and "//" not in value, value
            if name == "id":
                assert value not in self.ids, value
                self.ids.add(value)
            if name == "aria-labelledby":
                self.named += value.split()
        attributes = dict(attributes)
        if tag == "svg":
            assert attributes["role"] == "img"
            self.charts += 1
        if tag == "table":
            self.table = self.tables.setdefault(attributes["id"], [])
        if tag == "tr":
            self.table.append([])
        if tag in ("td", "th"):
            self.table[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in ("line", "rect"), tag
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        if "style" in self.open:
            assert "url(" not in data and "@import" not in data
        elif self.open and ("td" in self.open or "th" in self.open):
            self.table[-1][-1] += data

    def handle_decl(self, declaration):
        assert declaration == "DOCTYPE html" and self.getpos() == (1, 0)

    def handle_comment(self, comment):
        raise AssertionError(comment)

    def unknown_decl(self, data):
        raise AssertionError(data)


text = sys.stdin.buffer.read().decode("utf-8")
assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
page = Page()
page.feed(text)
page.close()
assert page.open == [], page.open
assert set(page.named) <= page.ids, page.named
json.dump({"tables": page.tables, "charts": page.charts}, sys.stdout)
