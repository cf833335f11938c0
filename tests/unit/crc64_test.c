#include <criterion/criterion.h>

#include "persist/crc64.h"
#include "random.h"

Test(crc64, has_the_known_check_value)
{
    cr_assert_eq(crc64(0, BYTES_LITERAL("123456789")), 0xe9c6d914c4b8d9ca);
    cr_assert_eq(crc64(0, BYTES_LITERAL("")), 0);
}

/* Bit by bit, as the polynomial is defined. */
static uint64_t slow(uint64_t crc, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= (uint8_t)bytes.data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x95ac9329ac4bc9b5 : 0);
    }
    return crc;
}

Test(crc64, is_that_of_the_definition_however_the_bytes_are_cut)
{
    struct random random = random_make();
    char text[300];
    for (int run = 0; run < 2000; run++) {
        size_t start = random_below(&random, 9), size = random_below(&random, 290);
        for (size_t i = 0; i < sizeof text; i++) text[i] = (char)random_next(&random);
        struct bytes whole = bytes_make(text + start, size);
        size_t cut = random_below(&random, size + 1);
        uint64_t first = crc64(0, bytes_make(whole.data, cut));
        uint64_t both = crc64(first, bytes_make(whole.data + cut, size - cut));
        cr_assert_eq(both, slow(0, whole));
    }
}
