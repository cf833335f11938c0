#include "shard/digest.h"

#include "base/text.h"
#include "shard/object.h"

void digest_xor(struct digest *d, const struct digest *other)
{
    for (unsigned i = 0; i < SHA1_BYTES; i++) d->bytes[i] ^= other->bytes[i];
}

void digest_add(struct digest *d, struct bytes text)
{
    struct digest hash;
    sha1(text, hash.bytes);
    digest_xor(d, &hash);
}

void digest_mix(struct digest *d, struct bytes text)
{
    digest_add(d, text);
    struct digest mixed = *d;
    sha1(digest_view(&mixed), d->bytes);
}

void digest_mix_u32(struct digest *d, uint32_t n)
{
    uint32_t swapped = __builtin_bswap32(n);
    digest_mix(d, bytes_make(&swapped, sizeof swapped));
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are swapped");

/* Redis counts modules, so streams have another number there. */
static uint32_t type_number(enum type type)
{
    return type == TYPE_STREAM ? 6 : (uint32_t)type;
}

void digest_mix_value(struct digest *d, const struct entry *e)
{
    enum type type = entry_type(e);
    digest_mix_u32(d, type_number(type));
    if (type == TYPE_STRING) {
        char scratch[TEXT_I64_BYTES_MAX];
        digest_mix(d, entry_string(e, scratch));
    } else {
        object_ops(type)->digest(entry_root(e), entry_encoding(e), d);
    }
    if (entry_has_deadline(e)) digest_add(d, BYTES_LITERAL("!!expire!!"));
}
