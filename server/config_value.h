/* config_value.h: how one value of the configuration is read, checked, shown and written: one set
 * of functions per kind, and some of its own for a directive that is not a plain value.
 *
 * Thread     [main], on a struct config that is not published yet; printing is for any thread.
 * Ownership  Texts that a setter stores are copied into the configuration's mem.
 * Errors     A setter returns false, leaves the old value and appends to `why` what Redis says of
 *            such a value.
 */
#pragma once

#include "server/config.h"

/* The words after the directive's name. A single word with spaces counts as several where the
 * directive takes several. */
struct config_words {
    const struct bytes *words;
    uint32_t count;
    bool more; /* given before in the same load: what is a list is added to, not replaced */
};

/* What a directive does differently from its kind; every member may be NULL. */
struct config_special {
    bool (*set)(struct config *c, const struct config_param *p, const struct config_words *in,
                struct buf *why);
    void (*print)(const struct config *c, const struct config_param *p, struct buf *out);
    /* Whole lines for the file, each with its line end. NULL: one line made of name and print. */
    void (*lines)(const struct config *c, const struct config_param *p, struct buf *out);
    /* For CONFIG_TEXT, CONFIG_INT and CONFIG_BOOL: a further check. */
    bool (*check)(struct bytes value, struct buf *why);
    bool is_text; /* the field is a char * that the configuration owns */
    bool is_list; /* … or a struct config_list */
};

extern const struct config_special config_special_bind, config_special_dir, config_special_save,
    config_special_output_limit, config_special_notify, config_special_oom_values,
    config_special_percentiles, config_special_replicaof, config_special_users,
    config_special_modules, config_special_rename, config_special_ignored, config_special_include,
    config_special_file_name, config_special_file_name_needed, config_special_dir_name_needed,
    config_special_hostname, config_special_title, config_special_hz, config_special_backlog,
    config_special_defrag, config_special_maxmemory;

/* Stores a value. */
MUST_USE bool config_value_set(struct config *c, const struct config_param *p,
                               const struct config_words *in, struct buf *why);
/* Appends what CONFIG GET shows. */
void config_value_print(const struct config *c, const struct config_param *p, struct buf *out);
/* Appends the line or lines of a configuration file that stand for the present value. */
void config_value_lines(const struct config *c, const struct config_param *p, struct buf *out);
/* Appends a word as it must stand in a file: in quotes, with escapes. */
void config_quote(struct buf *out, struct bytes word);

/* True for a word that means itself in a file: not empty, nothing to quote. */
bool config_is_plain(struct bytes word);
/* As config_quote, but without quotes where none are needed. */
void config_quote_if_needed(struct buf *out, struct bytes word);

/* ---- shared by config_value.c and config_special.c ---- */

/* Appends the text; false. */
bool config_fail(struct buf *why, const char *text);
bool config_has_nul(struct bytes text);
bool config_set_int(struct config *c, const struct config_param *p, struct bytes word,
                    struct buf *why);
bool config_set_memory(struct config *c, const struct config_param *p, struct bytes word,
                       struct buf *why);
void config_replace_text(struct config *c, const struct config_param *p, struct bytes text);
void config_print_text(const struct config *c, const struct config_param *p, struct buf *out);
void config_lines_text(const struct config *c, const struct config_param *p, struct buf *out);
/* With as large a unit as divides the value. */
void config_print_memory(struct buf *out, uint64_t bytes);

/* The field as what it is. */
const void *config_field_of(const struct config *c, const struct config_param *p);
char **config_text_of(struct config *c, const struct config_param *p);
struct config_list *config_list_of(struct config *c, const struct config_param *p);
bool config_owns_text(const struct config_param *p);
bool config_owns_list(const struct config_param *p);

/* Texts and lists in the configuration's memory. */
char *config_text_copy(struct mem *mem, struct bytes text);
void config_text_free(struct mem *mem, char *text);
void config_list_add(struct mem *mem, struct config_list *list, struct bytes item);
void config_list_clear(struct mem *mem, struct config_list *list);

static inline uint32_t config_param_index(const struct config_param *p)
{
    return (uint32_t)(p - config_params);
}
static inline bool config_given_bit(const struct config *c, const struct config_param *p)
{
    uint32_t i = config_param_index(p);
    return (c->given[i / 64] >> (i % 64)) & 1;
}
static inline void config_set_given_bit(struct config *c, const struct config_param *p)
{
    uint32_t i = config_param_index(p);
    c->given[i / 64] |= (uint64_t)1 << (i % 64);
}
