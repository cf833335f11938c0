/* Feeds the parser of manifests. What it takes must be what the encoder writes, byte for byte. */
#include "base/log.h"
#include "persist/crc32c.h"
#include "persist/manifest.h"
#include "tests/fuzz/driver.h"

#define INPUT_BYTES_MAX 4096

static void parse(struct mem *mem, struct bytes text)
{
    struct manifest m;
    struct buf again = {.mem = mem};
    char why[MANIFEST_WHY_BYTES] = "";
    manifest_init(&m, mem);
    if (manifest_parse(&m, text, why)) {
        manifest_encode(&m, &again);
        CHECK(bytes_equal(buf_view(&again), text));
        for (unsigned i = 0; i < m.file_count; i++) {
            char name[MANIFEST_FILE_NAME_BYTES];
            manifest_file_name(&m.files[i], name);
            CHECK(m.files[i].shard < MANIFEST_SHARDS_MAX);
        }
    } else {
        CHECK(why[0] != 0);
    }
    buf_clear(&again);
    manifest_deinit(&m);
}

/* Once as it is, and once with a checksum that is right. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mem mem;
    mem_init(&mem, "manifest_fuzz");
    char *exact = malloc(size + 1);
    if (!exact) return 1;
    memcpy(exact, data, size);
    parse(&mem, bytes_make(exact, size));
    struct buf text = {.mem = &mem};
    buf_append(&text, exact, size);
    buf_printf(&text, "crc %08x\n", (unsigned)crc32c(0, bytes_make(exact, size)));
    parse(&mem, buf_view(&text));
    buf_clear(&text);
    free(exact);
    mem_deinit(&mem);
    return 0;
}

/* ---- inputs ---- */

/* A manifest without its last line; a few bytes of it spoilt in two runs of three. */
void fuzz_make_input(struct buf *out, struct random *r)
{
    uint8_t *input = (uint8_t *)buf_reserve(out, INPUT_BYTES_MAX);
    struct mem mem;
    struct manifest m;
    mem_init(&mem, "manifest_fuzz");
    manifest_init(&m, &mem);
    m.horizon = random_below(r, 100);
    uint64_t generations = 1 + random_below(r, 3);
    for (uint32_t g = 0; g < generations; g++) {
        manifest_add_generation(&m, g * 2, (uint16_t)(1 + random_below(r, 4)));
        for (uint64_t i = random_below(r, 4); i > 0; i--) {
            struct manifest_file f = {.kind = SEGMENT_KIND_EFFECTS, .generation = g * 2};
            f.shard = (uint16_t)random_below(r, 4);
            f.number = (uint32_t)i;
            f.size = random_below(r, 2) * (64 + random_below(r, 99));
            f.first_lsn = f.size ? 1 + random_below(r, 9) : 0;
            if (f.size && random_below(r, 2)) f.kind = SEGMENT_KIND_BASE;
            manifest_add_file(&m, &f);
        }
    }
    struct buf text = {.mem = &mem};
    manifest_encode(&m, &text);
    size_t size = MIN(text.size - sizeof "crc 01234567", INPUT_BYTES_MAX);
    memcpy(input, text.data, size);
    for (uint64_t i = random_below(r, 3); i > 0; i--)
        input[random_below(r, size)] = (uint8_t)("0123456789 \nabseg"[random_below(r, 17)]);
    buf_clear(&text);
    manifest_deinit(&m);
    mem_deinit(&mem);
    out->size = size;
}
