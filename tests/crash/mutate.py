#!/usr/bin/env python3
"""mutate.py NAME INPUT OUTPUT: a source of the log with one bug, which tests/crash or tests/sim must find.

The text that is replaced must stand in the source exactly once, so a mutant cannot fall out of use unnoticed.
"""
import sys

MUTANTS = {
    # Checksums that say nothing of file and place.
    "unseeded-crc": ("uint32_t crc = crc32c(0, bytes_make(uuid, sizeof *uuid));\n    crc = crc32c(crc, bytes_make(&offset, sizeof offset));",
                     "uint32_t crc = (uint32_t)(0 * (offset + uuid->bytes[0]));"),
    # Stable is what was appended.
    "early-stable": ("a->policy == AOF_ALWAYS ? a->durable_lsn : a->written_lsn;", "a->next_lsn - 1;"),
    # Stable is what was written, although the policy is always.
    "written-is-stable": ("a->policy == AOF_ALWAYS ? a->durable_lsn : a->written_lsn;", "a->written_lsn;"),
    # A manifest whose name, or whose contents, may not be durable.
    "no-directory-sync": ("return env_sync_directory(parent);", "return OK;"),
    "no-manifest-sync": ("enum err e = sync_output(f);", "enum err e = OK;"),
    # Incomplete transactions are kept.
    "no-cut": ("if (!is_whole(r, at, txid)) r->cut_txid = txid;", "(void)!is_whole(r, at, txid);"),
    # A valid record behind damage counts as corruption, whether it was durable or not.
    "any-later-record": ("if (mark.durable_lsn >= lsn) *vouched = true;", "*vouched = mark.durable_lsn >= lsn || lsn > 0;"),
    # What survived the end of a process is closed without having been synced.
    "unsynced-close": ("if (!is_sealed && with_file(r, i, seal_file) != OK) return ERR_IO;",
                       "if (!is_sealed && r->files[i].end_lsn != 0 && with_file(r, i, seal_file) != OK) return ERR_IO;"),
    # Replies leave before their records are stable.
    "server-sent-early": ("return item->lsn <= aof_stable_lsn(w->durable.log) && is_resolved(w, item->txid);",
                          "return item->lsn <= NEVER_LSN && is_resolved(w, item->txid);"),
    # A mark vouches for more than was durable.
    "boastful-mark": ("struct segment_mark mark = {a->durable_lsn, a->resolved_txid};",
                      "struct segment_mark mark = {a->next_lsn - 1, a->resolved_txid};"),
}


def main():
    name, source, target = sys.argv[1:]
    old, new = MUTANTS[name]
    with open(source, encoding="utf-8") as f:
        text = f.read()
    if text.count(old) != 1:
        sys.exit(f"mutate.py: {source}: the text of {name} stands there {text.count(old)} times")
    with open(target, "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))


if __name__ == "__main__":
    main()
