#!/usr/bin/python3
"""limits.py: lines per file and function, nesting, parameters, columns; and clang-format where it is installed.

Tables of data, between clang-format off and on, are exempt.
"""

import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import source

FILE_LINES_MAX = 1000
FUNCTION_LINES_MAX = 70
NESTING_MAX = 3
PARAMETERS_MAX = 6
COLUMNS_MAX = {".c": 100, ".h": 100, ".py": 160}
NOT_A_CALL = {"return", "sizeof", "alignof", "_Alignof", "typeof", "case"}


def opener(text, close):
    """The index of the bracket that text[close] closes."""
    depth = 0
    for i in range(close, -1, -1):
        if text[i] in ")]}":
            depth += 1
        elif text[i] in "([{":
            depth -= 1
            if depth == 0:
                return i
    return 0


def word_before(text, end):
    match = re.search(r"(\w+)\s*$", text[:end])
    return match.group(1) if match else ""


def without_preprocessor(text):
    """Blanks directives, with their continuation lines."""
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.M)


def is_block(text, brace):
    """Whether this brace opens a block of statements rather than an initialiser."""
    before = text[:brace].rstrip()
    if not before or before[-1] in ";{}:" or re.search(r"\b(else|do)$", before):
        return True
    if before[-1] != ")":
        return False
    name = word_before(before, opener(before, len(before) - 1))
    return bool(name) and name not in NOT_A_CALL


def parameters(head):
    inner = head[opener(head, len(head) - 1) + 1:-1].strip()
    depth, count = 0, 1
    for c in inner:
        depth += (c in "([{") - (c in ")]}")
        count += c == "," and depth == 0
    return 0 if inner in ("", "void") else count


def function_head(text, start, brace):
    """The declarator before a brace at the top level, or None if it is a type or data."""
    head = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", text[start:brace], flags=re.S).rstrip()
    if not head.endswith(")") or re.search(r"=\s*[^=]*$", head[:opener(head, len(head) - 1)]):
        return None
    return head


def functions(text):
    """(name, first line, last line, nesting, parameters) of each function body."""
    start, depth, i = 0, 0, 0
    stack, current = [], None
    for match in re.finditer(r"[{};]", text):
        i, c = match.start(), match.group()
        if c == ";" and depth == 0:
            start = i + 1
        elif c == "{":
            if depth == 0:
                head = function_head(text, start, i)
                current = None
                if head is not None:
                    name = word_before(head, opener(head, len(head) - 1))
                    first = text.count("\n", 0, start + len(text[start:i]) - len(text[start:i].lstrip())) + 1
                    current = [name, first, 0, 0, parameters(head)]
                stack.append(False)
            else:
                stack.append(is_block(text, i))
                if current:
                    current[3] = max(current[3], sum(stack))
            depth += 1
        elif c == "}" and depth > 0:
            depth -= 1
            stack.pop()
            if depth == 0:
                if current:
                    current[2] = text.count("\n", 0, i) + 1
                    yield tuple(current)
                start, current = i + 1, None


def check_functions(path, text, exempt):
    code = without_preprocessor(source.code_only(text))
    for name, first, last, nesting, count in functions(code):
        lines = sum(1 for n in range(first, last + 1) if n not in exempt)
        if lines > FUNCTION_LINES_MAX:
            yield f"{path}:{first}: {name} has {lines} lines, {FUNCTION_LINES_MAX} are allowed"
        if nesting > NESTING_MAX:
            yield f"{path}:{first}: {name} nests {nesting} deep, {NESTING_MAX} is allowed"
        # Criterion's Test() takes any number of options.
        if count > PARAMETERS_MAX and not name.endswith("Test"):
            yield f"{path}:{first}: {name} has {count} parameters, {PARAMETERS_MAX} are allowed"


def check_text(path, text, exempt):
    lines = text.rstrip("\n").split("\n")
    columns = COLUMNS_MAX[os.path.splitext(path)[1] or ".py"]
    if len(lines) - len(exempt) > FILE_LINES_MAX:
        yield f"{path}:1: has {len(lines) - len(exempt)} lines, {FILE_LINES_MAX} are allowed"
    for number, line in enumerate(lines, 1):
        if number in exempt:
            continue
        if len(line) > columns:
            yield f"{path}:{number}: {len(line)} columns, {columns} are allowed"
        if line != line.rstrip():
            yield f"{path}:{number}: blanks at the end of the line"


def check_format(paths):
    tool = shutil.which("clang-format")
    if tool is None or not paths:
        return
    run = subprocess.run([tool, "--dry-run", "--style=file", *paths], cwd=source.ROOT, capture_output=True, text=True)
    first = {}
    for line in run.stderr.split("\n"):
        match = re.match(r"(\S+?):(\d+):\d+: warning: code should be clang-formatted", line)
        if match:
            first.setdefault(match.group(1), []).append(match.group(2))
    for path, numbers in first.items():
        yield f"{path}:{numbers[0]}: {len(numbers)} places are not as clang-format writes them (clang-format -i {path})"


def main():
    c_paths = source.files(source.C_FOLDERS, (".c", ".h"))
    py_paths = source.python_files()
    problems = []
    for path in c_paths + py_paths:
        text = source.read(path)
        exempt = source.data_lines(text)
        problems += check_text(path, text, exempt)
        if path in c_paths:
            problems += check_functions(path, text, exempt)
    problems += check_format(c_paths)
    return source.finish("limits", problems, len(c_paths) + len(py_paths))


if __name__ == "__main__":
    sys.exit(main())
