#include <criterion/criterion.h>

#include "base/sha256.h"

static void expect_hex(struct bytes text, const char *hex)
{
    uint8_t digest[SHA256_BYTES], back[SHA256_BYTES];
    char out[2 * SHA256_BYTES];
    sha256(text, digest);
    sha256_to_hex(digest, out);
    cr_assert_arr_eq(out, hex, sizeof out);
    cr_assert(sha256_from_hex(bytes_make(out, sizeof out), back));
    cr_assert_arr_eq(back, digest, sizeof back);
}

Test(sha256, agrees_with_the_examples_of_its_standard)
{
    expect_hex(BYTES_LITERAL(""),
               "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_hex(BYTES_LITERAL("abc"),
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_hex(BYTES_LITERAL("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    static char million[1000000];
    memset(million, 'a', sizeof million);
    expect_hex(bytes_make(million, sizeof million),
               "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Around the lengths where the padding needs a block of its own; digests by sha256sum. */
Test(sha256, pads_texts_of_any_length)
{
    static const struct {
        size_t size;
        const char *hex;
    } cases[] = {
        /* clang-format off */
        {54, "45f316e10b2c99abf374b22bda893cf3300d77263f1e272349ed414680522952"},
        {55, "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072"},
        {56, "04c26261370ee7541549d16dee320c723e3fd14671e66a099afe0a377c16888e"},
        {57, "ae14a2563ccf969d99aca69ce6bb74981f734bbf9f655f73b8f06db68cab5217"},
        {63, "75220b47218278e656f2013bb8f0c455a25eaf01e86c64924e9d48d89776d6f2"},
        {64, "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c"},
        {65, "9537c5fdf120482f7d58d25e9ed583f52c02b4e304ea814db1633ad565aed7e9"},
        {119, "000b48d4edf0fa7bee3c6236ecd2785baa5db4eeb8bb54341b029e0d9fa5fb0c"},
        {120, "13f05a0b594787f5ecd315edc96141bd3243203d1b7d4f0836f37308b276ba98"},
        {128, "24da1b81d0b16df6428eee73c69fcb2a93c76bc6df706f0c6670fe6bfe800464"},
        /* clang-format on */
    };
    char text[128];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_hex(bytes_make(text, cases[i].size), cases[i].hex);
}

Test(sha256, reads_64_lower_case_digits_and_nothing_else)
{
    uint8_t digest[SHA256_BYTES];
    char hex[65] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    cr_assert(sha256_from_hex(bytes_make(hex, 64), digest));
    cr_assert_not(sha256_from_hex(bytes_make(hex, 63), digest));
    cr_assert_not(sha256_from_hex(bytes_make(hex, 65), digest));
    hex[63] = 'D';
    cr_assert_not(sha256_from_hex(bytes_make(hex, 64), digest));
    hex[63] = 'g';
    cr_assert_not(sha256_from_hex(bytes_make(hex, 64), digest));
}
