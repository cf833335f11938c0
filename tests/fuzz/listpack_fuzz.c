/* listpack_fuzz.c: any bytes at all go to the listpack's reader.
 *
 * What it takes as a listpack is walked in both directions, searched, changed at a place that the
 * input names, and must stay valid; what it refuses must not have been read past its end, which the
 * sanitizer watches: the input lies in a block of exactly its size.
 */
#include "shard/type/listpack.h"
#include "tests/fuzz/driver.h"

static void walk(const struct listpack *lp)
{
    uint64_t forwards = 0, backwards = 0;
    for (uint32_t at = listpack_first(lp); at; at = listpack_next(lp, at), forwards++) {
        char scratch[TEXT_I64_BYTES_MAX];
        struct bytes text = listpack_text(lp, at, scratch);
        uint32_t found = listpack_find(lp, at, text, 0);
        CHECK(found == at && listpack_equals(lp, at, text));
    }
    for (uint32_t at = listpack_last(lp); at; at = listpack_prev(lp, at)) backwards++;
    CHECK(forwards == backwards && forwards == listpack_length(lp));
}

static void change(struct mem *mem, struct listpack **lp, uint8_t choice, struct bytes value)
{
    uint32_t at = listpack_seek(*lp, (int8_t)choice);
    uint64_t before = listpack_length(*lp);
    if (!at || choice & 64) {
        CHECK(listpack_try_insert(mem, lp, at, value));
        CHECK(listpack_length(*lp) == before + 1);
    } else if (choice & 32) {
        CHECK(listpack_try_replace(mem, lp, at, value));
        CHECK(listpack_length(*lp) == before);
    } else {
        listpack_delete(mem, lp, at, choice & 3);
    }
    listpack_validate(*lp);
}

/* Elements come and go at both ends of a listpack with room there. */
static void change_ends(struct mem *mem, struct listpack **lp, uint8_t choice, struct bytes value)
{
    uint64_t before = listpack_length(*lp);
    struct listpack_block b = listpack_block_of(*lp);
    CHECK(listpack_block_try_prepend(mem, &b, value, 64));
    CHECK(choice & 1 ? listpack_block_try_append(mem, &b, value, 4096)
                     : listpack_block_try_prepend(mem, &b, value, 4096));
    listpack_validate(b.lp);
    listpack_block_delete(mem, &b, listpack_last(b.lp), 1);
    if (choice & 2) listpack_block_delete(mem, &b, LISTPACK_HEADER_BYTES, choice >> 4);
    listpack_validate(b.lp);
    CHECK(choice & 2 || listpack_length(b.lp) == before + 1);
    *lp = listpack_block_fit(mem, &b);
    listpack_validate(*lp);
}

/* The first byte chooses what is done to a listpack that was accepted. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct mem mem;
    mem_init(&mem, "listpack_fuzz");
    uint8_t *exact = malloc(size);
    if (!exact) return 1;
    memcpy(exact, data + 1, size - 1);
    struct bytes bytes = bytes_make(exact, size - 1);
    struct listpack *lp = listpack_try_from_bytes(&mem, bytes);
    CHECK((lp != NULL) == listpack_is_valid(bytes, NULL));
    if (lp) {
        walk(lp);
        change(&mem, &lp, data[0], bytes_make(data, MIN(size, (size_t)data[0])));
        walk(lp);
        change_ends(&mem, &lp, data[0], bytes_make(data, MIN(size, (size_t)data[0])));
        walk(lp);
        listpack_free(&mem, lp);
    }
    free(exact);
    mem_deinit(&mem);
    return 0;
}

/* ---- inputs ---- */

#define INPUT_BYTES_MAX (64 * 1024)
#define ELEMENTS_MAX 12

/* A listpack behind the first byte, with a few bytes spoilt in two runs of three. */
void fuzz_make_input(struct buf *out, struct random *r)
{
    uint8_t *input = (uint8_t *)buf_reserve(out, INPUT_BYTES_MAX);
    struct mem *mem = out->mem;
    static const size_t sizes[] = {0, 1, 5, 62, 64, 124, 126, 127, 4095, 4096};
    char text[5000];
    struct listpack *lp = listpack_try_create(mem);
    CHECK(lp);
    for (uint64_t i = random_below(r, ELEMENTS_MAX); i > 0; i--) {
        struct bytes value = bytes_make(text, sizes[random_below(r, ARRAY_LEN(sizes))]);
        memset(text, (int)random_below(r, 256), sizeof text);
        if (random_below(r, 2)) {
            int64_t n = (int64_t)random_next(r) >> random_below(r, 64);
            CHECK(listpack_try_append_integer(mem, &lp, n));
        } else {
            CHECK(listpack_try_append(mem, &lp, value));
        }
    }
    size_t size = listpack_bytes(lp);
    memcpy(input + 1, lp, size);
    listpack_free(mem, lp);
    input[0] = (uint8_t)random_below(r, 256);
    for (uint64_t i = random_below(r, 3); i > 0; i--) {
        size_t at =
            random_below(r, 2) ? random_below(r, MIN(size, (size_t)12)) : random_below(r, size);
        static const uint8_t heads[] = {0,    1,    0x7f, 0x80, 0xbf, 0xc0, 0xe0,
                                        0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xff};
        input[1 + at] = random_below(r, 2) ? heads[random_below(r, ARRAY_LEN(heads))]
                                           : (uint8_t)random_below(r, 256);
    }
    if (random_below(r, 8) == 0) { /* cut short, but the header says so */
        size = 1 + random_below(r, size);
        for (unsigned i = 0; i < 4 && i < size; i++) input[1 + i] = (uint8_t)(size >> (8 * i));
        input[size] = 0xff;
    }
    out->size = 1 + size;
}
