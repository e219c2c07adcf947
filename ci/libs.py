#!/usr/bin/env python3
"""ci/libs.py BINARY ROOT: the shared libraries a binary needs, as SOURCE:PATH-IN-HOST, found below ROOT (/ for this machine's)."""
import glob
import os
import re
import subprocess
import sys


def needed(path):
    text = subprocess.run(["readelf", "-dl", path], check=True, capture_output=True, text=True).stdout
    names = re.findall(r"\(NEEDED\).*\[(.*)\]", text)
    return names + [os.path.basename(p) for p in re.findall(r"interpreter: (.*)\]", text)], re.findall(r"interpreter: (.*)\]", text)


def find(name, root):
    places = ["lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"]
    for place in places:
        for path in glob.glob(os.path.join(root, place, name)):
            return path
    sys.exit(f"ci/libs.py: {name} is not below {root}")


def main():
    todo, seen = [sys.argv[1]], {}
    while todo:
        names, interpreters = needed(todo.pop())
        for interpreter in interpreters:
            seen[os.path.basename(interpreter)] = (find(os.path.basename(interpreter), sys.argv[2]), interpreter)
        for name in names:
            if name not in seen:
                path = find(name, sys.argv[2])
                seen[name] = (path, "/lib/" + name)
                todo.append(path)
    for path, target in seen.values():
        print(f"{path}:{target}")


if __name__ == "__main__":
    main()
