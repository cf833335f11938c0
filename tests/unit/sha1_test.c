#include <criterion/criterion.h>

#include "base/sha1.h"

static void expect_hex(struct bytes text, const char *hex)
{
    uint8_t digest[SHA1_BYTES];
    char out[2 * SHA1_BYTES];
    sha1(text, digest);
    sha1_to_hex(digest, out);
    cr_assert_arr_eq(out, hex, sizeof out);
}

Test(sha1, agrees_with_the_examples_of_its_standard)
{
    expect_hex(BYTES_LITERAL(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    expect_hex(BYTES_LITERAL("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    expect_hex(BYTES_LITERAL("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
               "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    static char million[1000000];
    memset(million, 'a', sizeof million);
    expect_hex(bytes_make(million, sizeof million), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

/* Around the lengths where the padding needs a block of its own; digests by sha1sum. */
Test(sha1, pads_texts_of_any_length)
{
    static const struct {
        size_t size;
        const char *hex;
    } cases[] = {
        {54, "31045e7bb077ff8d188a776b196b980388735dbb"},
        {55, "cef734ba81a024479e09eb5a75b6ddae62e6abf1"},
        {56, "901305367c259952f4e7af8323f480d59f81335b"},
        {57, "025ecbd5d70f8fb3c5457cd96bab13fda305dc59"},
        {63, "0ddc4e0cccd9a12850deb5abb0853a4425559fec"},
        {64, "bb2fa3ee7afb9f54c6dfb5d021f14b1ffe40c163"},
        {65, "78c741ddc482e4cdf8c474a0876347a0905b6233"},
        {119, "4300320394f7ee239bcdce7d3b8bcee173a0cd5c"},
        {120, "ceb2821639c4b6dcb10bce0e522ca2e608ce056d"},
        {128, "150fa3fbdc899bd0b8f95a9fb6027f564d953762"},
    };
    char text[128];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_hex(bytes_make(text, cases[i].size), cases[i].hex);
    }
}
