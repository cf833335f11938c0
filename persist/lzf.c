#include "persist/lzf.h"

#define HASH_COUNT (1 << 16)
#define DISTANCE_MAX (1 << 13)
#define MATCH_BYTES_MAX 264
#define LITERALS_MAX 32
#define LONG_MATCH 7 /* of the 3 bits: a byte with more follows */
#define HEAD_BYTES_MAX 3

/* Places are counted on from string to string, so that those of earlier strings are out of date
 * without being erased. 0: never seen. */
struct lzf_packer {
    uint32_t base; /* places of the string that is being packed are higher */
    uint32_t last_seen[HASH_COUNT];
};

struct lzf_packer *lzf_try_create(struct mem *mem)
{
    struct lzf_packer *p = mem_try_alloc(mem, sizeof *p);
    if (p) memset(p, 0, sizeof *p);
    return p;
}

void lzf_destroy(struct mem *mem, struct lzf_packer *packer)
{
    mem_free(mem, packer, sizeof *packer);
}

/* ---- packing ---- */

struct packing {
    struct lzf_packer *packer;
    const uint8_t *in;
    size_t size, at;
    uint8_t *out;
    size_t room, used; /* the byte that will hold the count of the literals is in use already */
    unsigned literals;
};

static uint32_t *slot_of(const struct packing *p, size_t at)
{
    const uint8_t *b = p->in + at;
    uint32_t first = (uint32_t)b[0] << 8 | b[1], second = (uint32_t)b[1] << 8 | b[2];
    return &p->packer->last_seen[(first - 5 * second) & (HASH_COUNT - 1)];
}

static void remember(const struct packing *p, size_t at)
{
    *slot_of(p, at) = p->packer->base + (uint32_t)at + 1;
}

/* Where the three bytes at `p->at` stood before, near enough; 0 if they did not: the very first
 * place is never referred to. */
static size_t find_earlier(const struct packing *p)
{
    uint32_t seen = *slot_of(p, p->at);
    if (seen <= p->packer->base) return 0;
    size_t place = seen - p->packer->base - 1;
    if (p->at - place > DISTANCE_MAX) return 0;
    return memcmp(p->in + place, p->in + p->at, 3) == 0 ? place : 0;
}

/* The last two bytes of the string are left over, unless a match is of three bytes or begins 19 or
 * 20 before the end: liblzf compares the first 19 in one go where 17 are allowed. */
static size_t match_bytes(const struct packing *p, size_t place)
{
    size_t most = MIN(p->size - p->at - 2, (size_t)MATCH_BYTES_MAX), n = 3;
    if (most == 17 || most == 18) most = 19;
    while (n < most && p->in[place + n] == p->in[p->at + n]) n++;
    return n;
}

/* Writes the count before the literals, if there are any. */
static void end_literals(struct packing *p)
{
    if (p->literals == 0) {
        p->used--;
        return;
    }
    p->out[p->used - p->literals - 1] = (uint8_t)(p->literals - 1);
    p->literals = 0;
}

static bool put_literal(struct packing *p)
{
    if (p->used >= p->room) return false;
    p->out[p->used++] = p->in[p->at++];
    if (++p->literals < LITERALS_MAX) return true;
    end_literals(p);
    p->used++;
    return true;
}

static bool put_match(struct packing *p, size_t place)
{
    if (p->used - (p->literals == 0) + HEAD_BYTES_MAX + 1 >= p->room) return false;
    end_literals(p);
    size_t n = match_bytes(p, place), distance = p->at - place - 1;
    if (n - 2 < LONG_MATCH) {
        p->out[p->used++] = (uint8_t)((n - 2) << 5 | distance >> 8);
    } else {
        p->out[p->used++] = (uint8_t)(LONG_MATCH << 5 | distance >> 8);
        p->out[p->used++] = (uint8_t)(n - 2 - LONG_MATCH);
    }
    p->out[p->used++] = (uint8_t)distance;
    p->used++;
    p->at += n;
    return true;
}

static bool pack_all(struct packing *p)
{
    while (p->at + 2 < p->size) {
        size_t place = find_earlier(p);
        remember(p, p->at);
        if (place == 0) {
            if (!put_literal(p)) return false;
            continue;
        }
        if (!put_match(p, place)) return false;
        if (p->at + 2 >= p->size) break;
        /* Of the places within a match only the last two are remembered. */
        remember(p, p->at - 2);
        remember(p, p->at - 1);
    }
    if (p->used + HEAD_BYTES_MAX > p->room) return false;
    while (p->at < p->size) {
        if (!put_literal(p)) return false;
    }
    end_literals(p);
    return true;
}

size_t lzf_pack(struct lzf_packer *packer, struct bytes in, char *out, size_t room)
{
    if (in.size == 0 || room == 0 || in.size >= UINT32_MAX) return 0;
    if (packer->base > UINT32_MAX - 1 - (uint32_t)in.size) memset(packer, 0, sizeof *packer);
    struct packing p = {
        .packer = packer,
        .in = (const uint8_t *)in.data,
        .size = in.size,
        .out = (uint8_t *)out,
        .room = room,
        .used = 1,
    };
    bool is_small = pack_all(&p);
    packer->base += (uint32_t)in.size;
    return is_small ? p.used : 0;
}

/* ---- unpacking ---- */

struct step {
    const uint8_t *literals; /* NULL: a repetition */
    size_t count, distance;
};

/* Takes one step off the input; false if it ends too soon. */
static bool take_step(struct bytes *in, struct step *s)
{
    const uint8_t *p = (const uint8_t *)in->data;
    size_t control = p[0], head = 2;
    if (control < LITERALS_MAX) {
        *s = (struct step){.literals = p + 1, .count = control + 1};
        head = 1 + s->count;
    } else {
        size_t count = control >> 5;
        if (count == LONG_MATCH) head = 3;
        if (in->size < head) return false;
        if (head == 3) count += p[1];
        *s = (struct step){.count = count + 2, .distance = ((control & 31) << 8 | p[head - 1]) + 1};
    }
    if (in->size < head) return false;
    *in = bytes_make(p + head, in->size - head);
    return true;
}

bool lzf_unpacked_size(struct bytes in, uint64_t *size)
{
    uint64_t n = 0;
    struct step s;
    while (in.size) {
        if (!take_step(&in, &s) || s.distance > n) return false;
        n += s.count;
    }
    *size = n;
    return true;
}

void lzf_unpack(struct bytes in, char *out)
{
    struct step s;
    while (in.size) {
        CHECK(take_step(&in, &s));
        if (s.literals) {
            memcpy(out, s.literals, s.count);
        } else {
            for (size_t i = 0; i < s.count; i++) out[i] = *(out + i - s.distance);
        }
        out += s.count;
    }
}
