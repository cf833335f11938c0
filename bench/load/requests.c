#include "bench/load/requests.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define NUMBER_MAX 1000000
#define DIGITS 12
#define WORD_BYTES_MAX 4096

struct maker {
    const struct request_form *form;
    uint64_t random;
    uint64_t made; /* requests so far */
    const char *words[REQUEST_WORDS_MAX];
    size_t word_bytes[REQUEST_WORDS_MAX];
    unsigned word_count;
    char word[WORD_BYTES_MAX + 32]; /* the one being made */
};

static const char *split(struct maker *m)
{
    for (const char *p = m->form->text; *p;) {
        size_t size = strcspn(p, " ");
        if (size == 0) {
            p++;
            continue;
        }
        if (m->word_count == REQUEST_WORDS_MAX) return "too many words in the template";
        if (size + m->form->value_bytes > WORD_BYTES_MAX) return "a word is too long";
        m->words[m->word_count] = p;
        m->word_bytes[m->word_count++] = size;
        p += size;
    }
    return m->word_count ? NULL : "the template is empty";
}

/* Replaces a placeholder at `p`; the bytes behind it, or NULL if there is none. */
static const char *put_placeholder(struct maker *m, const char *p, char **out)
{
    const struct request_form *f = m->form;
    uint64_t random = random_next(&m->random) >> 16;
    unsigned long long number;
    int digits = DIGITS;
    if (strncmp(p, "{value}", 7) == 0) {
        for (unsigned i = 0; i < f->value_bytes; i++) *(*out)++ = (char)('a' + (random + i) % 26);
        return p + 7;
    }
    if (strncmp(p, "{key}", 5) == 0) {
        number = (f->fills ? m->made : random) % f->key_count;
        p += 5;
    } else if (strncmp(p, "{member}", 8) == 0) {
        number = (f->fills ? m->made / f->key_count : random) % f->member_count;
        p += 8;
    } else if (strncmp(p, "{number}", 8) == 0) {
        number = random % NUMBER_MAX;
        digits = 1;
        p += 8;
    } else {
        return NULL;
    }
    *out += sprintf(*out, "%0*llu", digits, number);
    return p;
}

/* One word with its placeholders filled in. */
static size_t make_word(struct maker *m, unsigned index)
{
    const char *p = m->words[index], *end = p + m->word_bytes[index];
    char *out = m->word;
    while (p < end) {
        const char *behind = *p == '{' ? put_placeholder(m, p, &out) : NULL;
        if (behind)
            p = behind;
        else
            *out++ = *p++;
    }
    return (size_t)(out - m->word);
}

static size_t make_request(struct maker *m, char *at)
{
    char *start = at;
    m->made++;
    at += sprintf(at, "*%u\r\n", m->word_count);
    for (unsigned i = 0; i < m->word_count; i++) {
        size_t size = make_word(m, i);
        at += sprintf(at, "$%zu\r\n", size);
        memcpy(at, m->word, size);
        at += size;
        *at++ = '\r';
        *at++ = '\n';
    }
    return (size_t)(at - start);
}

uint64_t requests_to_fill(const struct request_form *form)
{
    return form->key_count * (strstr(form->text, "{member}") ? form->member_count : 1);
}

const char *requests_make(struct requests *r, const struct request_form *form)
{
    struct maker *m = calloc(1, sizeof *m);
    CHECK(m);
    m->form = form;
    m->random = form->seed * 2 + 1;
    m->made = UINT64_MAX; /* so that the first one is number 0 */
    const char *problem = split(m);
    if (!problem) {
        size_t request_max = 16;
        for (unsigned i = 0; i < m->word_count; i++)
            request_max += m->word_bytes[i] + DIGITS + form->value_bytes + 16;
        size_t block_max = request_max * form->pipeline;
        uint64_t blocks = MAX(REQUESTS_BYTES_MAX / block_max, (size_t)form->connections);
        if (form->fills) blocks = (requests_to_fill(form) + form->pipeline - 1) / form->pipeline;
        r->block_count = (uint32_t)blocks;
        r->bytes = malloc(block_max * r->block_count);
        r->starts = malloc((r->block_count + 1) * sizeof *r->starts);
        CHECK(r->bytes && r->starts);
        size_t at = 0;
        for (uint32_t block = 0; block < r->block_count; block++) {
            r->starts[block] = at;
            for (unsigned i = 0; i < form->pipeline; i++) at += make_request(m, r->bytes + at);
        }
        r->starts[r->block_count] = at;
    }
    free(m);
    return problem;
}

void requests_free(struct requests *r)
{
    free(r->bytes);
    free(r->starts);
}
