"""What tests/html/run.sh asks of a screenshot and of a page's DOM.

check.py hostile FROM TO         a profile whose strings try to be markup
check.py bars PNG light|dark     the picture is not blank, and has bars of both profiles
check.py dom FILE TEXT...        the page shows these texts, and has no element that would run or load something
"""
import collections
import html.parser
import json
import struct
import sys
import zlib

COLOURS = {"light": ((0xFF, 0xFF, 0xFF), (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)),
           "dark": ((0x15, 0x18, 0x1C), (0x56, 0xB4, 0xE9), (0xF2, 0x91, 0x4A))}


def pixels(path):
    """Width, height and how often each colour is there, of an 8-bit RGB or RGBA PNG."""
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "no PNG"
    at, idat = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            idat += body
        at += 12 + length
    assert depth == 8 and colour in (2, 6) and not interlace, "another kind of PNG than browsers write"
    bpp = 3 if colour == 2 else 4
    raw, stride = zlib.decompress(idat), width * bpp
    assert len(raw) == height * (stride + 1), "not as long as it says"
    count, above = collections.Counter(), bytearray(stride)
    for y in range(height):
        kind, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        unfilter(kind, line, above, bpp)
        count.update(zip(line[0::bpp], line[1::bpp], line[2::bpp]))
        above = line
    return width, height, count


def unfilter(kind, line, above, bpp):
    assert kind <= 4, "unknown filter"
    if kind == 2:
        line[:] = bytes((a + b) & 255 for a, b in zip(line, above))
        return
    for i in range(len(line) if kind else 0):
        left, up = line[i - bpp] if i >= bpp else 0, above[i]
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + up) // 2
        else:
            corner = above[i - bpp] if i >= bpp else 0
            p = left + up - corner
            guess = min((abs(p - left), 0, left), (abs(p - up), 1, up), (abs(p - corner), 2, corner))[2]
        line[i] = (line[i] + guess) & 255


def bars(path, scheme):
    ground, *colours = COLOURS[scheme]
    width, height, count = pixels(path)
    total = width * height
    assert count[ground] > total // 3, f"the ground {ground} is {count[ground]} of {total} pixels: what is this a picture of?"
    assert len(count) > 50, f"only {len(count)} colours: there is no text"
    for c in colours:
        assert total // 200 < count[c] < total // 4, f"bars of colour {c} are {count[c]} of {total} pixels"
    print(f"{width}x{height}:", *(f"{count[c]} of {c}" for c in colours))


class Dom(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.text, self.tags, self.attributes = [], set(), set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {a for a, _ in attrs}

    def handle_data(self, data):
        self.text.append(data)


def dom(path, *texts):
    page = Dom()
    page.feed(open(path, encoding="utf-8").read())
    text = " ".join(page.text)
    for t in texts:
        assert t in text, f"'{t}' is not shown"
    bad = page.tags & {"script", "img", "link", "iframe", "object", "image", "use", "a", "form"}
    bad |= {a for a in page.attributes if a.startswith("on") or a in ("src", "href", "xlink:href", "action")}
    assert not bad, f"the page has {', '.join(sorted(bad))}"


def hostile(source, target):
    o = json.load(open(source))
    o["label"] = '<script>document.title="taken"</script>'
    o["name"] = "<img src=x onerror=alert(1)>"
    o["host"]["cpu"] = "\"'><svg onload=alert(1)>&lt;"
    o["accesses"][0]["device"] = "</svg></table><script>1</script>"
    o["accesses"][0]["register"] = "]]>--><style>*{display:none}</style>\u202e\u001b[2J"
    json.dump(o, open(target, "w"))


if __name__ == "__main__":
    try:
        {"hostile": hostile, "bars": bars, "dom": dom}[sys.argv[1]](*sys.argv[2:])
    except AssertionError as e:
        sys.exit(str(e))
