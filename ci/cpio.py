#!/usr/bin/env python3
"""ci/cpio.py: write a newc cpio archive (an initramfs) from a list, without root and with the same bytes every time.

    ci/cpio.py OUT < LIST

LIST has the format of the kernel's gen_init_cpio, owner always root:
    dir PATH MODE | file PATH SOURCE MODE | slink PATH TARGET | nod PATH MODE c|b MAJOR MINOR
OUT ending in .gz is compressed. Parent directories are made as needed. host.py uses this file as a module.
"""
import gzip
import os
import stat
import sys


class Archive:
    """Collects members; bytes() gives the archive, padded so that another one may follow it."""

    def __init__(self):
        self.parts = []
        self.inode = 0
        self.dirs = {""}

    def _member(self, path, mode, data=b"", rdev=(0, 0)):
        name = path.lstrip("/")
        raw = name.encode() + b"\0"
        self.inode += 1
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + raw
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def _parents(self, path):
        parent = os.path.dirname(path.lstrip("/"))
        if parent not in self.dirs:
            self.dir(parent)

    def dir(self, path, mode=0o755):
        self._parents(path)
        name = path.strip("/")
        if name not in self.dirs:
            self.dirs.add(name)
            self._member(name, stat.S_IFDIR | mode)

    def file(self, path, data, mode=0o644):
        self._parents(path)
        self._member(path, stat.S_IFREG | mode, data)

    def source(self, path, source, mode=None):
        with open(source, "rb") as f:
            data = f.read()
        self.file(path, data, (os.stat(source).st_mode & 0o777) if mode is None else mode)

    def slink(self, path, target):
        self._parents(path)
        self._member(path, stat.S_IFLNK | 0o777, target.encode())

    def nod(self, path, mode, kind, major, minor):
        self._parents(path)
        self._member(path, (stat.S_IFCHR if kind == "c" else stat.S_IFBLK) | mode, rdev=(major, minor))

    def bytes(self):
        self._member("TRAILER!!!", 0)
        data = b"".join(self.parts)
        return data + b"\0" * (-len(data) % 512)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    archive = Archive()
    for line in sys.stdin:
        word = line.split()
        if not word or word[0].startswith("#"):
            continue
        if word[0] == "dir":
            archive.dir(word[1], int(word[2], 8))
        elif word[0] == "file":
            archive.source(word[1], word[2], int(word[3], 8))
        elif word[0] == "slink":
            archive.slink(word[1], word[2])
        elif word[0] == "nod":
            archive.nod(word[1], int(word[2], 8), word[3], int(word[4]), int(word[5]))
        else:
            sys.exit(f"cpio.py: cannot read line: {line.rstrip()}")
    data = archive.bytes()
    out = sys.argv[1]
    if out.endswith(".gz"):
        data = gzip.compress(data, 9, mtime=0)
        data += b"\0" * (-len(data) % 512)  # another archive may follow
    with open(out + ".new", "wb") as f:
        f.write(data)
    os.rename(out + ".new", out)


if __name__ == "__main__":
    main()
