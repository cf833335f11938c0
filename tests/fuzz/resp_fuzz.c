/* resp_fuzz.c: any bytes, in one piece and in random pieces, must give the same requests and the
 * same error, and the reader must never hold more than twice what it received.
 */
#include "base/mem.h"
#include "base/resp.h"
#include "tests/fuzz/driver.h"

#define KEPT_BYTES 3072 /* small buffers that a reader keeps for the next request */

struct run {
    struct resp_reader reader;
    struct buf transcript; /* all arguments with their sizes, and the error */
    struct resp_limits limits;
    struct random random;
    uint64_t fed, delivered;
    bool playful; /* random pieces; requests are given back and buffers taken now and then */
};

static void note_request(struct run *run)
{
    const struct resp_reader *r = &run->reader;
    buf_append(&run->transcript, &r->argc, sizeof(r->argc));
    for (uint64_t i = 0; i < r->argc; i++) {
        buf_append(&run->transcript, &r->argv[i].size, sizeof(r->argv[i].size));
        buf_append(&run->transcript, r->argv[i].data, r->argv[i].size);
    }
}

static void check_in_place(const struct resp_reader *r, const char *piece, size_t size)
{
    if (r->gathered) return;
    for (uint64_t i = 0; i < r->argc; i++) {
        struct bytes arg = r->argv[i];
        CHECK(arg.data >= piece && arg.data + arg.size <= piece + size);
    }
}

/* Requests of one piece, which lives no longer than this call. */
static enum resp_state read_piece(struct run *run, const uint8_t *data, size_t size)
{
    struct resp_reader *r = &run->reader;
    char *piece = malloc(size ? size : 1);
    CHECK(piece);
    memcpy(piece, data, size);
    resp_feed(r, piece, size);
    run->fed += size;
    enum resp_state state;
    while ((state = resp_next(r, &run->limits)) == RESP_REQUEST) {
        resp_validate(r);
        check_in_place(r, piece, size);
        run->delivered = run->fed - resp_unread_bytes(r);
        if (run->playful && random_below(&run->random, 8) == 0) {
            resp_unread(r);
            continue;
        }
        note_request(run);
        if (run->playful && r->gathered && random_below(&run->random, 4) == 0) {
            struct buf taken = resp_take_gathered(r);
            buf_clear(&taken);
        }
    }
    free(piece);
    resp_validate(r);
    CHECK(resp_unread_bytes(r) == 0);
    CHECK(resp_held_bytes(r) <= 2 * (run->fed - run->delivered) + KEPT_BYTES);
    return state;
}

static void read_all(struct run *run, const uint8_t *data, size_t size)
{
    static const uint64_t pieces[] = {1, 2, 8, 40, 200, 5000};
    uint64_t piece_max = pieces[random_below(&run->random, ARRAY_LEN(pieces))];
    piece_max = MAX(piece_max, size / 2000); /* for speed */
    enum resp_state state = RESP_NEED_MORE;
    for (size_t at = 0, part; at < size && state == RESP_NEED_MORE; at += part) {
        part = run->playful ? random_below(&run->random, piece_max + 1) : size;
        part = MIN(part, size - at);
        state = read_piece(run, data + at, part);
    }
    if (state == RESP_BROKEN) buf_append_text(&run->transcript, run->reader.error);
    buf_append(&run->transcript, "", 1);
}

/* The first byte chooses the limits. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct mem mem;
    mem_init(&mem, "resp_fuzz");
    struct run runs[2];
    for (unsigned i = 0; i < 2; i++) {
        runs[i] = (struct run){.transcript = {.mem = &mem}, .random = {size}, .playful = i > 0};
        runs[i].limits = (struct resp_limits){data[0] & 1 ? 1 << 29 : 1000,
                                              data[0] & 2 ? RESP_ARGS_MAX : 30, !(data[0] & 4)};
        for (size_t k = 0; k < size; k++)
            runs[i].random.state = runs[i].random.state * 31 + data[k];
        resp_reader_init(&runs[i].reader, &mem);
        read_all(&runs[i], data + 1, size - 1);
    }
    CHECK(bytes_equal(buf_view(&runs[0].transcript), buf_view(&runs[1].transcript)));
    for (unsigned i = 0; i < 2; i++) {
        resp_reader_deinit(&runs[i].reader);
        buf_clear(&runs[i].transcript);
    }
    mem_deinit(&mem);
    return 0;
}

/* ---- inputs ---- */

#define INPUT_BYTES_MAX (256 * 1024)

#define WORD(text)                                                                                 \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

/* clang-format off */
static const struct bytes words[] = {
    WORD("*1\r\n$4\r\nPING\r\n"), WORD("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000001234\r\n$3\r\nabc\r\n"),
    WORD("*12\r\n"), WORD("*40\r\n"), WORD("*2\r\n"), WORD("*1\r\n"), WORD("*0\r\n"), WORD("*-1\r\n"),
    WORD("$0\r\n\r\n"), WORD("$1\r\nx\r\n"), WORD("$2\r\n"), WORD("$10\r\n"), WORD("$100\r\n"), WORD("$1000\r\n"),
    WORD("$16385\r\n"), WORD("$536870912\r\n"), WORD("$-1\r\n"), WORD("\r\n"), WORD("\n"), WORD("\r"),
    WORD("PING\r\n"), WORD("ECHO \"a b\\x41\\n\" 'c\\'d' e\r\n"), WORD("a b c d e f g h i j k l m n o p q r s t\n"),
    WORD("\""), WORD("'"), WORD("\\"), WORD("\\x"), WORD(" "), WORD("\t"), WORD("\v"), WORD("\0"),
    WORD("*"), WORD("$"), WORD("0"), WORD("1"), WORD("9"), WORD("-"), WORD("+"),
};
/* clang-format on */

/* One of the first `count` words. */
static size_t add_word(uint8_t *input, size_t size, struct random *random, size_t count)
{
    struct bytes word = words[random_below(random, count)];
    memcpy(input + size, word.data, word.size);
    return size + word.size;
}

/* A valid request most of the time, so that the reader gets to what comes after it. */
void fuzz_make_input(struct buf *out, struct random *random)
{
    uint8_t *input = (uint8_t *)buf_reserve(out, INPUT_BYTES_MAX);
    size_t size = 0;
    input[size++] = (uint8_t)random_below(random, 256);
    for (uint64_t i = random_below(random, 30); i > 0; i--) {
        size = add_word(input, size, random, random_below(random, 3) ? 2 : ARRAY_LEN(words));
    }
    if (random_below(random, 200) == 0) { /* a line around the limit, or a large value */
        size_t filler = 65500 + random_below(random, 80);
        memset(input + size, random_below(random, 2) ? ' ' : '1', filler);
        size += filler;
        size = add_word(input, size, random, ARRAY_LEN(words));
    }
    for (uint64_t i = random_below(random, 4); i > 0; i--) {
        input[random_below(random, size)] = (uint8_t)random_below(random, 256);
    }
    out->size = size;
}
