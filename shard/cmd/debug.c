/* debug.c: DEBUG HTSTATS, HTSTATS-KEY and LISTPACK: how tables and values are built. The rows are
 * the server's.
 */
#include <inttypes.h>

#include "base/log.h"
#include "base/sha1.h"
#include "shard/cmd/args.h"
#include "shard/cmd/families.h"
#include "shard/object.h"

/* ---- tables, in the words that Redis has for its own ---- */

/* Entries of one bucket, those included that have overflowed to the next ones: a chain. */
#define CHAIN_LENGTH_MAX 50 /* longer ones are counted as such */

struct table_stats {
    uint64_t buckets, used, longest;
    uint64_t chains[CHAIN_LENGTH_MAX]; /* by length */
};

static void count_entry(void *context, UNUSED struct entry *e, UNUSED uint64_t position)
{
    ++*(uint64_t *)context;
}

static void measure(const struct dict *d, struct table_stats *out)
{
    *out = (struct table_stats){0};
    uint64_t cursor = 0;
    do {
        uint64_t length = 0;
        cursor = dict_scan(d, cursor, count_entry, &length);
        out->buckets++;
        out->used += length > 0;
        out->longest = MAX(out->longest, length);
        out->chains[MIN(length, (uint64_t)CHAIN_LENGTH_MAX - 1)]++;
    } while (cursor != 0);
}

/* `d` NULL: there is no such table. */
static void print_table(struct buf *text, const struct dict *d)
{
    struct table_stats s;
    buf_append_text(text, "Hash table 0 stats (main hash table):\n");
    if (!d || d->count == 0) {
        buf_append_text(text, "No stats available for empty dictionaries\n");
        return;
    }
    measure(d, &s);
    double average = (double)d->count / (double)s.used;
    buf_printf(text,
               " table size: %" PRIu64 "\n number of elements: %" PRIu64
               "\n different slots: %" PRIu64 "\n max chain length: %" PRIu64
               "\n avg chain length (counted): %.02f\n avg chain length (computed): %.02f\n"
               " Chain length distribution:\n",
               s.buckets, d->count, s.used, s.longest, average, average);
    for (unsigned i = 0; i < CHAIN_LENGTH_MAX; i++) {
        if (s.chains[i] == 0) continue;
        buf_printf(text, "   %u: %" PRIu64 " (%.02f%%)\n", i, s.chains[i],
                   (double)s.chains[i] / (double)s.buckets * 100);
    }
}

enum err cmd_debug_htstats_part(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t db;
    enum err e = arg_i64(rq, 2, &db);
    if (e != OK) return e;
    if (db < 0 || db >= (int64_t)sh->keys.database_count) {
        reply_error(out, "ERR Out of range database");
        return OK;
    }
    const struct database *database = sh->keys.databases[db];
    struct buf text = {.mem = &sh->mem};
    if (sh->shard_count > 1) buf_printf(&text, "[Shard %u]\n", sh->id);
    buf_append_text(&text, "[Dictionary HT]\n");
    print_table(&text, database ? &database->keys : NULL);
    /* Deadlines stand in the entries. */
    buf_append_text(&text, "[Expires HT]\n");
    print_table(&text, NULL);
    reply_verbatim(out, "txt", buf_view(&text));
    buf_clear(&text);
    return OK;
}

enum err cmd_debug_htstats_key(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 2);
    const struct entry *e = keyspace_peek(sh, &k);
    if (!e) return ERR_NO_KEY;
    const struct type_ops *ops = object_ops(entry_type(e));
    const struct dict *d = ops && ops->table ? ops->table(entry_root(e), entry_encoding(e)) : NULL;
    if (!d) {
        reply_error(out, "ERR The value stored at the specified key is not represented using an "
                         "hash table");
        return OK;
    }
    struct buf text = {.mem = &sh->mem};
    print_table(&text, d);
    reply_verbatim(out, "txt", buf_view(&text));
    buf_clear(&text);
    return OK;
}

/* ---- listpacks ---- */

/* A server has no standard output that anybody reads: the log gets it. */
enum err cmd_debug_listpack(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 2);
    const struct entry *e = keyspace_peek(sh, &k);
    if (!e) return ERR_NO_KEY;
    if (entry_encoding(e) != ENCODING_LISTPACK) {
        reply_error(out, "ERR Not a listpack encoded object.");
        return OK;
    }
    struct digest digest = {0};
    object_ops(entry_type(e))->digest(entry_root(e), ENCODING_LISTPACK, &digest);
    char hex[2 * SHA1_BYTES + 1] = "";
    sha1_to_hex(digest.bytes, hex);
    log_warning("DEBUG LISTPACK: %s at %p, %" PRIu64 " bytes with its entry, digest %s",
                type_name(entry_type(e)), entry_root(e), object_bytes(e, 0), hex);
    reply_status(out, "Listpack structure printed on stdout");
    return OK;
}
